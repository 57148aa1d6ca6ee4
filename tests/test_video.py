"""Video files: every frame in its place, upright and in its colours; damage is named; what is written plays."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from leo_jax import video
from leo_jax.video import BadVideo
from tests.clips import add_tone, clip, clip_number, encode

FORMATS = [
    ("mp4", "libx264"),
    ("mov", "libx264"),
    ("mkv", "libx264"),
    ("avi", "mpeg4"),
    ("avi", "libx264"),
    ("webm", "libvpx-vp9"),
    ("gif", "gif"),
]


def numbers(frames):
    return [clip_number(frame) for frame in frames]


@pytest.fixture(scope="module", params=FORMATS, ids="-".join)
def file(request, tmp_path_factory):
    suffix, codec = request.param
    return encode(tmp_path_factory.mktemp("video") / f"clip.{suffix}", clip(120), codec=codec)


def test_every_format_gives_every_frame(file):
    assert numbers(video.read_frames(file)) == list(range(120))
    info = video.probe(file)
    assert (info.fps, info.frames, info.height, info.width) == (25, 120, 48, 64)
    assert not info.has_audio and info.rotation == 0


def test_any_range_is_what_reading_all_gives(file):
    whole = list(video.read_frames(file))
    for start, end in [(0, 5), (1, 4), (49, 52), (60, 61), (75, 90), (101, None), (119, 120), (0, 500)]:
        got = list(video.read_frames(file, start=start, end=end))
        assert len(got) == len(whole[start:end]), (start, end)
        for a, b in zip(got, whole[start:end], strict=True):
            np.testing.assert_array_equal(a, b)


def test_open_groups_of_pictures(tmp_path):
    options = {"x264-params": "open-gop=1:keyint=24:min-keyint=24:bframes=5:b-adapt=0:scenecut=0"}
    path = encode(tmp_path / "open.mp4", clip(120), options=options)
    for start in range(50, 120):
        assert clip_number(next(video.read_frames(path, start=start))) == start


def test_past_the_end_is_an_error(file):
    with pytest.raises(BadVideo, match="has 120 frames, no frame 120"):
        list(video.read_frames(file, start=120))


def test_read_at(file):
    got = video.read_at(file, [3, 4, 77, 119])
    assert got.shape == (4, 48, 64, 3) and numbers(got) == [3, 4, 77, 119]
    with pytest.raises(BadVideo, match="no frame 120"):
        video.read_at(file, [3, 120])
    with pytest.raises(ValueError, match="ascend"):
        video.read_at(file, [4, 3])


@pytest.mark.parametrize(
    ("fps", "expected"),
    [(25, range(100)), (10, [int(2.5 * k) for k in range(40)]), (50, [k // 2 for k in range(200)]), (100, None)],
)
def test_resampling_keeps_time(tmp_path, fps, expected):
    path = encode(tmp_path / "clip.mp4", clip(100))
    got = numbers(video.read_frames(path, fps=fps))
    assert got == list(expected if expected is not None else (k // 4 for k in range(400)))
    assert len(got) == 100 * fps / 25, "the video's duration changed"
    assert numbers(video.read_frames(path, start=60, end=80, fps=5)) == [60, 65, 70, 75]


def test_fractional_rates(tmp_path):
    path = encode(tmp_path / "ntsc.mp4", clip(30), fps=Fraction(30000, 1001))
    assert video.probe(path).fps == Fraction(30000, 1001)
    assert len(list(video.read_frames(path, fps=29.97))) == 30


SLOWING = [40 * k for k in range(10)] + [400 + 120 * k for k in range(10)]  # ms


def shown_at(stamps, times):
    return [max(n for n, stamp in enumerate(stamps) if stamp <= time + 1) for time in times]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_uneven_frames_are_chosen_by_their_time_stamps(tmp_path, suffix):
    path = encode(tmp_path / f"slowing.{suffix}", clip(20), stamps=SLOWING)
    assert numbers(video.read_frames(path)) == list(range(20)), "without a rate, each once"
    got = numbers(video.read_frames(path, fps=25))
    assert got[:37] == shown_at(SLOWING, range(0, 1480, 40))
    assert set(got[37:]) == {19}, "only the last frame is left to show"
    assert numbers(video.read_frames(path, start=5, end=12, fps=25)) == [5, 6, 7, 8, 9, 10, 10, 10, 11, 11, 11]
    info = video.probe(path)
    assert info.fps == Fraction(19, 1) / Fraction(1480, 1000), "the average up to the last frame"
    steady = info.timeline.numbers(0, None, info.fps)
    for k, number in enumerate(steady[:19]):
        shown = SLOWING[number], SLOWING[number + 1]
        assert shown[0] - 20 <= 1000 * k / info.fps <= shown[1], f"frame {k} is out of step with the sound"


def test_gif_delays_are_kept(tmp_path):
    delays = [40, 80, 40, 80, 40, 400]
    first, *rest = [Image.fromarray(frame) for frame in clip(6)]
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=delays)
    got = numbers(video.read_frames(tmp_path / "a.gif", fps=25))
    assert got == [0, 1, 1, 2, 3, 3, 4] + [5] * 10


def test_trembling_stamps_are_a_constant_rate(tmp_path):
    rng = np.random.default_rng(0)
    stamps = [33 * k + int(rng.integers(-5, 6)) if k else 0 for k in range(60)]
    path = encode(tmp_path / "a.mkv", clip(60), fps=Fraction(1000, 33), stamps=stamps)
    info = video.probe(path)
    assert numbers(video.read_numbers(path, info.timeline.numbers(0, None, info.fps), info.timeline)) == list(range(60))


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    path = encode(tmp_path / "dv.mp4", clip(3), pixels=Fraction(3, 2))
    info = video.probe(path)
    frame = next(video.read_frames(path))
    assert (info.height, info.width) == frame.shape[:2] == (48, 96)
    turned = encode(tmp_path / "turned.mp4", clip(3), pixels=Fraction(3, 2), rotation=90)
    info = video.probe(turned)
    assert (info.height, info.width) == next(video.read_frames(turned)).shape[:2] == (96, 48)


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_phone_videos_are_turned_upright(tmp_path, degrees):
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:24, :32] = (250, 20, 20)
    path = encode(tmp_path / "phone.mp4", [frame] * 5, rotation=degrees)
    expected = np.rot90(frame, degrees // 90)
    (got, *_) = video.read_frames(path)
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).mean() < 6
    info = video.probe(path)
    assert (info.height, info.width, info.rotation) == (*expected.shape[:2], degrees % 360)


def test_folders_of_frames_are_read_in_the_order_of_their_numbers(tmp_path):
    for k, frame in enumerate(clip(12)):
        Image.fromarray(frame).save(tmp_path / f"frame{k}.{'png' if k % 2 else 'bmp'}")
    (tmp_path / "notes.txt").write_text("not a frame")
    assert numbers(video.read_frames(tmp_path)) == list(range(12))
    assert numbers(video.read_frames(tmp_path, start=3, end=9, fps=12.5)) == [3, 5, 7]
    info = video.probe(tmp_path)
    assert (info.fps, info.frames, info.height, info.width) == (25, 12, 48, 64)


def test_transparency_is_on_white(tmp_path):
    image = np.zeros((8, 8, 4), np.uint8)
    image[:4] = (200, 10, 10, 255)
    Image.fromarray(image).save(tmp_path / "0.png")
    (frame,) = video.read_frames(tmp_path)
    assert (frame[:4] == (200, 10, 10)).all() and (frame[4:] == 255).all()


def test_reading_does_not_hold_the_video(tmp_path):
    path = encode(tmp_path / "clip.mp4", clip(100))
    frames = video.read_frames(path)
    assert iter(frames) is frames, "must be a stream, not a list"
    assert clip_number(next(frames)) == 0


class TestBadFiles:
    def test_missing(self, tmp_path):
        for read in (video.probe, lambda path: next(video.read_frames(path))):
            with pytest.raises(FileNotFoundError, match="nowhere"):
                read(tmp_path / "nowhere.mp4")

    @pytest.mark.parametrize("content", [b"", b"not a video", bytes(5000)], ids=["empty", "text", "zeros"])
    @pytest.mark.parametrize("suffix", ["mp4", "avi", "webm", "gif", "mkv"])
    def test_no_video_at_all(self, tmp_path, content, suffix):
        path = tmp_path / f"bad.{suffix}"
        path.write_bytes(content)
        for read in (video.probe, lambda path: list(video.read_frames(path))):
            with pytest.raises(BadVideo, match="bad"):
                read(path)

    @pytest.mark.parametrize("faststart", [False, True])
    def test_cut_mp4(self, tmp_path, faststart):
        path = encode(tmp_path / "cut.mp4", clip(60), faststart=faststart)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        with pytest.raises(BadVideo, match=r"cut\.mp4: .*(cut short|cannot be decoded)"):
            video.probe(path)
        with pytest.raises(BadVideo):
            list(video.read_frames(path, start=0, end=60))

    @pytest.mark.parametrize("suffix", ["gif", "mkv", "webm"])
    @pytest.mark.parametrize("damage", ["cut", "overwritten"])
    def test_what_ffmpeg_reads_on_from(self, tmp_path, suffix, damage):
        """It says nothing of frames that are lost; the file's own header does."""
        rng = np.random.default_rng(0)
        noise = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(40)]
        path = encode(tmp_path / f"bad.{suffix}", noise)
        assert video.probe(path).frames == 40
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        if damage == "cut":
            del content[-len(content) // 8 :]
        else:
            content[middle : middle + len(content) // 4] = b"U" * (len(content) // 4)
        path.write_bytes(content)
        with pytest.raises(BadVideo, match=r"bad\..*(cut short or damaged|cannot be decoded)"):
            video.probe(path)

    def test_gif_without_durations(self, tmp_path):
        """FFmpeg takes all its frames for one."""
        rng = np.random.default_rng(0)
        first, *rest = [Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(5)]
        first.save(tmp_path / "still.gif", save_all=True, append_images=rest)
        with pytest.raises(BadVideo, match=r"5 frames are there, 1 can be read: save it again, with a duration"):
            video.probe(tmp_path / "still.gif")

    def test_sound_only(self, tmp_path):
        with av.open(str(tmp_path / "song.mp4"), "w") as container:
            list(add_tone(container, "aac", 1.0))
        with pytest.raises(BadVideo, match="no video stream"):
            video.probe(tmp_path / "song.mp4")

    def test_broken_picture_in_a_folder(self, tmp_path):
        Image.fromarray(clip(1)[0]).save(tmp_path / "0.png")
        (tmp_path / "1.png").write_bytes(b"\x89PNG")
        with pytest.raises(BadVideo, match=r": 1\.png is not a readable image"):
            list(video.read_frames(tmp_path))

    def test_empty_folder(self, tmp_path):
        with pytest.raises(BadVideo, match="no image files"):
            video.probe(tmp_path)


class TestResize:
    def test_same_size_is_the_same(self):
        image = clip(1)[0]
        np.testing.assert_array_equal(video.resize(image, 48, 64), image)

    def test_antialiased(self):
        checks = np.zeros((64, 64, 3), np.uint8)
        checks[::2, ::2] = checks[1::2, 1::2] = 255
        assert np.abs(video.resize(checks, 16, 16).astype(int) - 127.5).max() < 3


class TestWriter:
    @pytest.mark.parametrize("shape", [(48, 64), (47, 63), (47, 64), (1, 1)])
    def test_mp4_plays_anywhere_whatever_the_size(self, tmp_path, shape):
        path = tmp_path / "out.mp4"
        frames = [np.full((*shape, 3), 20 * k, np.uint8) for k in range(10)]
        with video.VideoWriter(path, 24) as writer:
            for frame in frames:
                writer.write(frame)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
            assert stream.height % 2 == 0 and stream.width % 2 == 0
            assert (stream.average_rate, stream.frames) == (24, 10)
        content = path.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat"), "the index must stand in front, to stream"
        for got, expected in zip(video.read_frames(path), frames, strict=True):
            assert np.abs(got[: shape[0], : shape[1]].astype(int) - expected).max() <= 4

    @pytest.mark.parametrize("colour", [(220, 30, 30), (30, 220, 30), (30, 30, 220), (255, 255, 255), (0, 0, 0)])
    def test_colours_come_back(self, tmp_path, colour):
        frame = np.full((64, 64, 3), colour, np.uint8)
        with video.VideoWriter(tmp_path / "out.mp4", 25) as writer:
            for _ in range(3):
                writer.write(frame)
        with av.open(str(tmp_path / "out.mp4")) as container:
            assert container.streams.video[0].codec_context.colorspace == 1, "not marked as BT.709"
        for got in video.read_frames(tmp_path / "out.mp4"):
            assert np.abs(got.astype(int) - colour).max() <= 5, "a colour changed: matrix and mark disagree"

    @pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".gif", ""])
    def test_frames_and_rate_come_back(self, tmp_path, suffix):
        path = tmp_path / f"out{suffix}"
        with video.VideoWriter(path, 12.5) as writer:
            for frame in clip(40):
                writer.write(frame)
        assert writer.count == 40
        assert numbers(video.read_frames(path)) == list(range(40))
        if suffix:
            assert video.probe(path).fps == 12.5
        assert [p.name for p in tmp_path.iterdir()] == [path.name], "something else was left"

    def test_gif_keeps_its_duration(self, tmp_path):
        with video.VideoWriter(tmp_path / "out.gif", 30) as writer:
            for frame in clip(60):
                writer.write(frame)
        with Image.open(tmp_path / "out.gif") as image:
            total = 0
            for k in range(image.n_frames):
                image.seek(k)
                total += image.info["duration"]
        assert total == 2000, f"60 frames at 30 a second last {total} ms"

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    @pytest.mark.parametrize("suffix", [".mp4", ".gif", ""])
    def test_what_was_written_before_an_interruption_plays(self, tmp_path, suffix, error):
        path = tmp_path / f"out{suffix}"
        if suffix:
            path.write_bytes(b"older")
        with pytest.raises(error), video.VideoWriter(path, 25) as writer:
            for k, frame in enumerate(clip(60)):
                if k == 30:
                    raise error
                writer.write(frame)
        partial = tmp_path / f"out.partial{suffix}" if suffix else path
        assert numbers(video.read_frames(partial)) == list(range(30))
        if suffix:
            assert path.read_bytes() == b"older", "an interrupted run destroyed the older file"
        assert len(list(tmp_path.iterdir())) == (2 if suffix else 1)
        if suffix:
            with video.VideoWriter(path, 25) as writer:
                for frame in clip(60):
                    writer.write(frame)
            assert list(tmp_path.iterdir()) == [path], "the whole one is there, and the part of it still"

    def test_interrupted_before_the_first_frame(self, tmp_path):
        with pytest.raises(KeyboardInterrupt), video.VideoWriter(tmp_path / "out.mp4", 25):
            raise KeyboardInterrupt
        assert not list(tmp_path.iterdir())

    def test_no_frames_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match="no frames"), video.VideoWriter(tmp_path / "out.mp4", 25):
            pass
        assert not list(tmp_path.iterdir())

    def test_what_cannot_be_written_is_said(self, tmp_path):
        with pytest.raises(ValueError, match=r"cannot write \.txt"):
            video.VideoWriter(tmp_path / "out.txt", 25)
        with pytest.raises(ValueError, match="above 0"):
            video.VideoWriter(tmp_path / "out.mp4", 0)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "0.png").touch()
        with pytest.raises(ValueError, match="empty it"):
            video.VideoWriter(tmp_path / "full", 25)

    def test_what_is_in_the_way_is_told_before_anything_is_written(self, tmp_path):
        (tmp_path / "out.mp4").mkdir()
        with pytest.raises(ValueError, match=r"out\.mp4 is a folder"):
            video.VideoWriter(tmp_path / "out.mp4", 25)
        (tmp_path / "frames").touch()
        with pytest.raises(ValueError, match="frames is a file"):
            video.VideoWriter(tmp_path / "frames", 25)

    def test_sizes_beyond_h264_are_told(self, tmp_path):
        with (
            pytest.raises(ValueError, match=r"40000x2 px: .*--crop"),
            video.VideoWriter(tmp_path / "o.mp4", 25) as writer,
        ):
            writer.write(np.zeros((2, 40000, 3), np.uint8))
        assert not list(tmp_path.iterdir())

    def test_sizes_must_stay(self, tmp_path):
        with (
            pytest.raises(ValueError, match=r"frame 1 is \(32, 32, 3\)"),
            video.VideoWriter(tmp_path / "out.mp4", 25) as w,
        ):
            w.write(np.zeros((16, 16, 3), np.uint8))
            w.write(np.zeros((32, 32, 3), np.uint8))


class TestSound:
    @pytest.mark.parametrize(("codec", "suffix"), [("aac", "mp4"), ("pcm_s16le", "avi"), ("libopus", "webm")])
    def test_sound_is_taken_over(self, tmp_path, codec, suffix):
        source = encode(tmp_path / f"in.{suffix}", clip(50), codec=None, sound=codec)
        assert video.probe(source).has_audio
        with video.VideoWriter(tmp_path / "out.mp4", 25, audio_from=source) as writer:
            for frame in clip(50):
                writer.write(frame)
        loud = samples(tmp_path / "out.mp4")
        rate = len(loud) / 2.0
        assert abs(len(loud) / 44100 - 2.0) < 0.1 or abs(len(loud) / 48000 - 2.0) < 0.1
        spectrum = np.abs(np.fft.rfft(loud))
        assert abs(np.argmax(spectrum) * rate / len(loud) - 440) < 10, "not the tone that was put in"
        assert numbers(video.read_frames(tmp_path / "out.mp4")) == list(range(50))

    def test_copied_sound_is_the_same_bytes(self, tmp_path):
        source = encode(tmp_path / "in.mp4", clip(50), sound="aac")
        with video.VideoWriter(tmp_path / "out.mp4", 25, audio_from=source) as writer:
            for frame in clip(25):
                writer.write(frame)
        a, b = (packets(tmp_path / name) for name in ("in.mp4", "out.mp4"))
        assert 0.8 < len(b) / (len(a) / 2) < 1.2, "sound must end with the frames"
        assert a[: len(b)] == b

    def test_none_to_take(self, tmp_path):
        source = encode(tmp_path / "in.mp4", clip(5))
        with video.VideoWriter(tmp_path / "out.mp4", 25, audio_from=source) as writer:
            writer.write(clip(1)[0])
        assert not video.probe(tmp_path / "out.mp4").has_audio


def packets(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def samples(path):
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray().mean(0) for frame in container.decode(audio=0)]
    return np.concatenate(frames)
