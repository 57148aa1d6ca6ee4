"""The real stages, tiny, from a given animator to samples: each leaves what the next one and `leo_jax.load` read."""

import itertools
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import leo_jax
from leo_jax import experiment, weights
from leo_jax.checkpoints import Checkpoints
from leo_jax.data import manifest
from leo_jax.data.codes import Window
from leo_jax.data.source import open_split
from leo_jax.data.writing import write_dataset
from leo_jax.denoisers import inputs_of
from leo_jax.experiment import ConfigError, denoisers
from leo_jax.models.animator import Animator
from leo_jax.training.logging import read_rows
from tests.data import samples
from tests.experiment.tiny import NETWORKS, load, tiny

ALL = ("animator", "codes", *NETWORKS, "sample")


def random_tree(shapes, scale=0.3):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: (rng.normal(size=x.shape) * scale).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder as `leo convert lia` leaves it: an animator of 8 px that nobody trained."""
    folder = tmp_path_factory.mktemp("given")
    sizes = {"size": 8, "width": 1 / 64, "code_dim": 4}
    image = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
    params = random_tree(weights.shapes_of(Animator(**sizes), image, image), 1.0)
    weights.save_model(folder, {"animator": sizes}, {"animator": params})
    return folder


def config_of(tmp_path, given, stages=ALL):
    config = tiny(tmp_path, stages)
    config.animator_from = str(given)
    for name in NETWORKS:  # what costs compilation, once or twice of each kind
        config[name].heldout *= name == "motion"
        config[name].picture_every *= name in ("motion", "first_frame")
    config.sample.update({"num": 1, "frames": 8, "long_frames": 12, "steps": 2})
    return config


def link_stages(workdir, other):
    """A run's folder that has the animator and the codes of another one."""
    other.mkdir()
    for name in ("animator", "codes"):
        (other / name).symlink_to(workdir / name)


@pytest.fixture(scope="module")
def finished(given, tmp_path_factory):
    """(data's folder, workdir) of a run of all stages."""
    tmp_path = tmp_path_factory.mktemp("finished")
    folders = experiment.run(config_of(tmp_path, given), tmp_path / "run")
    assert list(folders) == list(ALL)
    return tmp_path, tmp_path / "run"


def test_codes_are_of_the_longer_puppets(finished):
    data, workdir = finished
    assert not (data / "data").exists(), "the animator's videos are drawn though it is not trained"
    made = manifest.load(workdir / "codes")
    assert {name: (split.records, split.frames) for name, split in made.splits.items()} == {
        "train": (5, 45),
        "test": (2, 18),
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_is_described_with_its_statistics(finished, given, name):
    data, workdir = finished
    described = weights.load_description(workdir / name)
    assert leo_jax.denoisers.from_description(described[name]) == denoisers.denoiser_of(config_of(data, given), name)
    assert (described["stride"], described["trained_steps"]) == (1, 4) and described["fps"] > 0
    found = weights.load_tree(workdir / name / "statistics.npz")
    jax.tree.map(np.testing.assert_array_equal, found, weights.load_tree(workdir / "codes" / "statistics.npz"))
    begun = json.loads((workdir / name / "denoiser.json").read_text())
    assert begun == {key: value for key, value in described.items() if key not in ("format", "trained_steps")}
    denoiser = leo_jax.denoisers.from_description(begun[name])
    shapes = weights.shapes_of(denoiser.module, *inputs_of(denoiser))
    params = weights.load_tree(workdir / name / f"{name}.npz")
    weights.check_tree(params, shapes, what=name)
    with Checkpoints(workdir / name / "checkpoints", read_only=True) as checkpoints:
        ema = checkpoints.restore_part({"ema": shapes})["ema"]
    jax.tree.map(np.testing.assert_array_equal, params, ema)


def test_what_is_measured_and_drawn(finished):
    _, workdir = finished
    for name in NETWORKS:
        rows = read_rows(workdir / name / "metrics.jsonl")
        assert [row["step"] for row in rows if "loss" in row] == [2, 4]
        assert ("heldout/loss" in rows[-1]) == (name == "motion"), "the last row is the last measurement"
        assert (workdir / name / "pictures" / "00000004.png").exists() == (name in ("motion", "first_frame"))
    assert Image.open(workdir / "motion" / "pictures" / "00000004.png").size[1] > 3 * 100, "three examples, with strips"


def test_samples_of_every_mode(finished):
    _, workdir = finished
    names = {path.name for path in (workdir / "sample").iterdir()}
    assert {f"{mode}-0.mp4" for mode in ("conditional", "unconditional", "long", "transition")} < names
    assert "samples.png" in names


def test_a_second_run_does_nothing(finished, given, capsys):
    data, workdir = finished
    times = lambda: {path: path.stat().st_mtime_ns for path in workdir.glob("*/**/*") if path.is_file()}
    before = times()
    experiment.run(config_of(data, given), workdir)
    assert capsys.readouterr().out.count("finished before") == len(ALL)
    assert times() == before
    assert (workdir / "report.html").exists()


def test_a_longer_run_goes_on_exactly(finished, given, tmp_path):
    data, workdir = finished
    link_stages(workdir, tmp_path / "run")
    config = config_of(data, given, ("start",))
    config.start.steps = 2
    experiment.run(config, tmp_path / "run")
    config.start.steps = 4
    experiment.run(config, tmp_path / "run")
    once, twice = (weights.load_tree(folder / "start" / "start.npz") for folder in (workdir, tmp_path / "run"))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, "2 + 2 steps are not 4"), once, twice)


def test_a_network_begins_with_the_given_one(finished, given, tmp_path):
    data, workdir = finished
    link_stages(workdir, tmp_path / "run")
    config = config_of(data, given, ("start",))
    config.seed = 5  # other random parameters, were they not given
    config.start.update({"start_from": str(workdir), "learning_rate": 0.0, "steps": 1})
    experiment.run(config, tmp_path / "run")
    there, here = (weights.load_tree(folder / "start" / "start.npz") for folder in (workdir, tmp_path / "run"))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, err_msg="a step of rate 0 moved the given network")
    jax.tree.map(close, there, here)  # the running mean rounds
    config.start.start_from = ""
    with pytest.raises(ConfigError, match="the model of start_from: one there, none here"):
        experiment.run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("width", 16, "another network: width 8 there, 16 here"),
        ("prediction", "noise", "another network: prediction 'velocity' there, 'noise' here"),
        ("num_heads", 1, "another network: num_heads 2 there, 1 here"),  # shapes do not show it
        ("length", 6, "another network: length 8 there, 6 here"),
        ("start_from", "puppet", "no model in puppet.*puppets"),
    ],
)
def test_a_network_to_begin_with_has_to_fit(finished, given, tmp_path, field, value, message):
    data, workdir = finished
    config = config_of(data, given, ("motion",))
    config.motion.update({"start_from": str(workdir), field: value})
    with pytest.raises(ConfigError, match=rf"(?s)motion.start_from = .*{message}"):
        experiment.run(config, tmp_path / "run")


def test_the_given_animator_is_copied_and_kept_track_of(finished, given, tmp_path):
    data, workdir = finished
    assert (workdir / "animator" / "animator.npz").read_bytes() == (given / "animator.npz").read_bytes()
    other = tmp_path / "other"
    params = weights.load_tree(given / "animator.npz")
    params["directions"] = params["directions"] + 1
    weights.save_model(other, {"animator": weights.load_description(given)["animator"]}, {"animator": params})
    with pytest.raises(ConfigError, match=r"the model of animator_from: another one there"):
        experiment.run(config_of(data, other), workdir)


@pytest.mark.parametrize(
    ("field", "value", "message"), [("size", 16, "size 8.*model.size = 16"), ("code_dim", 6, "code_dim 4")]
)
def test_an_animator_of_other_sizes_is_refused(given, tmp_path, field, value, message):
    config = config_of(tmp_path, given)
    config.model[field] = value
    with pytest.raises(ConfigError, match=message + rf".*--config.model.{field}="):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_animator_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"animator_from = '.*nowhere'"):
        experiment.run(config_of(tmp_path, tmp_path / "nowhere"), tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("motion", "width", 10, r"config.motion describes .* 10 channels cannot be split into 4 groups"),
        ("motion", "length", 1, r"motion.length = 1: at least 2"),
        ("transition", "length", 7, r"config.transition .*multiples of 2"),
        ("sample", "steps", 1001, "sample.steps = 1001: 1 to 1000"),
        ("start", "falloff", -1, "start.falloff = -1"),
        ("start", "eta", 2.0, "start.eta = 2.0"),
        ("start", "bound", -1.0, "start.bound = -1.0"),
        ("start", "prediction", "x0", "start.prediction = 'x0'"),
        ("start", "schedule", "square", r"start.schedule = 'square'.*cosine"),
        ("first_frame", "multipliers", (), r"model.size = 8.*--config.first_frame.multipliers="),
        ("first_frame", "batch_size", 0, r"first_frame.batch_size = 0 does not divide"),
        ("motion", "dtype", "float16", r"motion.dtype = 'float16'"),
        ("sample", "frames", 0, r"sample.frames = 0"),
        ("codes", "batch_size", 0, r"codes.batch_size = 0"),
        ("evaluate", "protocol", "fvd", r"config.evaluate: no protocol 'fvd'"),
        ("evaluate", "override", ("size=8",), r"config.evaluate: .*no field \['size'\]"),
        ("evaluate", "metrics", ("acd",), r"config.evaluate: acd needs weights"),
    ],
)
def test_impossible_values_are_named(given, tmp_path, name, field, value, message):
    config = config_of(tmp_path, given, (*ALL, "evaluate"))
    config.transition.multipliers = (1, 1)
    config[name][field] = value
    with pytest.raises(ConfigError, match=message):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists() and not (tmp_path / "data").exists()


def test_windows_longer_than_the_videos_are_an_error_at_once(given, tmp_path):
    config = config_of(tmp_path, given)
    config.motion.length, config.data.stride = 6, 2
    with pytest.raises(
        ConfigError, match=r"motion.length = 6 at data.stride = 2 spans 11 frames, the longest video has 9"
    ):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "data").exists()


def prepared(tmp_path, chunk):
    """A data set of one clip of 9 frames, as if cut at `chunk`."""
    count = -(-9 // chunk)
    bounds = [9 * i // count for i in range(count + 1)]

    def pieces(i):
        return [samples.record(i, frames=b - a) for a, b in itertools.pairwise(bounds)]

    options = {"chunk": chunk}
    write_dataset(tmp_path, "clips", "train", [0], pieces, options=options, progress=False)
    config = load("clips")
    config.data.dir = str(tmp_path)
    return config


@pytest.mark.parametrize(
    ("chunk", "length", "refused"), [(1024, 10, True), (1024, 9, False), (8, 9, False), (4, 9, False)]
)
def test_clips_that_were_cut_are_not_taken_for_short_ones(tmp_path, chunk, length, refused):
    config = prepared(tmp_path, chunk)
    config.motion.length = length
    if refused:
        with pytest.raises(ConfigError, match="the longest video has 9"):
            denoisers.check_span(config, "motion")
    else:
        denoisers.check_span(config, "motion")


def test_videos_that_are_too_short_are_counted(finished):
    _, workdir = finished

    class Mixed(Window):
        kept = np.array([1, 4])

    source = open_split(workdir / "codes", "train")
    assert (
        denoisers.told_dropped(Mixed(source, 8, 4))
        == "3 of 5 training videos have fewer than 8 frames and are left out"
    )


def test_samples_are_made_anew_for_another_way_of_sampling(finished, given, tmp_path):
    data, workdir = finished
    shutil.copytree(workdir, tmp_path / "run")
    config = config_of(data, given, ("motion", "sample"))
    config.motion.eta = 0.5
    before = {name: (tmp_path / "run" / name).read_bytes() for name in ("motion/motion.npz", "sample/long-0.codes.npz")}
    experiment.run(config, tmp_path / "run", accept_changes=True)
    after = {name: (tmp_path / "run" / name).read_bytes() for name in before}
    assert [after[name] == before[name] for name in before] == [True, False]
    assert leo_jax.load(tmp_path / "run").sampler.stages["motion"].denoiser.eta == 0.5


def test_fewer_steps_than_a_training_under_way_has_are_refused(finished, given, tmp_path):
    data, workdir = finished
    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "run" / "start" / "done.json").unlink()
    config = config_of(data, given, ("start",))
    config.start.steps = 3
    with pytest.raises(ConfigError, match=r"3 steps are asked for, .* has 4 already"):
        experiment.run(config, tmp_path / "run")


def test_attention_that_no_level_has_is_refused():
    config = load("clips")
    config.model.size = 256
    denoisers.denoiser_of(config, "first_frame")
    config.first_frame.multipliers = (1, 2, 2)
    with pytest.raises(
        ConfigError, match=r"at \(16, 8\) px, and first_frame.multipliers = \(1, 2, 2\) of 256 px end at 64"
    ):
        denoisers.denoiser_of(config, "first_frame")
    config.first_frame.attention = (4,)
    assert denoisers.denoiser_of(config, "first_frame").module.attention == (4,)


@pytest.mark.slow
def test_the_videos_of_a_run_are_evaluated(finished, given, tmp_path):
    _, workdir = finished
    shutil.copytree(workdir, tmp_path / "run")
    config = config_of(tmp_path, given, ("evaluate",))
    config.data.dir = str(tmp_path / "videos")
    config.code_puppets.update({"num_train": 3, "frames": 16})  # the protocol's clips have 16
    config.evaluate.update({"count": 2, "steps": 2, "override": ("resolution=16",)})  # videos have 16 px, the model 8
    with pytest.raises(ConfigError, match="the videos that codes are made of: another one there"):
        experiment.run(config, tmp_path / "run")
    experiment.run(config, tmp_path / "run", accept_changes=True)
    result = json.loads((tmp_path / "run" / "evaluate" / "evaluation.json").read_text())
    assert np.isfinite(result["metrics"]["fvd"]["value"]) and result["fake"]["videos"] == 2
