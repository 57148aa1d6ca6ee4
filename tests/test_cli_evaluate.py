"""`leo evaluate`, `leo study` and `leo convert` of scoring networks, by the command line."""

import json

import numpy as np
import pytest

from leo_jax import api, cli, weights
from leo_jax.metrics import command
from leo_jax.metrics.evaluate import Evaluation
from leo_jax.metrics.generated import Choices
from tests.test_report import RESULT


@pytest.fixture
def asked(monkeypatch):
    calls = []

    def run(real, fake, **options):
        calls.append((real, fake, options))
        return Evaluation(RESULT, {})

    monkeypatch.setattr(command, "run", run)
    return calls


def test_flags_reach_the_measurement(asked, tmp_path, capsys):
    cli.main([
        "evaluate", "--real=r", "--fake=f", "--protocol=digan-taichi", "--metrics=fvd, acd",
        "--override", "resolution=256", "trials=3",
        "--real_split=train", "--fake_stride=4", "--fake_range=-1,1", "--reid_weights=w.npz", "--skip_bad", "--seed=5",
        "--fake_count=99", "--unconditional", "--no_cache", f"--out={tmp_path / 'r.json'}",
    ])  # fmt: skip
    ((real, fake, options),) = asked
    assert (str(real.path), real.split, real.stride) == ("r", "train", None)
    assert (str(fake.path), fake.stride, fake.value_range) == ("f", 4, "-1,1")
    assert options["metrics"] == ["fvd", "acd"] and options["overrides"] == ("resolution=256", "trials=3")
    assert str(options["weight_files"]["reid"]) == "w.npz" and options["weight_files"]["i3d"] is None
    assert options["choices"] == Choices(count=99, unconditional=True) and options["load_model"] is api.load
    settings = options["settings"]
    assert (settings.on_bad, settings.seed, settings.cache) == ("skip", 5, None)
    assert json.loads((tmp_path / "r.json").read_text())["seed"] == RESULT["seed"]
    assert "57.61" in capsys.readouterr().out


def test_a_bad_name_is_refused_before_the_work(asked, tmp_path):
    with pytest.raises(SystemExit, match=r"should end in .json"):
        cli.main(["evaluate", "--real=r", "--fake=f", "--protocol=digan", f"--out={tmp_path / 'r.txt'}"])
    assert not asked


def test_a_pipe_that_breaks_loses_no_result(asked, tmp_path, monkeypatch):
    """As with `leo evaluate … | head`: hours of work must be in the file before anything is printed."""

    def gone(*texts, **options):
        raise BrokenPipeError("nobody reads")

    monkeypatch.setattr("builtins.print", gone)
    with pytest.raises(SystemExit, match="nobody reads"):
        cli.main(["evaluate", "--real=r", "--fake=f", "--protocol=digan", f"--out={tmp_path / 'r.json'}"])
    assert json.loads((tmp_path / "r.json").read_text())["seed"] == RESULT["seed"]


def test_the_protocol_must_be_said():
    with pytest.raises(SystemExit, match=r"--protocol=.*digan-taichi\|"):
        cli.main(["evaluate", "--real=r", "--fake=f"])


def test_compare(tmp_path, capsys):
    (tmp_path / "a.json").write_text(json.dumps(RESULT))
    cli.main(["evaluate", "--compare", str(tmp_path / "a.json"), "--dataset=taichi128"])
    assert "LEO, conditional (paper)" in capsys.readouterr().out


def test_study(tmp_path, capsys):
    for side, value in (("a", 60), ("b", 200)):
        np.save(tmp_path / f"{side}.npy", np.full((2, 4, 32, 32, 3), value, np.uint8))
    out = tmp_path / "study"
    cli.main(
        [
            "study",
            "make",
            "--a",
            str(tmp_path / "a.npy"),
            "--b",
            str(tmp_path / "b.npy"),
            "--out",
            str(out),
            "--fps",
            "5",
        ]
    )
    assert (out / "index.html").is_file()
    key = json.loads((out / "key.json").read_text())
    letters = {pair["id"]: pair["a_is"] for pair in key["pairs"]}
    trials = [
        {"pair": i, "left": a, "right": "y" if a == "x" else "x", "answers": {"realistic": "left"}}
        for i, a in letters.items()
    ]
    (tmp_path / "answers.json").write_text(json.dumps({"study": key["study"], "rater": "r", "trials": trials}))
    cli.main([
        "study", "tally", "--study", str(out), "--answers", str(tmp_path / "answers.json"), "--out", str(tmp_path / "t.json"),
    ])  # fmt: skip
    assert "| Which video looks more realistic? | 100.0 %" in capsys.readouterr().out
    assert json.loads((tmp_path / "t.json").read_text())["questions"]["realistic"]["a"][0] == 100


def test_convert_lpips_takes_two_files(tmp_path, capsys):
    from tests.models.seeded_frozen import state_dict

    whole = state_dict("lpips")
    np.savez(
        tmp_path / "alexnet.npz",
        **{f"features.{k.split('.', 2)[2]}": v for k, v in whole.items() if k.startswith("net.")},
    )
    np.savez(tmp_path / "alex.npz", **{k: v for k, v in whole.items() if k.startswith("lin")})
    out = tmp_path / "lpips.npz"
    cli.main([
        "convert", "lpips", "--checkpoint", str(tmp_path / "alexnet.npz"), "--linear", str(tmp_path / "alex.npz"),
        "--out", str(out),
    ])  # fmt: skip
    assert weights.load_tree(out)["lin4"].shape == (256,)
    assert f"--lpips_weights={out}" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["face", "reid", "lpips", "i3d"])
def test_a_missing_checkpoint_says_where_to_get_it(tmp_path, kind):
    with pytest.raises(SystemExit, match=rf"(?s)no weights at .*none.pt.*leo convert {kind} --checkpoint"):
        cli.main(["convert", kind, "--checkpoint", str(tmp_path / "none.pt"), "--out", str(tmp_path / "x.npz")])
    assert not (tmp_path / "x.npz").exists()


def test_missing_results_and_studies_are_named(tmp_path):
    with pytest.raises(SystemExit, match=r"no result at .*a.json"):
        cli.main(["evaluate", "--compare", str(tmp_path / "a.json")])
    with pytest.raises(SystemExit, match=r"no study at .*key.json"):
        cli.main(["study", "tally", "--study", str(tmp_path), "--answers", str(tmp_path / "a.json")])
