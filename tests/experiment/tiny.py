"""The puppets' config at the smallest sizes that still have every part."""

import importlib
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[2]
NETWORKS = ("motion", "start", "transition", "first_frame")


def load(name, *variant):
    """A config of the repository."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(f"configs.{name}").get_config(*variant)


def tiny(tmp_path, stages=("animator",), **animator):
    """Puppets of 16 px, an animator of 8 px, denoisers of one level; the animator's section is updated by `animator`."""
    config = load("puppets")
    config.stages = stages
    config.model.update({"size": 8, "width": 1 / 64, "code_dim": 4})
    config.data.update({"dir": str(tmp_path / "data"), "batch_size": 8})
    config.puppets.update({"num_train": 6, "num_test": 3, "frames": 4, "size": 16})
    config.code_puppets.update({"num_train": 5, "num_test": 2, "frames": 9, "size": 16})
    config.animator.update(
        {"steps": 6, "falloff": 0, "log_every": 2, "picture_every": 3, "checkpoint_every": 3, "heldout_pairs": 3}
    )
    config.animator.update({"adversarial_weight": 1.0, **animator})
    config.codes.batch_size = 4
    for name in NETWORKS:
        section = config[name]
        section.update(
            {"steps": 4, "falloff": 0, "batch_size": 4, "log_every": 2, "picture_every": 4, "checkpoint_every": 2}
        )
        section.heldout = 4
        if name == "start":
            section.update({"width": 16, "num_blocks": 1, "time_width": 8})
        else:
            section.update({"width": 8, "multipliers": (1,), "attention": (8,), "num_blocks": 1, "groups": 4})
    config.motion.length, config.transition.length = 8, 6
    return config
