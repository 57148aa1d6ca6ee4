"""Stage 'codes' from a config: E over all videos."""

import contextlib
import json
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from leo_jax import api, files, peers, weights
from leo_jax.data.manifest import FILE as MANIFEST
from leo_jax.denoisers import Statistics
from leo_jax.experiment.marks import Stage, result_of
from leo_jax.experiment.settings import ConfigError, alone, check_data, code_data, say, speaks, together
from leo_jax.training import codes
from leo_jax.training.state import make_mesh


class Summary(NamedTuple):
    """What the stage found: statistics of the training codes, and the videos' mean frame rate."""

    statistics: Statistics
    fps: float


def summary(workdir: pathlib.Path) -> Summary:
    """Reads what the finished stage in `workdir` wrote."""
    folder = workdir / "codes"
    arrays = {name: jnp.asarray(value) for name, value in weights.load_tree(folder / codes.STATISTICS).items()}
    return Summary(Statistics(**arrays), json.loads((folder / codes.SUMMARY).read_text())["fps"])


def check(config: ConfigDict) -> None:
    """Raises ConfigError for what can be seen to be wrong before the animator is trained."""
    check_data(config)
    if config.codes.batch_size < 1:
        raise ConfigError(f"codes.batch_size = {config.codes.batch_size}: frames a device takes at a time, at least 1")


def run(config: ConfigDict, folder: pathlib.Path, mesh: Mesh) -> None:
    """Writes the codes of all frames of all splits, and the statistics of the training split."""
    model = api.load(folder.parent / "animator")
    data, options = (
        code_data(config),
        codes.options(files.sha256(folder.parent / "animator" / "animator.npz"), model.size),
    )
    if speaks():
        codes.begin(data, folder)
    together("codes begin")
    renderer, local = model.renderer, make_mesh(jax.local_devices())
    encoder = codes.Encoder(renderer.animator, renderer.params, local, per_device=config.codes.batch_size)
    place = {"process_index": jax.process_index(), "process_count": jax.process_count(), "progress": speaks()}
    with contextlib.suppress(peers.Interrupted):
        codes.write(encoder, data, folder, options, **place, check=peers.check)
    together("codes written")

    def work() -> None:
        made = codes.finish(data, folder, options)
        counts = [f"{split.frames} codes of {split.records} videos in {name}" for name, split in made.splits.items()]
        say(f"codes: {', '.join(counts)}")

    alone(work)
    together("codes finished")


def stage(config: ConfigDict) -> Stage:
    """The codes: cheap beside the networks, so they are made anew when something changes."""
    needs = ("code_data", "animator")
    return Stage(("model.size",), needs, check, run, result_of(MANIFEST, last=codes.SUMMARY), trained=False)
