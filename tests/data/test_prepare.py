"""From video files to records: right frames, right part of them, right split; bad files named and survivable."""

import csv
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from leo_jax.data import records
from leo_jax.data.prepare import find_videos, prepare
from leo_jax.data.source import open_split
from leo_jax.video import BadVideo
from tests.clips import clip, clip_number, encode

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


@pytest.fixture
def videos(tmp_path):
    """a/one.mp4 (30 frames), a/two.avi (20), b/three.gif (10), b/frames/*.png (8), and things that are no videos."""
    root = tmp_path / "videos"
    for folder in ("a", "b/frames", ".hidden"):
        (root / folder).mkdir(parents=True)
    encode(root / "a" / "one.mp4", clip(30, 64, 64))
    encode(root / "a" / "two.avi", clip(20, 64, 64))
    encode(root / "b" / "three.gif", clip(10, 64, 64))
    for k, frame in enumerate(clip(8, 64, 64)):
        Image.fromarray(frame).save(root / "b" / "frames" / f"{k}.png")
    Image.fromarray(clip(1)[0]).save(root / "a" / "still beside videos.png")
    (root / "README.txt").write_text("no video")
    encode(root / ".hidden" / "no.mp4", clip(3))
    return root


def run(videos, out, **options):
    return prepare(videos, out, **{"name": "clips", "size": 64, "workers": 1, "progress": False, **options})


def read(out, split="train"):
    source = open_split(out, split)
    return [records.decode(source[i]) for i in range(len(source))]


def numbers(record):
    return [clip_number(records.decode_frame(frame)) for frame in record.frames]


class TestFinding:
    def test_every_kind_at_any_depth(self, videos):
        _, found = find_videos(videos)
        assert found == ["a/one.mp4", "a/two.avi", "b/frames", "b/three.gif"]

    def test_one_file(self, videos):
        root, found = find_videos(videos / "a" / "one.mp4")
        assert (root / found[0]) == videos / "a" / "one.mp4"

    def test_include(self, videos):
        assert find_videos(videos, "*.gif")[1] == ["b/three.gif"]
        with pytest.raises(ValueError, match=r"4 videos, none matches --include '\*\.webm'"):
            find_videos(videos, "*.webm")

    def test_circles_of_links_are_walked_once(self, videos):
        (videos / "a" / "loop").symlink_to(videos)
        (videos / "b" / "up").symlink_to(videos / "b")
        assert find_videos(videos)[1] == ["a/one.mp4", "a/two.avi", "b/frames", "b/three.gif"]

    def test_nothing(self, tmp_path):
        with pytest.raises(ValueError, match="none are there"):
            find_videos(tmp_path)
        with pytest.raises(FileNotFoundError, match="nowhere"):
            find_videos(tmp_path / "nowhere")


class TestFrames:
    def test_all_frames_and_what_is_said_of_them(self, videos, tmp_path):
        made = run(videos, tmp_path / "out")
        found = {record.source: record for record in read(tmp_path / "out")}
        assert {source: len(r.frames) for source, r in found.items()} == {
            "a/one.mp4": 30,
            "a/two.avi": 20,
            "b/frames": 8,
            "b/three.gif": 10,
        }
        for record in found.values():
            assert numbers(record) == list(range(len(record.frames)))
            assert (record.start, record.end) == (0, len(record.frames))
            assert (record.height, record.width, record.split, record.fps) == (64, 64, "train", 25.0)
            assert record.id == f"{record.source}#000000-{len(record.frames):06d}"
            assert all(frame.startswith(b"\xff\xd8") for frame in record.frames), "JPEG was asked for"
        assert (made.splits["train"].records, made.splits["train"].frames) == (4, 68)
        assert made.splits["train"].options["size"] == 64

    def test_lossless_keeps_the_pixels(self, videos, tmp_path):
        run(videos, tmp_path / "out", lossless=True, include="b/frames")
        (record,) = read(tmp_path / "out")
        for frame, expected in zip(record.frames, clip(8, 64, 64), strict=True):
            np.testing.assert_array_equal(records.decode_frame(frame), expected)

    def test_rate(self, videos, tmp_path):
        run(videos, tmp_path / "out", fps=10, include="a/*")
        one, two = read(tmp_path / "out")
        assert numbers(one) == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27]
        assert numbers(two) == [0, 2, 5, 7, 10, 12, 15, 17]
        assert (one.fps, one.start, one.end) == (10, 0, 28)

    def test_rate_of_uneven_frames_is_by_their_time_stamps(self, tmp_path):
        stamps = [40 * k for k in range(10)] + [400 + 120 * k for k in range(10)]  # ms
        encode(tmp_path / "phone.mp4", clip(20, 64, 64), stamps=stamps)
        run(tmp_path / "phone.mp4", tmp_path / "out", fps=12.5)
        (record,) = read(tmp_path / "out")
        assert numbers(record)[:18] == [0, 2, 4, 6, 8, 10, 10, 11, 12, 12, 13, 14, 14, 15, 16, 16, 17, 18]

    def test_long_videos_become_even_chunks(self, videos, tmp_path):
        run(videos, tmp_path / "out", chunk=8, include="a/*")
        found = read(tmp_path / "out")
        assert [(r.source, r.start, r.end) for r in found] == [
            ("a/one.mp4", 0, 7),
            ("a/one.mp4", 7, 15),
            ("a/one.mp4", 15, 22),
            ("a/one.mp4", 22, 30),
            ("a/two.avi", 0, 6),
            ("a/two.avi", 6, 13),
            ("a/two.avi", 13, 20),
        ]
        assert all(numbers(r) == list(range(r.start, r.end)) for r in found)
        chunks = [tuple(r.extras[records.CHUNK].tolist()) for r in found]
        assert chunks == [(0, 4), (1, 4), (2, 4), (3, 4), (0, 3), (1, 3), (2, 3)], "they cannot be joined again"

    def test_centre_crop_and_size(self, tmp_path):
        frame = np.zeros((40, 80, 3), np.uint8)
        frame[:, 20:60] = 255
        encode(tmp_path / "wide.mp4", [frame] * 4)
        run(tmp_path / "wide.mp4", tmp_path / "out", size=20)
        (record,) = read(tmp_path / "out")
        image = records.decode_frame(record.frames[0])
        assert image.shape == (20, 20, 3) and image.min() > 235, "the crop is not the centre square"

    def test_workers_give_the_same(self, videos, tmp_path):
        run(videos, tmp_path / "one", shards=2)
        run(videos, tmp_path / "two", shards=2, workers=2)
        for a in sorted((tmp_path / "one").glob("*.tfrecord")):
            assert a.read_bytes() == (tmp_path / "two" / a.name).read_bytes()


class TestSplits:
    def test_default_is_one_training_split(self, videos, tmp_path):
        assert set(run(videos, tmp_path / "out").splits) == {"train"}

    def test_folders(self, videos, tmp_path):
        (videos / "a").rename(videos / "train")
        (videos / "b").rename(videos / "test")
        made = run(videos, tmp_path / "out")
        assert {name: split.records for name, split in made.splits.items()} == {"train": 2, "test": 2}

    def test_folders_must_be_there(self, videos, tmp_path):
        with pytest.raises(ValueError, match=r"a/one\.mp4 lies in no folder named train"):
            run(videos, tmp_path / "out", split="folders")

    def test_tail_holds_out_the_end_of_every_video(self, videos, tmp_path):
        run(videos, tmp_path / "out", split="tail:0.2")
        train = {r.source: numbers(r) for r in read(tmp_path / "out", "train")}
        test = {r.source: numbers(r) for r in read(tmp_path / "out", "test")}
        assert (train["a/one.mp4"], test["a/one.mp4"]) == (list(range(24)), list(range(24, 30)))
        assert (train["b/frames"], test["b/frames"]) == (list(range(6)), [6, 7])

    def test_lists(self, videos, tmp_path):
        (tmp_path / "train.txt").write_text("a/one.mp4 1\nb/three.gif 2\n")
        (tmp_path / "test.txt").write_text("a/two\n\n")
        rule = f"lists:train={tmp_path / 'train.txt'},test={tmp_path / 'test.txt'}"
        run(videos, tmp_path / "out", split=rule)
        assert [r.source for r in read(tmp_path / "out", "train")] == ["a/one.mp4", "b/three.gif"]
        assert [r.source for r in read(tmp_path / "out", "test")] == ["a/two.avi"]

    def test_presets_fill_what_is_open(self, tmp_path):
        for split in ("train", "test"):
            for kind in ("original", "mask", "altered"):
                (tmp_path / "ff" / split / kind).mkdir(parents=True)
                encode(tmp_path / "ff" / split / kind / f"{split}.avi", face(6, kind), codec="mpeg4")
        made = run(tmp_path / "ff", tmp_path / "out", name="faceforensics", crop=f"masks:{tmp_path / 'ff'}")
        assert {name: split.records for name, split in made.splits.items()} == {"train": 1, "test": 1}


def face(frames, kind):
    """A yellow face on blue that moves right, and its mask: coloured on white, as FaceForensics has it."""
    made = []
    for t in range(frames):
        image = np.zeros((96, 128, 3), np.uint8) + np.array((20, 20, 120), np.uint8)
        if kind == "mask":
            image[:] = 255
        image[30:60, 40 + 4 * t : 60 + 4 * t] = (40, 90, 160) if kind == "mask" else (230, 220, 40)
        made.append(image)
    return made


class TestCrops:
    def test_boxes_are_scaled_to_the_file_and_its_rate(self, tmp_path):
        # The file at hand has half the listed size and half its rate: number k shows the listed frame 2 k.
        frames = [np.full((60, 80, 3), 30, np.uint8) for _ in range(40)]
        for k, frame in enumerate(frames):
            frame[10:30, 20:40] = 100 + 3 * k
        encode(tmp_path / "id_-1.mp4", frames)
        (tmp_path / "boxes.csv").write_text(
            "video_id,start,end,bbox,fps,width,height,partition\n"
            "id_-1,10,30,40-20-80-60,50.0,160,120,train\n"
            "id_-1,40,72,40-20-80-60,50.0,160,120,test\n"
        )
        run(tmp_path / "id_-1.mp4", tmp_path / "out", size=16, crop=f"boxes:{tmp_path / 'boxes.csv'}")
        (train,), (test,) = read(tmp_path / "out", "train"), read(tmp_path / "out", "test")
        assert (train.start, train.end, test.start, test.end) == (5, 15, 20, 36)
        for record in (train, test):
            for number, encoded in zip(range(record.start, record.end), record.frames, strict=True):
                image = records.decode_frame(encoded)
                assert abs(image[4:12, 4:12].mean() - (100 + 3 * number)) < 4, "another frame, or another place"

    @pytest.mark.parametrize(("bbox", "kept"), [("40-20-400-90", (20, 10, 80, 45)), ("170-20-240-90", None)])
    def test_boxes_are_clipped_to_the_frame(self, tmp_path, bbox, kept):
        frame = np.full((60, 80, 3), 30, np.uint8)
        if kept:
            left, top, right, bottom = kept
            frame[top:bottom, left:right] = 200
        encode(tmp_path / "id.mp4", [frame] * 3)
        (tmp_path / "boxes.csv").write_text(f"video_id,start,end,bbox,fps,width,height\nid,0,3,{bbox},25.0,160,120\n")
        options = {"size": 16, "crop": f"boxes:{tmp_path / 'boxes.csv'}"}
        if kept:
            run(tmp_path / "id.mp4", tmp_path / "out", **options)
            (record,) = read(tmp_path / "out")
            assert records.decode_frame(record.frames[0]).min() > 180, "something beside the box was kept"
            return
        with pytest.raises(BadVideo, match=r"id\.mp4: its box 170-20-240-90 .* nothing of its frames of 80x60 px"):
            run(tmp_path / "id.mp4", tmp_path / "out", **options)

    def test_listed_videos_that_are_not_there(self, videos, tmp_path):
        (tmp_path / "boxes.csv").write_text(
            "video_id,start,end,bbox,fps,width,height\none,0,9,0-0-64-64,25.0,64,64\ngone,0,9,0-0-64-64,25.0,64,64\n"
        )
        options = {"crop": f"boxes:{tmp_path / 'boxes.csv'}", "split": "all:train"}
        with pytest.raises(BadVideo, match="gone: there is no such video"):
            run(videos, tmp_path / "out", **options)
        made = run(videos, tmp_path / "out", **options, skip_bad=True)
        assert made.splits["train"].records == 1

    def test_two_videos_of_one_listed_name(self, videos, tmp_path):
        shutil.copy(videos / "a" / "one.mp4", videos / "b" / "one.mp4")
        (tmp_path / "boxes.csv").write_text("video_id,start,end,bbox,fps,width,height\none,0,9,0-0-64-64,25.0,64,64\n")
        with pytest.raises(ValueError, match=r"one is both a/one\.mp4 and b/one\.mp4"):
            run(videos, tmp_path / "out", crop=f"boxes:{tmp_path / 'boxes.csv'}")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("one,0,9,0-0-64,25.0,64,64", "line 2"),
            ("one,9,3,0-0-64-64,25.0,64,64", "line 2: an empty box or frame range"),
            ("one,x,9,0-0-64-64,25.0,64,64", "line 2: invalid literal"),
        ],
    )
    def test_bad_box_files(self, videos, tmp_path, line, message):
        (tmp_path / "boxes.csv").write_text(f"video_id,start,end,bbox,fps,width,height\n{line}\n")
        with pytest.raises(ValueError, match=message):
            run(videos, tmp_path / "out", crop=f"boxes:{tmp_path / 'boxes.csv'}")
        (tmp_path / "boxes.csv").write_text("id,box\n1,2\n")
        with pytest.raises(ValueError, match="no column"):
            run(videos, tmp_path / "out", crop=f"boxes:{tmp_path / 'boxes.csv'}")

    def test_masks_follow_the_face(self, tmp_path):
        for kind in ("original", "mask"):
            (tmp_path / kind).mkdir()
            encode(tmp_path / kind / "a.avi", face(8, kind), codec="mpeg4")
        run(tmp_path / "original", tmp_path / "out", size=30, crop=f"masks:{tmp_path / 'mask'}")
        (record,) = read(tmp_path / "out")
        for encoded in record.frames:
            image = records.decode_frame(encoded).astype(int)
            yellow = (image[..., 0] > 150) & (image[..., 2] < 110)
            rows, columns = np.flatnonzero(yellow.mean(1) > 0.3), np.flatnonzero(yellow.mean(0) > 0.3)
            assert rows[0] <= 1 and rows[-1] >= 28, "the box's height is the face's"
            assert abs((columns[0] + columns[-1]) / 2 - 14.5) <= 1.5, "the square is not about the face"
            assert abs(len(columns) - 20) <= 3, "20 of 30 columns: padded, not squeezed"
        encode(tmp_path / "mask" / "a.avi", [image[::-1] for image in face(8, "mask")], codec="mpeg4")
        run(tmp_path / "original", tmp_path / "out", size=30, crop=f"masks:{tmp_path / 'mask'}")
        (again,) = read(tmp_path / "out")
        assert again.frames != record.frames, "the shard of another mask is kept"

    def test_a_mask_of_another_length_is_refused(self, tmp_path):
        for kind, frames in (("original", 8), ("mask", 7)):
            (tmp_path / kind).mkdir()
            encode(tmp_path / kind / "a.avi", face(frames, kind), codec="mpeg4")
        with pytest.raises(BadVideo, match=r"a\.avi: its mask .* has 7 frames .* it has 8"):
            run(tmp_path / "original", tmp_path / "out", crop=f"masks:{tmp_path / 'mask'}")

    def test_a_missing_folder_of_masks_is_told_first(self, videos, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"masks:.*nowhere: there is no such folder"):
            run(videos, tmp_path / "out", crop=f"masks:{tmp_path / 'nowhere'}", skip_bad=True)
        assert not (tmp_path / "out").exists()

    def test_a_missing_mask_is_named(self, videos, tmp_path):
        with pytest.raises(BadVideo, match=r"a/one\.mp4: has no mask"):
            run(videos, tmp_path / "out", crop=f"masks:{tmp_path}")


class TestBadInput:
    @pytest.fixture
    def spoiled(self, videos):
        """Between the good ones: cut short, empty, too short, no video."""
        content = (videos / "a" / "one.mp4").read_bytes()
        (videos / "a" / "cut.mp4").write_bytes(content[: len(content) // 2])
        (videos / "a" / "empty.mp4").touch()
        (videos / "b" / "text.webm").write_text("this is no video")
        encode(videos / "b" / "single.mp4", clip(1, 64, 64))
        return videos

    def test_is_named_and_nothing_is_lost(self, spoiled, tmp_path):
        out = tmp_path / "out"
        with pytest.raises(BadVideo, match=r"a/cut\.mp4: .*--skip_bad"):
            run(spoiled, out, shards=8)
        shutil.move(spoiled / "a" / "cut.mp4", tmp_path / "cut.mp4")
        with pytest.raises(BadVideo, match=r"a/empty\.mp4: the file is empty"):
            run(spoiled, out / "2", shards=7)
        shutil.move(tmp_path / "cut.mp4", spoiled / "a" / "cut.mp4")
        made = run(spoiled, out, shards=8, skip_bad=True)
        assert made.splits["train"].records == 4
        with open(out / "skipped.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["video"] for row in rows} == {"a/cut.mp4", "a/empty.mp4", "b/text.webm", "b/single.mp4"}
        assert "has 1 frames, 2 are needed" in next(row["reason"] for row in rows if "single" in row["video"])

    def test_what_the_system_refuses_is_named_and_skipped(self, videos, tmp_path):
        (videos / "b" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
        with pytest.raises(BadVideo, match=r"b/gone\.mp4: cannot be read"):
            run(videos, tmp_path / "out")
        made = run(videos, tmp_path / "out", skip_bad=True)
        assert [video for video, _ in made.splits["train"].skipped] == ["b/gone.mp4"]

    def test_a_changed_video_is_taken_anew(self, videos, tmp_path):
        run(videos, tmp_path / "out", shards=4)
        encode(videos / "b" / "three.gif", clip(7, 64, 64))
        run(videos, tmp_path / "out", shards=4)
        assert [len(r.frames) for r in read(tmp_path / "out") if r.source == "b/three.gif"] == [7]

    def test_a_bad_picture_of_a_folder_is_named(self, videos, tmp_path):
        (videos / "b" / "frames" / "3.png").write_bytes(b"\x89PNG")
        with pytest.raises(BadVideo, match=r"^b/frames: 3\.png is not a readable image"):
            run(videos, tmp_path / "out")
        with pytest.raises(BadVideo, match=r"^frames: 3\.png is not a readable image"):
            run(videos / "b" / "frames", tmp_path / "flat")

    def test_a_split_without_a_record_is_an_error(self, tmp_path):
        encode(tmp_path / "a.mp4", clip(2, 64, 64))
        with pytest.raises(ValueError, match=r"split 'test' has no record: all 1 videos were skipped.*skipped\.csv"):
            run(tmp_path / "a.mp4", tmp_path / "out", split="tail:0.01", skip_bad=True)
        assert (tmp_path / "out" / "skipped.csv").exists()

    def test_a_part_that_is_too_short_is_told_with_the_whole(self, videos, tmp_path):
        message = r"b/frames: has 0 frames, frames 8 up to 8 of its 8, for split 'test', 2 are needed"
        with pytest.raises(BadVideo, match=message):
            run(videos, tmp_path / "out", split="tail:0.01", include="b/frames")

    def test_min_frames(self, videos, tmp_path):
        with pytest.raises(BadVideo, match=r"b/frames: has 8 frames, 10 are needed"):
            run(videos, tmp_path / "out", min_frames=10)

    def test_the_command_ends_with_an_error(self, spoiled, tmp_path):
        cli = pytest.importorskip("leo_jax.cli")
        flags = f"prepare --videos {spoiled} --out {tmp_path / 'out'} --size 64 --name clips --workers 1"
        with pytest.raises(SystemExit, match=r"a/cut\.mp4: .*--skip_bad"):
            cli.main(flags.split())
        cli.main([*flags.split(), "--skip_bad"])
        assert len(read(tmp_path / "out")) == 4

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": 0}, "--size 0"),
            ({"fps": -1}, "--fps -1"),
            ({"crop": "face"}, "--crop 'face': one of"),
            ({"split": "half"}, "--split half: not one of"),
            ({"split": "train=0.5,test=0.4"}, "must add up to 1"),
            ({"split": "tail:2"}, "between 0 and 1"),
            ({"name": "my clips"}, "letters, digits"),
            ({"chunk": 2}, "--chunk 2"),
            ({"shards": 0}, "--shards 0"),
            ({"min_frames": 1}, "--min_frames 1"),
            ({"min_frames": 0}, "--min_frames 0"),
        ],
    )
    def test_options_that_make_no_sense(self, videos, tmp_path, options, message):
        with pytest.raises(ValueError, match=message):
            run(videos, tmp_path / "out", **options)
        assert not (tmp_path / "out").exists(), "nothing should be written"


def test_goes_on_after_sigkill(videos, tmp_path):
    """Kills the command when the first shard is there; the second run keeps it and gives what one run gives."""
    for k in range(12):
        encode(videos / f"more{k}.mp4", clip(40, 64, 64))
    code = "import sys; from tests.data.test_prepare import run; run(sys.argv[1], sys.argv[2], shards=16, workers=2)"
    script = tmp_path / "killed.py"
    script.write_text(f"if __name__ == '__main__':\n    {code}\n")
    environment = {**os.environ, "PYTHONPATH": REPOSITORY}
    process = subprocess.Popen([sys.executable, script, videos, tmp_path / "out"], env=environment)
    while not list((tmp_path / "out").glob("clips-*.json")):
        assert process.poll() is None, "ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("clips-*.tfrecord.json")}
    assert 1 <= len(finished) < 16 and not (tmp_path / "out" / "manifest.json").exists()
    run(videos, tmp_path / "out", shards=16)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "finished shards were made again"
    run(videos, tmp_path / "whole", shards=16)
    for a in sorted((tmp_path / "whole").glob("*.tfrecord")):
        assert a.read_bytes() == (tmp_path / "out" / a.name).read_bytes()
