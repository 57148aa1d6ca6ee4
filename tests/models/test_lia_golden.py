"""The animator against the authors' networks over the same seeded weights (tests/goldens/lia_64.npz)."""

import functools
import re

import jax
import numpy as np
import optax
import pytest

from leo_jax import convert, weights
from leo_jax.models.animator import Animator
from leo_jax.models.discriminator import Discriminator
from leo_jax.training import animator as adversarial
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


@functools.cache  # a program is compiled once for all tests
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


@pytest.fixture(scope="module")
def trained(params):
    """(parameters, Adam's first moments, metrics) after one step of the package's own training on the golden pair."""
    given = {"animator": params["gen"], "discriminator": params["dis"]}
    task = adversarial.make_task(ANIMATOR, DISCRIMINATOR, adversarial.Settings(), vgg19=params["vgg"], given=given)
    # Adam begins with zeros.
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), jax.eval_shape(task.init, jax.random.key(0)))
    state = {name: {**network, **task.given[name]} for name, network in state.items()}
    batch = {name: lia.image(name) for name in ("source", "driving")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adversarial, "to_float", lambda images: images)  # the golden images are no bytes
        new, metrics = jax.jit(task.step)(state, task.frozen, batch, jax.random.key(0))
    of = {"gen": new["generator"], "dis": new["discriminator"]}
    updated = {name: network["params"] for name, network in of.items()}
    moments = {name: optax.tree_utils.tree_get(network["optimiser"], "mu") for name, network in of.items()}
    return updated, moments, metrics


def test_losses(trained):
    _, _, metrics = trained
    names = {"perceptual": "loss_vgg", "l1": "loss_l1", "adversarial": "loss_gan_g", "discriminator": "loss_gan_d"}
    for name, golden in names.items():
        expect(golden, metrics[name], 1e-5)
    total = sum(lia.golden()[name] for name in ("loss_vgg", "loss_l1", "loss_gan_g"))
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)


def as_released(tree, network):
    """Golden name → leaf: the converter's rules, applied to the names alone."""
    from leo_jax.convert.lia import animator_rules, discriminator_rules
    from leo_jax.convert.rules import rename

    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    leaves = {"/".join(k.key for k in path): np.asarray(leaf) for path, leaf in flat}
    rules = {"gen": animator_rules, "dis": discriminator_rules}[network](64)
    zero = np.zeros((), np.float32)
    state = {
        name.removeprefix(f"{network}."): np.broadcast_to(zero, shape) for name, shape in lia.keys(network).items()
    }
    _, dropped = rename(state, rules, tree, what="golden")
    found = {}
    for name in state:
        rule, match = next((r, m) for r in rules if (m := re.fullmatch(r.pattern, name)))
        place = rule.place(match)
        found[f"{network}.{name}"] = np.zeros(1) if place is None else leaves[place]
    assert len(dropped) == sum(not np.any(v) and v.shape == (1,) for v in found.values())
    return found


@pytest.mark.parametrize("network", ["gen", "dis"])
def test_gradient_norms(trained, network):
    """With beta1 = 0, as the original has it, Adam's first moment is the gradient itself."""
    _, moments, _ = trained
    golden = {k: v for k, v in lia.golden().items() if k.startswith(f"gradnorm/{network}.")}
    norms = {f"gradnorm/{k}": np.linalg.norm(v) for k, v in as_released(moments[network], network).items()}
    for name, value in golden.items():
        assert np.isclose(norms[name], value, rtol=1e-3, atol=1e-9), f"{name}: {norms[name]:.6g}, golden {value:.6g}"


def test_one_step(params, trained):
    """What a first step of the faithful training changes, and what the animator then draws."""
    updated, _, _ = trained
    for network in ("gen", "dis"):
        deltas = as_released(jax.tree.map(np.subtract, updated[network], params[network]), network)
        for name in (k for k in lia.golden() if k.startswith(f"delta/{network}.")):
            value, golden = np.mean(np.abs(deltas[name.removeprefix("delta/")])), lia.golden()[name]
            assert np.isclose(value, golden, rtol=1e-4, atol=1e-9), f"{name}: {value:.6g}, golden {golden:.6g}"
    gen, encode = updated["gen"], applied("encode")
    style, features = encode(gen, lia.image("source"))
    code = applied("code_of")(gen, encode(gen, lia.image("driving"))[0])
    fake = applied("decode")(gen, style + applied("motion")(gen, code), features).image
    expect("recon_after_one_step", fake, 2e-3)
