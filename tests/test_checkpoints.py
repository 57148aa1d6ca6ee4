"""Checkpoints keep the right steps, give back the same bits, and say what does not fit."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from leo_jax.checkpoints import CheckpointError, Checkpoints


class State(NamedTuple):
    params: dict
    optimiser: optax.OptState


def make_state(width=3, value=1.0):
    params = {"a": jnp.full((2, width), value), "b": {"c": jnp.full((width,), value, jnp.bfloat16)}}
    return State(params, optax.adam(0.1).init(params))


@pytest.fixture
def folder(tmp_path):
    with Checkpoints(tmp_path / "run") as checkpoints:
        for step in (10, 20, 30):
            checkpoints.save(step, make_state(value=step / 3), {"input": {"index": step}})
    return tmp_path / "run"


def test_gives_back_what_was_saved(folder):
    with Checkpoints(folder, read_only=True) as checkpoints:
        restored = checkpoints.restore(jax.eval_shape(make_state))
        older = checkpoints.restore(jax.eval_shape(make_state), step=20)
    assert isinstance(restored.state, State)
    jax.tree.map(np.testing.assert_array_equal, restored.state, make_state(value=30 / 3))
    assert (restored.position, restored.step) == ({"input": {"index": 30}}, 30)
    jax.tree.map(np.testing.assert_array_equal, older.state, make_state(value=20 / 3))


def test_saved_arrays_do_not_follow_donation(tmp_path):
    bump = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = jnp.zeros((512, 512))
    with Checkpoints(tmp_path, keep_last=10) as checkpoints:
        for step in range(1, 6):
            x = bump(x)
            checkpoints.save(step, {"x": x}, {})  # written in the background while the next step reuses its memory
        for step in range(1, 6):
            saved = checkpoints.restore({"x": jax.ShapeDtypeStruct(x.shape, x.dtype)}, step).state["x"]
            assert np.all(np.asarray(saved) == step), f"checkpoint {step} holds a later step's numbers"


def test_keeps_last_and_best(tmp_path):
    scores = {1: 3.0, 2: 1.0, 3: 2.0, 4: float("nan"), 5: 5.0}
    with Checkpoints(tmp_path, keep_last=2, best_metric="l1") as checkpoints:
        for step, score in scores.items():
            checkpoints.save(step, make_state(), {}, {"l1": score, "other": 0.0})
        checkpoints.save(6, make_state(), {})  # not measured, as on SIGTERM
        checkpoints.wait()
        assert (checkpoints.steps(), checkpoints.best(), checkpoints.latest()) == ([2, 5, 6], 2, 6)


def test_best_may_be_the_largest(tmp_path):
    with Checkpoints(tmp_path, keep_last=1, best_metric="psnr", best_mode="max") as checkpoints:
        for step, score in enumerate([1.0, 4.0, 2.0]):
            checkpoints.save(step, make_state(), {}, {"psnr": score})
        checkpoints.wait()
        assert (checkpoints.steps(), checkpoints.best()) == ([1, 2], 1)


def test_no_best_without_measurement(tmp_path):
    with Checkpoints(tmp_path, best_metric="l1") as checkpoints:
        checkpoints.save(1, make_state(), {})
        assert checkpoints.best() is None


def test_another_model_is_refused_by_name(folder):
    with Checkpoints(folder, read_only=True) as checkpoints:
        with pytest.raises(ValueError, match=r"params/a: float32\[2, 3\] there, float32\[2, 4\] here"):
            checkpoints.restore(jax.eval_shape(lambda: make_state(width=4)))
        with pytest.raises(ValueError, match="optimiser/0/count: only there"):
            checkpoints.restore({"params": jax.eval_shape(make_state).params})


def test_part_of_a_state(folder):
    with Checkpoints(folder, read_only=True) as checkpoints:
        part = checkpoints.restore_part({"params": jax.eval_shape(make_state).params})
        np.testing.assert_array_equal(part["params"]["a"], np.full((2, 3), 10, np.float32))
        assert set(part) == {"params"}
        with pytest.raises(ValueError, match="params/z: not there"):
            checkpoints.restore_part({"params": {"z": jax.ShapeDtypeStruct((1,), jnp.float32)}})


def test_a_damaged_checkpoint_is_named_with_the_one_before(folder):
    """Each file in turn is emptied, as a power cut may leave it; it is either not needed or named, never taken for another."""
    abstract = jax.eval_shape(make_state)
    refused = []
    for path in sorted(path for path in (folder / "30").rglob("*") if path.is_file()):
        content = path.read_bytes()
        path.write_bytes(b"")
        with Checkpoints(folder, read_only=True) as checkpoints:
            try:
                restored = checkpoints.restore(abstract)
                jax.tree.map(np.testing.assert_array_equal, restored.state, make_state(value=30 / 3))
                assert restored.position == {"input": {"index": 30}}, path
            except CheckpointError as error:
                assert f"{folder}/30 cannot be read" in str(error) and "goes on from 20" in str(error), error
                refused.append(path.relative_to(folder / "30").parts[0])
        path.write_bytes(content)
    assert {"state", "data"} <= set(refused), refused


def test_missing_checkpoints_are_named(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        Checkpoints(tmp_path / "nowhere", read_only=True)
    with Checkpoints(tmp_path / "empty") as checkpoints:
        assert checkpoints.latest() is None
        with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
            checkpoints.restore({})
    with Checkpoints(folder, read_only=True) as checkpoints:
        with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 7, only of \[20, 30\]"):
            checkpoints.restore({}, step=7)


def test_reading_leaves_the_folder_alone(folder):
    (folder / "40.orbax-checkpoint-tmp").mkdir()
    before = sorted(p.name for p in folder.iterdir())
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert checkpoints.latest() == 30
    assert sorted(p.name for p in folder.iterdir()) == before


@pytest.mark.parametrize("options", [{"keep_last": 0}, {"best_mode": "least"}])
def test_bad_options_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Checkpoints(tmp_path, **options)
