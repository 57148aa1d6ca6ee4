"""The data sets of the paper: where they come from, under which terms, and how `leo prepare` is meant to treat them.

A preset is chosen by `--name`. It sets only what the command line leaves open; docs/data.md shows whole commands.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Preset:
    """One data set. `split`, `include` and `min_frames` are defaults of the flags of that name."""

    title: str
    source: str
    licence: str
    use: str
    split: str | None = None
    include: str = "*"
    min_frames: int = 2


PRESETS = {
    "taichi": Preset(
        title="TaichiHD (Siarohin et al. 2019): 2815 training and 285 test clips of tai chi",
        source="github.com/AliaksandrSiarohin/video-preprocessing lists YouTube ids, frame ranges and boxes "
        "(taichi-metadata.csv); the videos are fetched from YouTube by their ids",
        licence="the list has no licence of its own; the videos belong to their uploaders (YouTube's terms): research use",
        use="--videos FOLDER_OF_ID.mp4 --crop boxes:taichi-metadata.csv, or the finished clips with --crop center",
    ),
    "faceforensics": Preset(
        title="FaceForensics (Rössler et al. 2018): 1004 videos of speaking faces, with mask videos",
        source="github.com/ondyari/FaceForensics: a form to be sent to the authors, who answer with the download script",
        licence="the FaceForensics terms of use, signed in that form: non-commercial research and education",
        use="--videos FaceForensics_compressed --crop masks:FaceForensics_compressed",
        split="folders",
        include="*original/*",
    ),
    "celebvhq": Preset(
        title="CelebV-HQ (Zhu et al. 2022): 35 666 clips of celebrities' faces",
        source="github.com/CelebV-HQ/CelebV-HQ: celebvhq_info.json and a script that fetches and crops from YouTube",
        licence="the CelebV-HQ agreement on that page: non-commercial research only, no redistribution",
        use="--videos PROCESSED_CLIPS, cropped already by the authors' script",
        split="all:train",
    ),
    "ucf101": Preset(
        title="UCF-101 (Soomro et al. 2012): 13 320 clips of 101 actions, 320 × 240 px at 25 frames a second",
        source="crcv.ucf.edu/data/UCF101.php: UCF101.rar and UCF101TrainTestSplits-RecognitionTask.zip",
        licence="none is stated on that page; the clips come from YouTube: research use",
        use="--videos UCF-101 [--split lists:train=trainlist01.txt,test=testlist01.txt]",
        split="all:train",
    ),
}


def describe(name: str) -> str:
    """A few lines for people about a preset."""
    preset = PRESETS[name]
    return f"{preset.title}\n  from: {preset.source}\n  terms: {preset.licence}\n  use: {preset.use}"
