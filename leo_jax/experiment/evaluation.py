"""Stage 'evaluate' from a config: the generated videos' distance from the real ones, under a named protocol."""

import pathlib

from jax.sharding import Mesh
from ml_collections import ConfigDict

from leo_jax import api, report
from leo_jax.experiment.marks import Stage, result_of
from leo_jax.experiment.settings import ConfigError, alone, check_data, check_steps, code_data, say
from leo_jax.metrics import command
from leo_jax.metrics.evaluate import NEEDS, Settings
from leo_jax.metrics.generated import Choices
from leo_jax.metrics.protocols import protocol
from leo_jax.run_report import EVALUATION

WEIGHTS = ("i3d", "face", "reid")  # files of networks that metrics need


def check(config: ConfigDict) -> None:
    """Raises ConfigError for an unknown protocol, override or metric, and for weights that are not there."""
    check_data(config)
    section = config.evaluate
    try:
        used = protocol(section.protocol, **command.parse_overrides(section.override))
        metrics = command.resolve(section.metrics or used.metrics, _weight_files(config))
        for name in sorted({NEEDS[metric] for metric in metrics if metric in NEEDS}):
            command.load_weights(name, _weight_files(config).get(name))
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"config.evaluate: {error}") from error
    check_steps("evaluate.steps", section.steps)
    if section.count < 0:
        raise ConfigError(f"evaluate.count = {section.count}: at least 0 (as the protocol says)")


def run(config: ConfigDict, folder: pathlib.Path, mesh: Mesh) -> None:
    """Makes the videos and measures them: JSON, a table and a page. One process does it."""

    def work() -> None:
        section = config.evaluate
        evaluation = command.run(
            command.Side(code_data(config), split=section.split),
            command.Side(folder.parent),
            protocol_name=section.protocol,
            overrides=tuple(section.override),
            metrics=tuple(section.metrics),
            weight_files=_weight_files(config),
            settings=Settings(seed=config.seed, cache=folder / "cache"),
            load_model=api.load,
            choices=Choices(section.count or None, section.steps, section.unconditional),
        )
        paths = report.write(evaluation, folder / EVALUATION)
        say(f"evaluate: {', '.join(map(str, paths))}")

    alone(work)


def stage(config: ConfigDict) -> Stage:
    """The evaluation: made anew when something changes."""
    return Stage(
        ("seed", "evaluate"),
        ("code_data", "animator", "motion"),
        check,
        run,
        result_of(EVALUATION, last=EVALUATION),
        trained=False,
        uses=("start", "first_frame"),
    )


def _weight_files(config: ConfigDict) -> dict[str, str | None]:
    return {name: config.evaluate[name] or None for name in WEIGHTS}
