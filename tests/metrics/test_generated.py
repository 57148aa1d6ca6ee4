"""A model as the generated side: what it is asked for, how often, and what is made of what it gives."""

import dataclasses
import json

import numpy as np
import pytest

import leo_jax
from leo_jax import denoisers
from leo_jax.metrics import command, content, features, generated, videos
from leo_jax.metrics.command import Side
from leo_jax.metrics.evaluate import Settings, evaluate
from leo_jax.metrics.generated import Choices
from leo_jax.metrics.protocols import protocol
from leo_jax.video import BadVideo
from tests import tiny_model
from tests.metrics.test_evaluate import Corners

QUICK = Settings(progress=False, bootstrap=20, floor=0)
TAICHI = protocol("digan-taichi", resolution=16, count=6, trials=2)
SIZE = 16


class Toy:
    """Codes are mean levels of red, green and blue. Video i of seed s rises from its first one by s + 10 i + t at frame t."""

    size = SIZE

    def __init__(self, stride=1, stages=("animator", "motion", "start", "first_frame"), spoil=None):
        self.stride, self.stages, self.spoil = stride, frozenset(stages), spoil
        self.asked, self.rendered = [], 0

    def sample_codes(self, start=None, frames=64, num=1, steps=50, seed=0, transition=False, *, first=0):
        asked = {"start": start, "frames": frames, "num": num, "steps": steps, "seed": seed}
        self.asked.append({**asked, "transition": transition, "first": first})
        begin = np.full((num, 3), 30.0) if start is None else np.asarray(start)
        moved = seed + 10 * (first + np.arange(num))[:, None] + np.arange(frames - 3 * (self.spoil == "short"))
        codes = begin[:, None] + np.where(np.arange(moved.shape[1]), moved, 0)[:, :, None]
        return np.where(self.spoil == "nan" and np.arange(codes.shape[1])[:, None] == 8, np.nan, codes)

    def first_frame(self, code, steps=50, seed=0, *, first=0):
        return np.broadcast_to(np.asarray(code)[:, None, None] / 127.5 - 1, (len(code), SIZE, SIZE, 3))

    def codes(self, images):
        assert images.dtype == np.uint8 and images.shape[1:] == (SIZE, SIZE, 3)
        return images.astype(np.float32).mean(axis=(1, 2))

    def render(self, source, codes):
        """As the source looks, but for the colour, and a level too bright."""
        self.rendered += len(codes)
        return np.broadcast_to((codes[:, None, None] + 1) / 127.5 - 1, (len(codes), *source.shape)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "model.json").write_text("{}")
    np.savez(path / "animator.npz", a=np.zeros(3))
    return path


def real(count=4, t=70, size=SIZE):
    levels = 20 + 10 * np.arange(count)
    return videos.from_arrays([np.full((t, size, size, 3), level, np.uint8) for level in levels], "real")


def test_sixteen_frames_four_apart_come_from_61(folder):
    """The image, and 15 rendered frames: those in between are not drawn."""
    model = Toy()
    found = generated.videos_of(model, folder, real(), TAICHI, Choices(unconditional=True))
    assert model.asked == [], "nothing is made before it is needed"
    assert (len(found.videos), found.lengths[0], found.stride, found.sizes) == (6, 61, 1, ["16x16"])
    frames = found.videos[3].read(range(0, 61, 4))
    asked = {"start": None, "frames": 61, "num": 6, "steps": 50, "seed": 0, "transition": False, "first": 0}
    assert model.asked == [asked] and model.rendered == 15
    expected = [30, *(30 + 30 + t + 1 for t in range(4, 61, 4))]
    np.testing.assert_allclose(frames[:, 0, 0, 0], expected, rtol=1e-6)
    assert frames.dtype == np.float32, "rounding is the protocol's"


def test_codes_are_drawn_for_many_videos_at_once(folder, monkeypatch):
    """The last block is smaller; blocks change no video."""
    whole = generated.videos_of(Toy(), folder, real(), TAICHI, Choices())
    monkeypatch.setattr(generated, "TOGETHER", 4)
    model = Toy()
    found = generated.videos_of(model, folder, real(), TAICHI, Choices(), seed=0)
    for one, other in zip(found.videos, whole.videos, strict=True):
        np.testing.assert_array_equal(one.read([0, 4, 60]), other.read([0, 4, 60]))
    assert [(ask["first"], ask["num"]) for ask in model.asked] == [(0, 4), (4, 2)]


def test_an_unreadable_real_image_spoils_its_own_videos_alone(folder):
    true = real(3)

    def read(indices):
        raise BadVideo("real 1", "cut short")

    true = dataclasses.replace(
        true, videos=(true.videos[0], dataclasses.replace(true.videos[1], read=read), true.videos[2])
    )
    found, bad = generated.videos_of(Toy(), folder, true, TAICHI, Choices()), 0
    for video in found.videos:
        if video.group == true.videos[1].group:
            with pytest.raises(BadVideo, match="real 1: cut short"):
                video.read([0])
            bad += 1
        else:
            assert video.read([0, 60]).shape == (2, SIZE, SIZE, 3)
    assert bad == 2


@pytest.mark.parametrize(("stride", "length"), [(1, 61), (2, 31), (4, 16)])
def test_the_models_stride_decides_how_many_frames(folder, stride, length):
    assert generated.videos_of(Toy(stride), folder, real(), TAICHI, Choices()).lengths == [length] * 6
    assert generated.videos_of(Toy(), folder, real(), TAICHI, Choices(), stride=stride).lengths[0] == length


def test_spacings_that_cannot_be_made_equal_are_refused(folder):
    with pytest.raises(ValueError, match=r"4 source frames apart, those of the videos of .*run lie 3 apart"):
        generated.videos_of(Toy(stride=3), folder, real(), TAICHI, Choices())


def test_conditional_videos_begin_with_real_first_frames(folder):
    model, true = Toy(), real(4)
    found = generated.videos_of(model, folder, true, TAICHI, Choices(steps=7, transition=False), seed=0)
    for video in found.videos:
        video.read([0])
    (asked,) = model.asked
    assert (asked["seed"], asked["steps"], asked["num"]) == (0, 7, 6)
    begun = [int(video.read([0])[0, 0, 0, 0]) for video in found.videos]
    assert begun == asked["start"][:, 0].astype(int).tolist()
    assert sorted(begun[:4]) == [20, 30, 40, 50], "each real video serves once"
    assert begun[4:] == begun[:2], "before any serves again"
    assert found.videos[4].group == found.videos[0].group, (
        "videos of one image are alike: error bars draw them together"
    )
    other = Toy()
    generated.videos_of(other, folder, true, TAICHI, Choices(), seed=1).videos[0].read([0])
    assert other.asked[0]["seed"] == 1, "another seed makes other videos"


def test_images_are_the_centred_square_at_the_models_size():
    frame = np.zeros((1, 40, 80, 3), np.uint8)
    frame[:, :, 20:60] = 200
    (origin,) = videos.from_arrays([frame]).videos
    np.testing.assert_array_equal(generated.first_image(origin, SIZE), np.full((SIZE, SIZE, 3), 200))


@pytest.mark.parametrize(
    ("choices", "missing"),
    [
        (Choices(unconditional=True), "first_frame, start as well.*without --unconditional"),
        (Choices(transition=True), "start, transition as well: train"),
    ],
)
def test_missing_stages_are_named(folder, choices, missing):
    with pytest.raises(ValueError, match=f"has the stages animator, motion.*needs {missing}"):
        generated.videos_of(Toy(stages=("animator", "motion")), folder, real(), TAICHI, choices)


@pytest.mark.parametrize(
    ("spoil", "message"), [("nan", "000000: the model made NaN"), ("short", r"codes \(6, 58, 3\), \(6, 61\) of them")]
)
def test_broken_models_are_found_out(folder, spoil, message):
    found = generated.videos_of(Toy(spoil=spoil), folder, real(), TAICHI, Choices())
    with pytest.raises(BadVideo, match=message):
        found.videos[0].read([0, 8])


class MeanLevel:
    """In the place of an identity network."""

    batch_size, fingerprint = 1, "mean level"

    def __init__(self, kind, params, *, unit_vectors=None):
        pass

    def __call__(self, clips):
        return clips.mean(axis=(2, 3, 4), dtype=np.float32).std(axis=1)[:, None]


WEIGHTS = {"i3d": {"nothing": np.zeros(1, np.float32)}, "face": {"nothing": np.zeros(1, np.float32)}}


@pytest.fixture
def stand_ins(monkeypatch):
    monkeypatch.setattr(features, "I3D", Corners)
    monkeypatch.setattr(content, "ContentNetwork", MeanLevel)
    monkeypatch.setattr(command, "load_weights", lambda name, path: WEIGHTS[name])


def test_each_video_is_made_once_for_all_metrics_and_the_report(folder, stand_ins, tmp_path):
    model = Toy()
    settings = dataclasses.replace(QUICK, cache=tmp_path / "cache")
    made = lambda: generated.videos_of(model, folder, real(), TAICHI, Choices())
    found = evaluate(real(), made(), TAICHI, ["fvd", "kvd", "acd-face"], WEIGHTS, settings)
    assert (len(model.asked), model.rendered) == (1, 6 * 15) and len(found.samples["fake"]) == 4
    again = evaluate(real(), made(), TAICHI, ["fvd", "kvd", "acd-face"], WEIGHTS, settings)
    assert (len(model.asked), model.rendered) == (2, 10 * 15), (
        "features are kept: only the report's samples are made again"
    )
    assert again.result["metrics"] == found.result["metrics"]
    (folder / "metrics.jsonl").write_text("a log\n")
    (folder / "evaluate").mkdir()
    (folder / "evaluate" / "result.json").write_text("{}")
    np.savez(folder / "evaluate" / "features.npz", a=np.zeros(3))
    evaluate(real(), made(), TAICHI, ["fvd"], WEIGHTS, settings)
    assert model.rendered == 14 * 15, "logs and results are not the model"
    np.savez(folder / "animator.npz", a=np.ones(3))
    evaluate(real(), made(), TAICHI, ["fvd"], WEIGHTS, settings)
    assert model.rendered == 20 * 15, "other weights, other videos"
    (folder / "motion" / "checkpoints" / "5").mkdir(parents=True)
    (folder / "motion" / "checkpoints" / "5" / "array").write_bytes(b"weights")
    evaluate(real(), made(), TAICHI, ["fvd"], WEIGHTS, settings)
    assert model.rendered == 26 * 15, "a stage that trains on"


def test_protocols_round_the_models_values(folder, stand_ins):
    """Level 127.95: DIGAN cuts it, StyleGAN-V rounds. The first frame is an image of bytes."""
    model = Toy()
    model.render = lambda source, codes: np.full((len(codes), SIZE, SIZE, 3), 0.45 / 127.5, np.float32)
    for used, expected in ((protocol("digan", resolution=16), 127), (protocol("styleganv-16f"), 128)):
        used = used.override(count=3)
        made = generated.videos_of(model, folder, real(), used, Choices())
        found = evaluate(real(), made, used, ["fvd"], WEIGHTS, QUICK)
        assert (found.samples["fake"][0][1:] == expected).all()


def run(side, metrics=("fvd",), *, model=None, choices=None, true=None, used="digan-taichi", **options):
    """`leo evaluate` on a small real set."""
    return command.run(
        Side(true), side, protocol_name=used, overrides=["resolution=16", "count=6", "trials=1"] if used else [],
        metrics=list(metrics), settings=QUICK, load_model=lambda path: model, choices=choices, **options,
    )  # fmt: skip


@pytest.fixture
def true(tmp_path):
    (tmp_path / "real").mkdir()
    for i in range(3):
        np.save(tmp_path / "real" / f"{i}.npy", np.full((70, SIZE, SIZE, 3), 40 + 20 * i, np.uint8))
    return tmp_path / "real"


def test_a_folder_with_a_model_is_asked_for_videos(folder, true, stand_ins):
    model = Toy()
    result = json.loads(json.dumps(run(Side(folder), model=model, true=true, choices=Choices(steps=9)).result))
    assert model.rendered == 6 * 15 and result["metrics"]["fvd"]["clips_fake"] == 6
    made = result["fake"]["made"]
    assert (made["mode"], made["steps"], made["frames"], made["seed"]) == ("conditional", 9, 61, 0)
    assert len(made["files"]) == 64 and made["images"].startswith("first frames of") and result["fake"]["stride"] == 1
    assert "conditional, 9 steps" in result["fake"]["where"]
    other = run(Side(folder, stride=2), model=Toy(), true=true, choices=Choices(count=2, unconditional=True)).result
    assert other["fake"]["made"]["frames"] == 31 and other["fake"]["videos"] == 2 and other["fake"]["stride"] == 2


def test_what_a_model_cannot_be_asked_for(folder, true, stand_ins, tmp_path):
    with pytest.raises(ValueError, match=r"real holds videos: --fake_count.*tell a model how to make them"):
        run(Side(true, stride=1), true=true, metrics=["l1"], choices=Choices(count=5))
    with pytest.raises(ValueError, match=r"l1 measure a model's reconstructions.*fvd new videos.*two runs"):
        run(Side(folder), ["fvd", "l1"], model=Toy(), true=true)
    with pytest.raises(ValueError, match="1 generated videos cannot be measured"):
        run(Side(folder), model=Toy(), true=true, choices=Choices(count=1))
    with pytest.raises(ValueError, match=r"run is a model: give it as the generated side"):
        run(Side(folder), model=Toy(), true=folder)

    def nothing(path):
        raise FileNotFoundError(f"no model in {path}")

    with pytest.raises(FileNotFoundError, match=r"no videos at .*nowhere, and no model in .*nowhere"):
        command.run(Side(true), Side(tmp_path / "nowhere"), protocol_name="digan", settings=QUICK, load_model=nothing)


def test_reconstruction_is_measured_against_the_real_videos(folder, true):
    """A model that gives every frame back, one level too bright, has L1 = 1/255."""
    found = run(Side(folder), ["l1"], model=Toy(), true=true, used=None)
    assert found.result["metrics"]["l1"]["value"] == pytest.approx(1 / 255, rel=1e-5)
    assert found.result["metrics"]["l1"]["videos"] == 3 and found.result["fake"]["made"]["mode"] == "reconstruction"


def test_reconstruction_at_the_models_size(folder, tmp_path):
    big = np.random.default_rng(0).integers(0, 256, (3, 1, 40, 64, 3), dtype=np.uint8).repeat(5, axis=1)
    np.save(tmp_path / "big.npy", big)
    side = videos.open_videos(tmp_path / "big.npy")
    scaled, drawn = generated.reconstructions(Toy(), folder, side)
    assert scaled.sizes == drawn.sizes == ["16x16"]
    np.testing.assert_array_equal(scaled.videos[0].read([2])[0], generated.first_image(side.videos[0], SIZE))
    assert drawn.videos[1].read([0, 4]).shape == (2, SIZE, SIZE, 3)
    with pytest.raises(ValueError, match=r"identity needs real videos of the model's 16x16 px, these have 40x64"):
        run(Side(folder), ["identity"], model=Toy(), true=tmp_path / "big.npy", used=None)


def test_models_are_told_from_videos(tmp_path, folder):
    assert generated.is_model(folder)
    for path in ("training/checkpoints", "finished/animator/checkpoints", "videos/clip"):
        (tmp_path / path).mkdir(parents=True)
    assert generated.is_model(tmp_path / "training") and generated.is_model(tmp_path / "finished")
    assert not generated.is_model(tmp_path / "videos") and not generated.is_model(tmp_path / "nowhere")


def test_with_a_real_model(tmp_path, stand_ins, true):
    """Random and tiny, of stride 2: what is measured is what `generate` gives."""
    path, used = tiny_model.write(tmp_path / "tiny", stages=("motion",)), TAICHI.override(count=3)
    model = leo_jax.load(path)
    real_videos = videos.open_videos(true)
    made = generated.videos_of(model, path, real_videos, used, Choices(steps=2))
    assert isinstance(model, generated.Model) and made.lengths == [31] * 3 and made.stride == tiny_model.STRIDE
    (origin,) = (v for v in real_videos.videos if v.group == made.videos[2].group)
    expected = [*model.generate(generated.first_image(origin, SIZE), 31, 2, index=2)][::2]
    np.testing.assert_allclose(made.videos[2].read(range(0, 31, 2)), (np.stack(expected) + 1) * 127.5, atol=1e-2)
    found = command.run(
        Side(true), Side(path), protocol_name="digan-taichi", overrides=["resolution=16", "count=3"], settings=QUICK,
        load_model=leo_jax.load, choices=Choices(steps=2),
    ).result  # fmt: skip
    assert found["fake"]["stride"] == 2 and found["metrics"]["fvd"]["clips_fake"] == 3
    drawn = command.run(Side(true), Side(path), metrics=["l1"], settings=QUICK, load_model=leo_jax.load)
    assert 0 < drawn.result["metrics"]["l1"]["value"] < 1


def test_a_result_can_tell_how_each_denoiser_samples(tmp_path):
    tiny_model.write_stage(
        tmp_path / "motion", dataclasses.replace(tiny_model.networks()["motion"], eta=1.0, bound=3.0)
    )
    (tmp_path / "start").mkdir()
    before = denoisers.describe(tiny_model.networks()["start"])
    del before["eta"], before["bound"]  # as it was written before there were these
    (tmp_path / "start" / "denoiser.json").write_text(json.dumps({"start": before}))
    assert generated.sampling(tmp_path) == {"motion": {"eta": 1.0, "bound": 3.0}, "start": {"eta": 0.0, "bound": 0.0}}
