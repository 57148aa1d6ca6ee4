"""Running a network on its parameters."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn


def apply(module: nn.Module, params: Mapping[str, Any], *inputs: Any, **how: Any) -> Any:
    """What `module` makes of `inputs` with `params`, its only collection of variables; `how` as in `nn.Module.apply`."""
    return module.apply({"params": params}, *inputs, **how)
