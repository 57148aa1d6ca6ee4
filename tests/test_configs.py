"""Configs state the paper's values, and their differences from it and from each other."""

import importlib

import jax
import pytest

from leo_jax import weights
from leo_jax.denoisers import inputs_of
from leo_jax.experiment import denoisers
from leo_jax.metrics import paper
from leo_jax.metrics.command import parse_overrides
from leo_jax.metrics.protocols import protocol
from tests.experiment.tiny import NETWORKS, ROOT, load

NAMES = sorted(p.stem for p in (ROOT / "configs").glob("*.py"))
VARIANTS = [(name,) for name in NAMES] + [("puppets", "full"), ("taichi", "128")]


@pytest.mark.parametrize("variant", VARIANTS, ids=":".join)
def test_configs_fill_what_common_declares(variant):
    config, common = load(*variant).to_dict(), load("common").to_dict()
    for section in ("puppets", "code_puppets"):
        assert (config.pop(section, None) is not None) == (variant[0] == "puppets")
    assert {k: set(v) if isinstance(v, dict) else None for k, v in config.items()} == {
        k: set(v) if isinstance(v, dict) else None for k, v in common.items()
    }, "a config adds or drops a field: declare it in common.py, with its constraint"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("common", "puppets", "clips")])
def test_faithful_configs_have_the_papers_training(name):
    config = load(name)
    assert (config.model.width, config.model.code_dim, config.data.batch_size) == (1.0, 20, 64)
    animator = config.animator
    assert (animator.steps, animator.generator_lr, animator.discriminator_lr) == (800_000, 0.002, 0.002)
    assert (animator.perceptual, animator.perceptual_weight, animator.l1_weight) == ("vgg19", 10, 1)
    assert (animator.adversarial_weight, animator.ema_decay, animator.beta1, animator.beta2) == (1, 0, 0, 0.99)
    trained = {name: (config[name].batch_size, config[name].steps) for name in NETWORKS}
    assert trained == {
        "motion": (128, 300_000),
        "start": (1024, 100_000),
        "transition": (128, 200_000),
        "first_frame": (128, 500_000),
    }
    for network in NETWORKS:
        section = config[network]
        assert (section.learning_rate, section.ema_decay, section.schedule) == (1e-4, 0.9999, "linear")
    for network, length in (("motion", 64), ("transition", 32)):
        section = config[network]
        assert (section.length, section.width, section.multipliers, section.attention) == (
            length,
            128,
            (1, 2, 3, 4),
            (4, 8),
        )


def test_the_faithful_motion_network_is_the_papers():
    parameters = jax.tree.leaves(weights.shapes_of(*network_of("taichi", "motion")))
    assert sum(leaf.size for leaf in parameters) == 44_356_756


@pytest.mark.parametrize(("size", "levels", "attends"), [(64, 4, (4, 8)), (128, 5, (8, 16)), (256, 6, (16, 32))])
def test_first_frames_attend_at_16_and_8_px(size, levels, attends):
    config = load("common")
    config.model.size = size
    unet = denoisers.denoiser_of(config, "first_frame").module
    assert (len(unet.multipliers), unet.attention) == (levels, attends)
    assert size // 2 ** (levels - 1) == 8, "the lowest level is not at 8 px"


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (("faceforensics",), "styleganv-16f"),
        (("taichi",), "digan-taichi+resolution=256"),
        (("taichi", "128"), "digan-taichi"),
    ],
    ids=str,
)
def test_the_stage_evaluate_measures_as_the_papers_tables(variant, name):
    section = load(*variant).evaluate
    assert protocol(section.protocol, **parse_overrides(section.override)).name == name
    assert name in {row.protocol for row in paper.ROWS if row.dataset.startswith(variant[0])}


@pytest.mark.parametrize("variant", VARIANTS, ids=":".join)
def test_protocols_of_configs_exist(variant):
    section = load(*variant).evaluate
    protocol(section.protocol, **parse_overrides(section.override))


def network_of(config, name):
    denoiser = denoisers.denoiser_of(load(config), name)
    return denoiser.module, *inputs_of(denoiser)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "common"])
def test_docstrings_say_what_a_person_asks(name):
    text = importlib.import_module(f"configs.{name}").__doc__
    assert all(f"\n{word}" in text for word in ("Paper:", "Command:", "Cost:", "Expected"))


def test_unknown_variants_are_refused():
    with pytest.raises(ValueError, match=r"64.*256"):
        load("taichi", "64")
    with pytest.raises(ValueError, match="'quick' or 'full'"):
        load("puppets", "large")
