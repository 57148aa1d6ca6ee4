"""Videos of every kind read alike, and what cannot be used is refused with its name."""

import fsspec
import numpy as np
import pytest
from PIL import Image

from leo_jax import video
from leo_jax.data import prepare, puppets
from leo_jax.metrics import videos
from leo_jax.metrics.ranges import decide
from leo_jax.video import BadVideo


def frames(seed=0, t=12, h=20, w=24):
    return np.random.default_rng(seed).integers(0, 256, (t, h, w, 3), dtype=np.uint8)


def write_folder(folder, array, suffix=".png", pad=0):
    folder.mkdir(parents=True)
    for i, frame in enumerate(array):
        Image.fromarray(frame).save(folder / f"{str(i).zfill(pad)}{suffix}")


def test_folders_of_images_in_the_order_of_their_numbers(tmp_path):
    """Frame 10 comes after frame 9, whatever a plain sort says."""
    write_folder(tmp_path / "class" / "clip", frames())
    write_folder(tmp_path / "other", frames(1), suffix=".jpg")
    (tmp_path / "notes.txt").write_text("no video")
    found = videos.open_videos(tmp_path)
    assert [v.name for v in found.videos] == ["class/clip", "other"]
    assert [v.storage for v in found.videos] == ["png", "jpeg"] and [v.lossless for v in found.videos] == [True, False]
    np.testing.assert_array_equal(found.videos[0].read(range(12)), frames())
    np.testing.assert_array_equal(found.videos[0].read([2, 11]), frames()[[2, 11]])
    assert found.lengths == [12, 12] and found.sizes == ["20x24"]


def test_transparent_frames_show_white(tmp_path):
    """As in animate, prepare and so on."""
    (tmp_path / "clip").mkdir()
    Image.new("RGBA", (24, 20), (0, 0, 0, 0)).save(tmp_path / "clip" / "0.png")
    (clip,) = videos.open_videos(tmp_path).videos
    assert (clip.read([0]) == 255).all()


def test_arrays(tmp_path):
    many = np.stack([frames(0), frames(1)])
    np.savez_compressed(tmp_path / "many.npz", many)
    np.save(tmp_path / "one.npy", frames(2))
    found = videos.open_videos(tmp_path)
    assert [v.name for v in found.videos] == ["many.npz/000000", "many.npz/000001", "one.npy"]
    np.testing.assert_array_equal(found.videos[1].read([0, 5]), frames(1)[[0, 5]])
    np.testing.assert_array_equal(found.videos[2].read([3]), frames(2)[[3]])


def test_gif(tmp_path):
    flat = np.stack([np.full((16, 16, 3), value, np.uint8) for value in (0, 100, 255)])
    images = [Image.fromarray(frame) for frame in flat]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=100)
    (found,) = videos.open_videos(tmp_path).videos
    assert found.length == 3 and not found.lossless
    np.testing.assert_allclose(found.read([0, 2]), flat[[0, 2]], atol=1)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(0.0, 255.0, "0,255"), (0.0, 1.0, "0,1"), (-1.0, 1.0, "-1,1"), (-0.7, 0.4, "-1,1"), (-5e-4, 1.0005, "0,1")],
)
def test_range_is_seen_where_certain(tmp_path, low, high, told):
    values = np.linspace(low, high, 2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)
    np.save(tmp_path / "a.npy", values)
    found = videos.open_videos(tmp_path)
    assert found.value_range.startswith(told)
    read = found.videos[0].read([0, 1])
    span = {"0,255": (0, 255), "0,1": (0, 1), "-1,1": (-1, 1)}[told]
    np.testing.assert_allclose(read, (values - span[0]) / (span[1] - span[0]) * 255, atol=1e-3)


@pytest.mark.parametrize(
    ("low", "high"),
    [(-1.3, 1.1), (-0.2, 0.7), (-0.03, 1.0), (0.0, 1.4), (0.6, 0.9), (0.0, 0.3), (0.0, 300.0), (-5.0, 200.0)],
)
def test_range_is_asked_where_not(tmp_path, low, high):
    np.save(tmp_path / "a.npy", np.linspace(low, high, 2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3))
    with pytest.raises(ValueError, match=r"state one of 0,255, 0,1, -1,1"):
        videos.open_videos(tmp_path)
    if high < 2:
        assert videos.open_videos(tmp_path, value_range="-1,1").value_range.startswith("-1,1 (stated")
    else:
        with pytest.raises(
            ValueError, match=r"range of -1,1 is stated, and a.npy has values from .* to .*: state another"
        ):
            videos.open_videos(tmp_path, value_range="-1,1")


def test_one_range_for_a_whole_set(tmp_path):
    """A bright video without negative values is still [-1, 1] where its neighbours have some, and that is said."""
    np.save(tmp_path / "a.npy", np.linspace(0, 1, 8 * 8 * 3, dtype=np.float32).reshape(1, 8, 8, 3))
    np.save(tmp_path / "b.npy", np.linspace(-1, 1, 8 * 8 * 3, dtype=np.float32).reshape(1, 8, 8, 3))
    first, second = videos.open_videos(tmp_path).videos
    assert first.read([0]).min() == pytest.approx(127.5)
    assert second.read([0]).min() == pytest.approx(0)
    assert "1 without values below 0, such as a.npy, taken for bright" in videos.open_videos(tmp_path).value_range


def test_two_ranges_in_a_set_are_not_guessed(tmp_path):
    """Next to values up to 255, those up to 1 would be black."""
    np.save(tmp_path / "a.npy", np.linspace(0, 1, 8 * 8 * 3, dtype=np.float32).reshape(1, 8, 8, 3))
    np.save(tmp_path / "b.npy", np.linspace(0, 255, 8 * 8 * 3, dtype=np.float32).reshape(1, 8, 8, 3))
    with pytest.raises(ValueError, match=r"those of a.npy alone look like 0,1: bring all to one range, or state one"):
        videos.open_videos(tmp_path)
    assert videos.open_videos(tmp_path, value_range="0,255").value_range.startswith("0,255 (stated")


def test_a_range_stated_for_bytes_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a range of 0,1 is stated, and there are no float arrays"):
        videos.open_videos(tmp_path, value_range="0,1")
    assert videos.open_videos(tmp_path, value_range="0,255").value_range == "0–255 (uint8)"


def test_nan_is_named(tmp_path):
    np.save(tmp_path / "holes.npy", np.full((2, 8, 8, 3), np.nan, np.float32))
    with pytest.raises(BadVideo, match=rf"{tmp_path}/holes.npy: holds NaN.*--skip_bad"):
        videos.open_videos(tmp_path)
    with pytest.raises(ValueError, match=r"1 cannot be used, the first: holes.npy: holds NaN"):
        videos.open_videos(tmp_path, on_bad="skip")


def test_nan_is_left_out_where_that_is_asked(tmp_path):
    """Of an array of videos that one alone, and it has no say in the range."""
    array = np.linspace(0, 1, 3 * 2 * 8 * 8 * 3, dtype=np.float32).reshape(3, 2, 8, 8, 3)
    array[1, 0, 0, 0, 0] = np.nan
    np.save(tmp_path / "a.npy", array)
    found = videos.open_videos(tmp_path, on_bad="skip")
    assert [v.name for v in found.videos] == ["a.npy/000000", "a.npy/000002"] and found.value_range.startswith("0,1")
    assert found.skipped == (("a.npy/000001", "holds NaN or infinity"),)
    np.testing.assert_allclose(found.videos[1].read([1]), array[2, 1:] * 255, rtol=1e-5)


@pytest.mark.parametrize("stride", [0, -4])
def test_strides_are_positive(tmp_path, stride):
    """0 is not "none given"."""
    with pytest.raises(ValueError, match=f"a stride of {stride}; it is 1 .* or more"):
        videos.open_videos(tmp_path, stride=stride)


def test_corrupt_files_are_named_or_skipped(tmp_path):
    write_folder(tmp_path / "good", frames())
    (tmp_path / "bad.gif").write_bytes(b"GIF89a, then nothing")
    np.save(tmp_path / "ints.npy", np.zeros((2, 8, 8, 3), np.int32))
    np.save(tmp_path / "first.npy", np.zeros((2, 3, 8, 8), np.uint8))
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04cut")
    np.save(tmp_path / "nothing.npy", np.zeros((0, 8, 8, 3), np.float32))
    np.savez_compressed(tmp_path / "flipped.npz", np.random.default_rng(0).integers(0, 50, (4, 8, 8, 3), np.uint8))
    content = bytearray((tmp_path / "flipped.npz").read_bytes())
    content[60:64] = bytes(byte ^ 0xFF for byte in content[60:64])
    (tmp_path / "flipped.npz").write_bytes(content)
    with pytest.raises(BadVideo, match=rf"{tmp_path}/.*--skip_bad"):
        videos.open_videos(tmp_path)
    found = videos.open_videos(tmp_path, on_bad="skip")
    assert [v.name for v in found.videos] == ["good"]
    reasons = dict(found.skipped)
    assert set(reasons) == {"bad.gif", "ints.npy", "first.npy", "cut.npz", "nothing.npy", "flipped.npz"}
    assert "int32" in reasons["ints.npy"] and "channels last" in reasons["first.npy"]
    assert "nothing in it" in reasons["nothing.npy"] and "not a readable array" in reasons["flipped.npz"]


def test_a_damaged_frame_is_named(tmp_path):
    write_folder(tmp_path / "clip", frames())
    (tmp_path / "clip" / "7.png").write_bytes(b"not a picture")
    (found,) = videos.open_videos(tmp_path).videos
    with pytest.raises(BadVideo, match=r"clip: frame 7.png"):
        found.read(range(12))


def test_frames_of_two_sizes_are_named(tmp_path):
    write_folder(tmp_path / "clip", frames())
    Image.fromarray(frames(h=30)[0]).save(tmp_path / "clip" / "9.png")
    (found,) = videos.open_videos(tmp_path).videos
    with pytest.raises(BadVideo, match=r"9.png is \(30, 24\)"):
        found.read(range(12))


def test_nothing_there(tmp_path):
    with pytest.raises(ValueError, match=r"no videos in .*\.mp4.*prepared"):
        videos.open_videos(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        videos.open_videos(tmp_path / "nowhere")


def test_fingerprint_follows_the_content(tmp_path):
    write_folder(tmp_path / "clip", frames())
    before = videos.open_videos(tmp_path).fingerprint
    assert videos.open_videos(tmp_path).fingerprint == before
    changed = frames()
    changed[3, 0, 0, 0] ^= 1
    Image.fromarray(changed[3]).save(tmp_path / "clip" / "3.png")
    assert videos.open_videos(tmp_path).fingerprint != before


def test_fingerprint_sees_the_middle_of_a_file(tmp_path):
    """Kept features are found by it: an array without compression has no other trace of a changed frame."""
    array = np.zeros((30, 64, 64, 3), np.uint8)
    np.save(tmp_path / "a.npy", array)
    before = videos.fingerprint(tmp_path)
    array[15, 32, 32] = 1
    np.save(tmp_path / "a.npy", array)
    assert videos.fingerprint(tmp_path) != before


def test_names_are_sorted_as_plain_text(tmp_path):
    """Protocols take the first 2048 videos "in sorted order", which is Python's for their authors."""
    for name in ("clip10", "clip9", "Clip1"):
        np.save(tmp_path / f"{name}.npy", frames())
    assert [v.name for v in videos.open_videos(tmp_path).videos] == ["Clip1.npy", "clip10.npy", "clip9.npy"]


def test_a_model_is_asked_once_for_each_video():
    asked = []

    def make(i):
        asked.append(i)
        return frames(i)

    found = videos.from_function(make, 3, (12, 20, 24), "a model", stride=2, fingerprint="weights, seed 0")
    assert found.lengths == [12, 12, 12] and found.stride == 2 and asked == []
    np.testing.assert_array_equal(found.videos[2].read([1, 3]), frames(2)[[1, 3]])
    assert asked == [2]


def test_stated_ranges_are_checked():
    with pytest.raises(ValueError, match="none of 0,255"):
        decide({}, "0,2", "here")


def test_prepared_data(tmp_path):
    """Records are videos with their ground truth; those of one source are a group; the split must be said."""
    puppets.make_dataset(tmp_path, num_train=3, num_test=2, frames=5, size=16, preset="easy", progress=False)
    with pytest.raises(ValueError, match=r"splits \['test', 'train'\].*say which"):
        videos.open_videos(tmp_path)
    found = videos.open_videos(tmp_path, split="train")
    assert [v.name for v in found.videos] == ["puppet-0-0", "puppet-0-1", "puppet-0-2"]
    assert found.videos[0].storage == "png" and found.lengths == [5] * 3
    assert found.videos[1].group == "puppets:easy:0:1"
    person = puppets.render(0, 1, frames=5, size=16, preset="easy")
    np.testing.assert_array_equal(found.videos[1].read([0, 4]), person.frames[[0, 4]])
    np.testing.assert_array_equal(found.videos[1].truth()["identity"], person.identity)
    assert found.fingerprint != videos.open_videos(tmp_path, split="test").fingerprint


def test_prepared_data_in_a_bucket(tmp_path):
    prepared_clip(tmp_path)
    filesystem = fsspec.filesystem("memory")
    for file in (tmp_path / "data").iterdir():
        filesystem.pipe(f"/bucket/evaluated/{file.name}", file.read_bytes())
    remote, local = videos.open_videos("memory://bucket/evaluated"), videos.open_videos(tmp_path / "data")
    assert (remote.fingerprint, remote.lengths) == (local.fingerprint, local.lengths)
    np.testing.assert_array_equal(remote.videos[0].read([13]), local.videos[0].read([13]))
    with pytest.raises(FileNotFoundError, match=r"no prepared data at memory://bucket/nothing"):
        videos.open_videos("memory://bucket/nothing")


def prepared_clip(tmp_path, **options):
    """A video of 30 frames, prepared as records of at most 12."""
    folder = tmp_path / "raw" / "talk"
    write_folder(folder, frames(t=30, h=16, w=16))
    prepare.prepare(
        tmp_path / "raw", tmp_path / "data", size=16, name="talk", chunk=12, lossless=True, progress=False, **options
    )
    return videos.open_videos(tmp_path / "data")


def test_records_of_a_long_video_are_one_video(tmp_path):
    """Protocols take clips of videos: where a record ends, a clip may go on."""
    found = prepared_clip(tmp_path)
    assert [(v.name, v.length, v.storage) for v in found.videos] == [("talk#000000-000030", 30, "png")]
    np.testing.assert_array_equal(
        found.videos[0].read([0, 9, 10, 19, 20, 29]), frames(t=30, h=16, w=16)[[0, 9, 10, 19, 20, 29]]
    )


def test_another_rate_makes_the_spacing_unknown(tmp_path):
    with pytest.raises(ValueError, match=r"prepared at 5 frames a second.*--real_stride=1"):
        prepared_clip(tmp_path, fps=5)
    assert videos.open_videos(tmp_path / "data", stride=5).stride == 5


def test_video_files(tmp_path):
    """An mp4 is read by frame number, exactly as it decodes in order; one cut short is named."""
    smooth = np.clip(np.cumsum(frames(t=30).astype(int) - 127, axis=1) // 40 + 128, 0, 255).astype(np.uint8)
    with video.VideoWriter(tmp_path / "clip.mp4", 25.0) as writer:
        for frame in smooth:
            writer.write(frame)
    (found,) = videos.open_videos(tmp_path).videos
    assert (found.length, found.height, found.width, found.storage, found.lossless) == (30, 20, 24, "h264", False)
    assert found.fps == 25
    whole = np.stack(list(video.read_frames(tmp_path / "clip.mp4")))
    np.testing.assert_array_equal(found.read([3, 4, 29]), whole[[3, 4, 29]])
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes()[:-200])
    with pytest.raises(BadVideo, match=r"cut.mp4"):
        videos.open_videos(tmp_path)
    assert [name for name, _ in videos.open_videos(tmp_path, on_bad="skip").skipped] == ["cut.mp4"]
