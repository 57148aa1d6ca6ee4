"""From a config to a run: the only reader of ConfigDict. Everything below takes plain named arguments.

`run(config, workdir)` goes through `config.stages`; each has its folder in the workdir, with the config that made it.
"""

from leo_jax.experiment.settings import ConfigError
from leo_jax.experiment.stages import run

__all__ = ["ConfigError", "run"]
