"""A run's report says what its files say."""

import json

import numpy as np
import pytest
from PIL import Image

from leo_jax import run_report


def write_rows(folder, rows):
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def heldout(ratio):
    return {
        "heldout/l1": 0.02 * ratio, "heldout/l1_copy": 0.02, "heldout/ratio": ratio,
        "heldout/moving_l1": 0.1 * ratio, "heldout/moving_l1_copy": 0.1, "heldout/moving_ratio": ratio,
    }  # fmt: skip


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "run"
    rows = [{"step": k, "loss": 2.0 / k} for k in range(1, 7)]
    write_rows(folder / "animator", [*rows, {"step": 3, **heldout(1.5)}, {"step": 6, **heldout(0.625)}])
    (folder / "animator" / "pictures").mkdir()
    for step in (3, 6):
        Image.fromarray(np.full((4, 4, 3), step, np.uint8)).save(folder / "animator" / "pictures" / f"{step:08d}.png")
    (folder / "evaluate").mkdir()
    (folder / "evaluate" / "results.json").write_text(json.dumps({"codes/windows": 12.3456}))
    (folder / "sample").mkdir()
    (folder / "sample" / "a <b>.mp4").write_bytes(b"")
    (folder / "empty").mkdir()
    return folder


def test_tells_the_last_measurements_and_pictures(workdir):
    page = run_report.write(workdir, ["animator", "sample", "evaluate"])
    text, html = (workdir / "report.md").read_text(), page.read_text()
    assert "| whole frame | 0.0125 | 0.0200 | 0.625 |" in text and "| moving region | 0.0625 | 0.1000 | 0.625 |" in text
    assert "After 6 steps: loss 0.3333." in text
    assert "animator/pictures/00000006.png" in text and "00000003.png" not in text, "only the last picture is shown"
    assert "| codes/windows | 12.35 |" in text
    assert "## empty" not in text
    assert text.index("## sample") < text.index("## evaluate"), "stages come in the order asked for"
    assert "a &lt;b&gt;.mp4" in html and "<b>" not in html, "names are escaped"
    assert html.count("<svg") == 3, "loss, moving ratio, ratio"


def test_an_evaluation_is_told_with_the_way_to_its_page(workdir):
    result = {"protocol": {"name": "digan-taichi"}, "metrics": {"fvd": {"value": 123.456}, "kvd": {"value": 7.0}}}
    (workdir / "evaluate" / "evaluation.json").write_text(json.dumps(result))
    page = run_report.write(workdir, ["evaluate"])
    text, html = (workdir / "report.md").read_text(), page.read_text()
    assert "| digan-taichi | value |" in text and "| FVD | 123.5 |" in text and "| KVD | 7 |" in text
    assert "(evaluate/evaluation.html)" in text and 'href="evaluate/evaluation.html"' in html


def test_without_stages_named_all_that_hold_something_are_told(workdir):
    run_report.write(workdir)
    text = (workdir / "report.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## animator", "## evaluate", "## sample"]


def test_an_empty_workdir_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="leo train"):
        run_report.write(tmp_path)


def test_long_curves_are_thinned_by_means():
    points = [(k, float(k % 2)) for k in range(4 * run_report.POINTS)]
    thin = run_report._thinned(points)
    assert len(thin) == run_report.POINTS and thin[-1][0] == points[-1][0]
    assert all(value == 0.5 for _, value in thin)


def test_data_without_a_moving_region_have_one_row():
    row = {k: v for k, v in heldout(0.5).items() if "moving" not in k}
    assert [line[0] for line in run_report.heldout_table(row)] == ["held-out people", "whole frame"]
