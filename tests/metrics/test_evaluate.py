"""A whole evaluation, with a stand-in for I3D: what it measures, says, warns of and refuses."""

import dataclasses
import json

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax.data import puppets
from leo_jax.metrics import features, videos, words
from leo_jax.metrics.evaluate import Settings, evaluate
from leo_jax.metrics.frechet import frechet_distance
from leo_jax.metrics.protocols import protocol
from leo_jax.video import BadVideo

WEIGHTS = {"i3d": {"nothing": np.zeros(1, np.float32)}}
QUICK = Settings(progress=False, bootstrap=20, floor=2)
DIGAN = protocol("digan", resolution=16, count=10, trials=3)


class Corners(nn.Module):
    """In I3D's place: mean colours of the frame's left and right half."""

    epsilon: float

    def __call__(self, video):
        halves = video.mean(axis=(1, 2)).reshape(len(video), 2, -1, 3).mean(axis=2)
        return jnp.reshape(halves, (len(video), 6))


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(features, "I3D", Corners)


def some(seed, count=12, t=16, size=16, brighter=0, **options):
    random = np.random.default_rng(seed)
    colours = random.integers(0, 200, (count, 1, 1, 2, 3)).repeat(size // 2, axis=3) + brighter
    return videos.from_arrays([np.broadcast_to(c, (t, size, size, 3)).astype(np.uint8) for c in colours], **options)


def test_numbers_are_those_of_the_features():
    real, fake = some(0), some(1, brighter=40)
    found = evaluate(real, fake, protocol("styleganv-16f"), ["fvd", "kvd"], WEIGHTS, QUICK)
    rows = [np.stack([v.read([0])[0, 0, [0, 15]].reshape(6) / 127.5 - 1 for v in side.videos]) for side in (real, fake)]
    fvd = found.result["metrics"]["fvd"]
    np.testing.assert_allclose(fvd["value"], frechet_distance(*rows, ddof=0), rtol=0.03)  # resizing mixes at the edge
    assert "std" not in fvd and fvd["standard_error"] > 0
    assert (fvd["clips_real"], fvd["clips_fake"], fvd["dimensions"]) == (12, 12, 6)
    assert fvd["floor"]["clips"] == 6 and fvd["floor"]["mean"] < fvd["at_the_floors_n"]["mean"]
    assert found.result["metrics"]["kvd"]["value"] > 0


def test_everything_that_was_chosen_stands_in_the_result():
    found = evaluate(some(0), some(1), DIGAN, ["fvd"], WEIGHTS, dataclasses.replace(QUICK, seed=7))
    result = json.loads(json.dumps(found.result))
    assert result["protocol"]["name"] == "digan+resolution=16+count=10+trials=3"
    assert result["protocol"]["epsilon"] == 1e-5 and "N - 1" in result["protocol"]["in_words"]
    assert result["seed"] == 7 and set(result["weights"]) == {"i3d"} and result["versions"]["jax"]
    assert result["real"]["fingerprint"] != result["fake"]["fingerprint"]
    assert result["real"]["stride"] == 1 and result["fake"]["sizes"] == ["16x16"]
    assert [len(found.samples[side]) for side in ("real", "fake")] == [4, 4]
    assert found.samples["fake"][0].shape == (16, 16, 16, 3)


def test_trials_draw_anew_and_a_seed_repeats_them():
    run = lambda seed: evaluate(
        some(0), some(1), DIGAN, ["fvd"], WEIGHTS, dataclasses.replace(QUICK, seed=seed)
    ).result["metrics"]["fvd"]
    first, again, other = run(0), run(0), run(1)
    assert first == again and first["trials"] != other["trials"]
    assert len(set(first["trials"])) == 3 and first["redrawn"] == ["real", "fake"]
    assert first["std"] == pytest.approx(np.std(first["trials"]))


def test_spacing_is_made_equal():
    """Real frames 1 apart, generated ones 4 apart: DIGAN's Taichi clips take every 4th and every frame."""
    ramp = np.arange(64, dtype=np.uint8)
    real = [np.broadcast_to(ramp[:, None, None, None] + i, (64, 16, 16, 3)) for i in range(6)]
    fake = [
        np.broadcast_to((4 * np.arange(16, dtype=np.uint8))[:, None, None, None] + i, (16, 16, 16, 3)) for i in range(6)
    ]
    taichi = protocol("digan-taichi", resolution=16)
    found = evaluate(videos.from_arrays(real), videos.from_arrays(fake, stride=4), taichi, ["fvd"], WEIGHTS, QUICK)
    assert found.result["metrics"]["fvd"]["value"] < 0.01
    for sample in range(4):  # of different videos, though each real one gives four clips
        np.testing.assert_array_equal(found.samples["real"][sample], found.samples["fake"][sample])
    with pytest.raises(ValueError, match="those of the generated videos lie 3 apart"):
        evaluate(videos.from_arrays(real), videos.from_arrays(fake, stride=3), taichi, ["fvd"], WEIGHTS, QUICK)


def warnings_of(real, fake, used=DIGAN, **changes):
    found = evaluate(real, fake, used, ["fvd"], WEIGHTS, dataclasses.replace(QUICK, **changes))
    return "\n".join(found.result["warnings"])


def test_warnings(monkeypatch):
    monkeypatch.setattr(words, "USUAL", 10)
    assert warnings_of(some(0), some(1)) == "", "nothing to warn of"
    few = warnings_of(some(0, count=5), some(1, count=5))
    assert "5 real and 5 generated clips, where the field compares 10" in few
    assert "fewer clips than the 6 dimensions" in few and "no ± from re-draws" in few
    assert "real side alone" in warnings_of(some(0), some(1, count=10))
    real = some(0)
    jpeg = dataclasses.replace(real, videos=tuple(dataclasses.replace(v, storage="jpeg") for v in real.videos))
    assert "stored as jpeg, generated ones as raw" in warnings_of(jpeg, some(1))
    fake = some(1)
    film = dataclasses.replace(fake, videos=tuple(dataclasses.replace(v, storage="h264") for v in fake.videos))
    assert "stored as jpeg, generated ones as h264" in warnings_of(jpeg, film), "not the same compression"
    png = dataclasses.replace(fake, videos=tuple(dataclasses.replace(v, storage="png") for v in fake.videos))
    assert "stored as" not in warnings_of(real, png), "raw and PNG are both exact"
    assert "blur differs" in warnings_of(some(0, size=32), some(1))
    at = lambda found, fps: dataclasses.replace(
        found, videos=tuple(dataclasses.replace(v, fps=fps) for v in found.videos)
    )
    assert "25 frames a second on the real side and 10 on" in warnings_of(at(real, 25.0), at(fake, 10.0))
    assert warnings_of(at(real, 25.0), at(fake, 25.0)) == warnings_of(at(real, 25.0), fake) == "", "equal, or not known"
    every_fourth = dataclasses.replace(at(fake, 6.25), stride=4)
    assert "frames a second" not in "".join(words.warnings_of_files(at(real, 25.0), every_fourth, {})), (
        "as it should be"
    )
    assert "the same videos" in warnings_of(some(0), some(0))
    assert "1/N law" in warnings_of(some(0), some(1), extrapolate=True)


def mixed():
    good = some(1)
    short = some(2, count=2, t=11)
    videos_ = [*good.videos, *(dataclasses.replace(v, name=f"short{i}") for i, v in enumerate(short.videos))]
    return dataclasses.replace(good, videos=tuple(videos_))


def test_short_videos():
    with pytest.raises(BadVideo, match=r"short0: has 11 frames.*needs 16 of a fake video.*2 of 14.*skip_bad"):
        evaluate(some(0), mixed(), DIGAN, ["fvd"], WEIGHTS, QUICK)
    found = evaluate(some(0), mixed(), DIGAN, ["fvd"], WEIGHTS, dataclasses.replace(QUICK, on_bad="skip")).result
    assert found["fake"]["skipped"] == [["short0", "11 frames, 16 are needed"], ["short1", "11 frames, 16 are needed"]]
    assert "2 fake videos were left out" in "\n".join(found["warnings"])
    dropped = evaluate(mixed(), some(0), DIGAN, ["fvd"], WEIGHTS, QUICK).result
    assert len(dropped["real"]["skipped"]) == 2, "of real videos the protocol itself drops short ones"


def broken(found, number):
    """The set with one video that cannot be read."""

    def read(indices):
        raise BadVideo(found.videos[number].name, "cut short")

    videos_ = [dataclasses.replace(v, read=read) if i == number else v for i, v in enumerate(found.videos)]
    return dataclasses.replace(found, videos=tuple(videos_))


def test_unreadable_videos_are_left_out_of_everything():
    """Of the numbers, of the samples, and of reconstruction; or end the run."""
    skipping = dataclasses.replace(QUICK, on_bad="skip")
    with pytest.raises(BadVideo, match="000000: cut short"):
        evaluate(some(0), broken(some(1), 0), DIGAN, ["fvd"], WEIGHTS, QUICK)
    found = evaluate(some(0), broken(some(1), 0), DIGAN, ["fvd", "l1"], WEIGHTS, skipping)
    assert found.result["fake"]["skipped"] == [["000000", "cut short"]]
    assert len(found.samples["fake"]) == 4 and found.result["metrics"]["l1"]["videos"] == 11
    counts = found.result["metrics"]["fvd"]["clips_fake"], found.result["fake"]["clips_compared"]
    assert counts[0] == counts[1] < 12 and found.result["real"]["clips_compared"] == 10
    alone = evaluate(some(0), broken(some(1), 2), None, ["l1"], {}, skipping)
    assert len(alone.samples["real"]) == len(alone.samples["fake"]) == 4
    assert "1 fake videos were left out" in "\n".join(alone.result["warnings"])
    with pytest.raises(ValueError, match="no videos are left to compare, the first: 000000: cut short"):
        evaluate(some(0, count=1), broken(some(1, count=1), 0), None, ["l1"], {}, skipping)


def of_sizes(*sizes, seed):
    """A video of each size."""
    found = [some(seed + i, count=1, size=size).videos[0] for i, size in enumerate(sizes)]
    named = tuple(dataclasses.replace(v, name=f"{i:06d}", group=f"{i:06d}") for i, v in enumerate(found))
    return dataclasses.replace(some(seed), videos=named, fingerprint=str(seed))


def test_odd_sizes_are_left_out_the_same_whatever_is_cached(tmp_path):
    """One size for both sides, the one that most have: not that of whichever clip is computed first."""
    real, fake = of_sizes(*[16] * 3, *[32] * 5, seed=0), of_sizes(*[32] * 4, *[16] * 3, 24, seed=50)
    skipping = dataclasses.replace(QUICK, on_bad="skip", bootstrap=0, floor=0, cache=tmp_path)
    found = [evaluate(real, fake, protocol("styleganv-16f"), ["fvd"], WEIGHTS, skipping).result for _ in range(2)]
    assert found[0]["metrics"] == found[1]["metrics"] and found[0]["warnings"] == found[1]["warnings"]
    for result in found:
        fvd = result["metrics"]["fvd"]
        assert (fvd["clips_real"], fvd["clips_fake"]) == (5, 4)
        assert (result["real"]["clips_compared"], result["fake"]["clips_compared"]) == (5, 4)
        assert [name for name, _ in result["real"]["skipped"]] == ["000000", "000001", "000002"]
        assert result["fake"]["skipped"][-1] == [
            "000007",
            "24x24 px where 32x32 are compared: styleganv-16f does not resize",
        ]
    alike = evaluate(real, some(9, size=16), protocol("styleganv-16f"), ["fvd"], WEIGHTS, skipping).result
    assert alike["metrics"]["fvd"]["clips_real"] == 3, "the other side leaves no choice"
    with pytest.raises(ValueError, match="bring all to one size"):
        evaluate(real, some(9, size=8), protocol("styleganv-16f"), ["fvd"], WEIGHTS, skipping)


def test_one_generated_video_has_no_floor():
    """Half of the real side against itself needs two clips, and so does what stands beside it."""
    found = evaluate(some(0), some(1, count=1), protocol("styleganv-16f"), ["fvd"], WEIGHTS, QUICK).result["metrics"][
        "fvd"
    ]
    assert found["clips_fake"] == 1 and found["value"] > 0 and "floor" not in found


def test_sizes_must_agree_where_nothing_resizes():
    as_it_is = protocol("styleganv-16f")
    with pytest.raises(ValueError, match=r"000000 of arrays has 32x32 px, 000000 of arrays 16x16.*does not resize"):
        evaluate(some(0, size=32), some(1), as_it_is, ["fvd"], WEIGHTS, QUICK)
    odd = dataclasses.replace(some(3, count=1, size=32).videos[0], name="odd")
    both = dataclasses.replace(some(1), videos=(*some(1).videos, odd))
    for real, fake in ((some(0), both), (both, both)):
        with pytest.raises(ValueError, match=r"has 16x16 px, odd of arrays 32x32"):
            evaluate(real, fake, as_it_is, ["fvd"], WEIGHTS, QUICK)


@pytest.mark.parametrize(
    "changes", [{"bootstrap": -1}, {"floor": -1}, {"batch_size": 0}, {"seed": -1}, {"on_bad": "x"}]
)
def test_settings_that_make_no_sense(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        dataclasses.replace(QUICK, **changes)


def test_refuses_unknown_metrics_and_missing_weights():
    with pytest.raises(ValueError, match=r"no metric \['fid'\].*fvd, kvd"):
        evaluate(some(0), some(1), DIGAN, ["fid"], WEIGHTS, QUICK)
    with pytest.raises(ValueError, match=r"weights of \['face'\]"):
        evaluate(some(0), some(1), DIGAN, ["acd-face"], WEIGHTS, QUICK)


def test_reconstruction_and_puppets_identity(tmp_path):
    """The same videos: nothing is lost. Another person under the same name: identity tells."""
    puppets.make_dataset(tmp_path, num_train=3, num_test=0, frames=8, size=48, preset="easy", progress=False)
    real = videos.open_videos(tmp_path, split="train")
    names = [v.name for v in real.videos]
    frames = [v.read(range(8)) for v in real.videos]
    measured = lambda arrays: evaluate(
        real, videos.from_arrays(arrays, names=names), None, ["l1", "identity"], {}, QUICK
    ).result["metrics"]
    same, swapped = measured(frames), measured(frames[1:] + frames[:1])
    assert same["l1"]["value"] == 0 and same["l1"]["videos"] == 3
    assert swapped["l1"]["value"] > 0.02
    assert swapped["identity"]["value"] > 3 * same["identity"]["value"]


def test_whole_videos_need_no_protocol():
    one, other = some(0), some(1)
    found = evaluate(one, other, None, ["l1"], {}, QUICK)
    assert found.result["protocol"]["name"] == "whole videos" and len(found.samples["fake"]) == 4
    with pytest.raises(ValueError, match="say under which protocol"):
        evaluate(one, other, None, ["l1", "fvd"], WEIGHTS, QUICK)


def test_a_cache_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file/features cannot be written"):
        evaluate(some(0), some(1), DIGAN, ["fvd"], WEIGHTS, dataclasses.replace(QUICK, cache=tmp_path / "file"))
    kept = dataclasses.replace(QUICK, cache=tmp_path / "cache")
    evaluate(some(0), some(1), DIGAN, ["fvd"], WEIGHTS, kept)
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"features-.*npz is not a readable.*delete it.*--no_cache"):
        evaluate(some(0), some(1), DIGAN, ["fvd"], WEIGHTS, kept)


def test_cached_features_give_the_same_result(tmp_path):
    run = lambda: evaluate(
        some(0), some(1), DIGAN, ["fvd", "kvd"], WEIGHTS, dataclasses.replace(QUICK, cache=tmp_path)
    ).result["metrics"]
    assert run() == run()
    assert len(list(tmp_path.glob("*.npz"))) == 2
