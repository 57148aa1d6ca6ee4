"""The animator against the authors' networks over the same seeded weights (tests/goldens/lia_64.npz)."""

import re

import jax
import numpy as np
import pytest

from leo_jax import convert, losses, weights
from leo_jax.models.animator import Animator
from leo_jax.models.discriminator import Discriminator
from leo_jax.models.frozen.vgg19 import VGG19
from tests.goldens import lia

ANIMATOR, DISCRIMINATOR = Animator(64), Discriminator(64)


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    """{'gen': …, 'dis': …, 'vgg': …}, through the converter and the disk."""
    out = tmp_path_factory.mktemp("lia")
    convert.lia(lia.state_dict(), out)
    return {
        "gen": weights.load_tree(out / "animator.npz"),
        "dis": weights.load_tree(out / "discriminator.npz"),
        "vgg": convert.vgg19(lia.vgg_state_dict()),
    }


def expect(name, value, tolerance):
    error = lia.relative_error(value, lia.golden()[name])
    assert error <= tolerance, f"{name}: relative error {error:.2e}, {tolerance:.0e} allowed"


def applied(method):
    return jax.jit(lambda params, *args: ANIMATOR.apply({"params": params}, *args, method=method))


def test_forward_pass(params):
    gen, encode, decode = params["gen"], applied("encode"), applied("decode")
    images = {name: encode(gen, lia.image(name)) for name in ("source", "driving", "start")}
    style, features = images["source"]
    codes = {name: applied("code_of")(gen, w) for name, (w, _) in images.items()}
    for name, code in codes.items():
        expect(f"alpha_{name}", code, 1e-5)
    expect("w_source", style, 1e-5)
    expect("directions", applied("basis")(gen), 1e-5)
    for r in (8, 16, 32, 64):
        expect(f"feat_mean_{r}", features[r].mean(axis=(1, 2)), 1e-5)
    motion = applied("motion")
    absolute = decode(gen, style + motion(gen, codes["driving"]), features)
    for r in (8, 16, 32, 64):
        expect(f"flow_raw_{r}", absolute.flow_raw[r], 1e-5)
    expect("recon", absolute.image, 1e-5)
    relative = style + motion(gen, codes["driving"] - codes["start"] + codes["source"])
    expect("recon_relative", decode(gen, relative, features).image, 1e-5)
    expect("recon_no_motion", decode(gen, style, features).image, 1e-5)


def test_discriminator(params):
    logits = jax.jit(lambda p, x: DISCRIMINATOR.apply({"params": p}, x))
    for name, images in (("real", lia.image("driving")), ("recon", lia.golden()["recon"])):
        expect(f"logits_{name}", logits(params["dis"], images)[:, None], 2e-5)


def generator_loss(gen, dis, vgg, source, driving):
    fake = ANIMATOR.apply({"params": gen}, source, driving).image
    parts = {
        "loss_vgg": losses.perceptual(lambda x: VGG19().apply({"params": vgg}, x), fake, driving),
        "loss_l1": losses.l1(fake, driving),
        "loss_gan_g": losses.adversarial_generator(DISCRIMINATOR.apply({"params": dis}, fake)),
    }
    return sum(parts.values()), (parts, fake)


def discriminator_loss(dis, real, fake):
    logits = lambda x: DISCRIMINATOR.apply({"params": dis}, x)
    return losses.adversarial_discriminator(logits(real), logits(fake))


@pytest.fixture(scope="module")
def gradients(params):
    source, driving = lia.image("source"), lia.image("driving")
    g_grad = jax.jit(jax.grad(generator_loss, has_aux=True))
    gen, (parts, fake) = g_grad(params["gen"], params["dis"], params["vgg"], source, driving)
    loss_d, dis = jax.jit(jax.value_and_grad(discriminator_loss))(params["dis"], driving, fake)
    return {"gen": gen, "dis": dis, "losses": {**parts, "loss_gan_d": loss_d}}


def test_losses(gradients):
    for name, value in gradients["losses"].items():
        expect(name, value, 1e-5)


def as_released(tree, network):
    """Golden name → leaf: the converter's rules, applied to the names alone."""
    from leo_jax.convert.lia import animator_rules, discriminator_rules
    from leo_jax.convert.rules import rename

    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    leaves = {"/".join(k.key for k in path): np.asarray(leaf) for path, leaf in flat}
    rules = {"gen": animator_rules, "dis": discriminator_rules}[network](64)
    state = lia.state_dict()[network]
    _, dropped = rename(state, rules, tree, what="golden")
    found = {}
    for name in state:
        rule, match = next((r, m) for r in rules if (m := re.fullmatch(r.pattern, name)))
        place = rule.place(match)
        found[f"{network}.{name}"] = np.zeros(1) if place is None else leaves[place]
    assert len(dropped) == sum(not np.any(v) and v.shape == (1,) for v in found.values())
    return found


@pytest.mark.parametrize("network", ["gen", "dis"])
def test_gradient_norms(gradients, network):
    golden = {k: v for k, v in lia.golden().items() if k.startswith(f"gradnorm/{network}.")}
    norms = {f"gradnorm/{k}": np.linalg.norm(v) for k, v in as_released(gradients[network], network).items()}
    for name, value in golden.items():
        assert np.isclose(norms[name], value, rtol=1e-3, atol=1e-9), f"{name}: {norms[name]:.6g}, golden {value:.6g}"


def test_one_adam_step(params, gradients):
    from leo_jax.training.animator import optimiser

    updated = {}
    for network, ratio in (("gen", 4 / 5), ("dis", 16 / 17)):
        tx = optimiser(0.002, ratio)
        updates, _ = jax.jit(lambda g, p, tx=tx: tx.update(g, tx.init(p)))(gradients[network], params[network])
        updated[network] = jax.tree.map(lambda p, u: np.asarray(p) + np.asarray(u), params[network], updates)
        deltas = as_released(jax.tree.map(np.subtract, updated[network], params[network]), network)
        for name in (k for k in lia.golden() if k.startswith(f"delta/{network}.")):
            value, golden = np.mean(np.abs(deltas[name.removeprefix("delta/")])), lia.golden()[name]
            assert np.isclose(value, golden, rtol=1e-4, atol=1e-9), f"{name}: {value:.6g}, golden {golden:.6g}"
    fake = applied("__call__")(updated["gen"], lia.image("source"), lia.image("driving")).image
    expect("recon_after_one_step", fake, 2e-3)
