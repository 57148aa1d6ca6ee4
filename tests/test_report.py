"""Results as files: whole, readable, self-contained, and honest about what may not be compared."""

import copy
import json
import re

import numpy as np
import pytest

from leo_jax import report
from leo_jax.metrics import paper
from leo_jax.metrics.evaluate import FORMAT, Evaluation
from tests import browser

RESULT = {
    "format": FORMAT, "label": "mine <b>", "dataset": "taichi128",
    "metrics": {
        "kvd": {"value": 4.5, "standard_error": 0.5, "clips_real": 2048, "clips_fake": 2048, "dimensions": 400},
        "fvd": {
            "value": 57.612, "std": 2.04, "trials": [55.5, 59.7], "clips_real": 2048, "clips_fake": 2048, "dimensions": 400,
            "floor": {"mean": 12.0, "std": 1.0, "clips": 1024}, "at_the_floors_n": {"mean": 70.0, "std": 2.0, "clips": 1024},
            "extrapolated": {"limit": 50.0, "slope": 1e4, "error": 1.5, "sizes": [2048, 512], "values": [57.0, 70.0]},
        },
        "acd-body": {"value": 1.25, "standard_error": 0.01, "real": 1.1, "clips_real": 2048, "clips_fake": 2048},
    },
    "protocol": {"name": "digan-taichi", "in_words": "clips of 16 frames"},
    "real": {"where": "data", "videos": 9, "sizes": ["256x256"], "stored_as": ["jpeg"], "fingerprint": "f0", "skipped": []},
    "fake": {"where": "out|put", "videos": 8, "sizes": ["128x128"], "stored_as": ["png"], "fingerprint": "f1",
             "skipped": [["a.mp4", "short"]]},
    "warnings": ["stored <unlike>"], "seed": 3, "weights": {"i3d": "a" * 64}, "versions": {"jax": "0"}, "seconds": 1.5,
}  # fmt: skip


def test_written_files_hold_the_whole_result(tmp_path):
    clip = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    paths = report.write(Evaluation(RESULT, {"real": [clip], "fake": [clip, clip]}), tmp_path / "r.json")
    assert [p.name for p in paths] == ["r.json", "r.md", "r.html"]
    assert report.load(paths[0]) == json.loads(json.dumps(RESULT))
    text = paths[1].read_text()
    assert "57.61" in text and "12.00 ± 1.00 (N = 1024)" in text and "50.00 ± 1.50" in text
    assert "**Warning:** stored <unlike>" in text and "out\\|put" in text
    page = paths[2].read_text()
    assert page.count("data:image/webp;base64,") == 3
    assert "mine &lt;b&gt;" in page and "stored &lt;unlike&gt;" in page, "names are text, not markup"
    assert not re.search(r'(src|href)="(?!data:)', page), "the page loads something from elsewhere"


@pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium: none of chromium, google-chrome is installed")
def test_the_page_in_a_browser(tmp_path):
    """Every sample is shown at its size, side by side in a row, and nothing is fetched or wrong."""
    clips = np.random.default_rng(0).integers(0, 256, (3, 5, 48, 64, 3), dtype=np.uint8)
    report.write(Evaluation(RESULT, {"real": [*clips], "fake": [*clips[:2]]}), tmp_path / "r.json")
    with browser.Browser(tmp_path) as chromium:
        chromium.open(tmp_path / "r.html")
        assert chromium.run("[...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight])") == (
            [[True, 64, 48]] * 5
        )
        tops = chromium.run("[...document.images].map(i => i.getBoundingClientRect().top)")
        assert len(set(tops)) == 2, "one row of samples for each side"
        assert (
            chromium.run("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length")
            == 0
        )
        assert "57.61" in chromium.run("document.querySelector('table').innerText") and chromium.errors() == []


def test_only_json_names_are_taken(tmp_path):
    with pytest.raises(ValueError, match=r"should end in .json"):
        report.write(Evaluation(RESULT, {}), tmp_path / "r.txt")


def test_places_that_cannot_be_written_are_named_before_the_work(tmp_path):
    """Whether a file stands where a folder should be, or a folder where the page should."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/r.json cannot be written.*name another place"):
        report.check_name(tmp_path / "file" / "r.json")
    (tmp_path / "r.html").mkdir()
    with pytest.raises(OSError, match=r"r.html cannot be written, it is a folder"):
        report.check_name(tmp_path / "r.json")
    report.check_name(tmp_path / "new" / "r.json")
    assert list((tmp_path / "new").iterdir()) == [], "looking leaves nothing behind"


def test_comparison_stands_beside_the_paper():
    rows, notes = report.compare([("ours", RESULT)])
    assert rows[0] == ["system", "FVD", "KVD", "ACD-BODY", "N", "protocol"]
    assert rows[1] == ["ours", "57.61 ± 2.04", "4.50 (s.e. 0.50)", "1.250 (s.e. 0.010)", "2048", "digan-taichi"]
    table = {row[0]: row[1:] for row in rows[2:]}
    assert table["LEO, conditional (paper): taichi128"][0] == "57.60 ± 2.00", "rows of several data sets say of which"
    table = {row[0]: row[1:] for row in report.compare([("ours", RESULT)], "taichi128")[0][2:]}
    assert table["LEO, conditional (paper)"][:3] == ["57.60 ± 2.00", "4.00 ± 1.50", "1.220"]
    assert table["DIGAN, best other (paper)"][0] == "128.10" and not notes


def test_every_figure_of_the_paper_has_a_place():
    assert {row.dataset for row in paper.ROWS} == set(paper.DATASETS)
    for row in paper.ROWS:
        assert set(row.values) <= set(report.DIGITS)
    assert [r.values["fvd"][0] for r in paper.rows("celebvhq", "")] == [40.2, 69.1]
    assert len(paper.rows(None, "digan-taichi+resolution=256")) == 3
    with pytest.raises(ValueError, match="no data set 'mnist'"):
        paper.rows("mnist", "")


def changed(**fields):
    other = copy.deepcopy(RESULT)
    other.update(fields)
    return other


def test_unlike_results_are_marked():
    fewer = copy.deepcopy(RESULT["metrics"])
    fewer["fvd"]["clips_fake"] = 500
    unit = copy.deepcopy(RESULT["metrics"])
    unit["acd-body"]["network"] = "unit vectors"
    others = [
        ("spaced", changed(protocol={"name": "digan", "in_words": ""})),
        ("elsewhere", changed(real={**RESULT["real"], "fingerprint": "other"})),
        ("rescored", changed(weights={"i3d": "b" * 64})),
        ("fewer", changed(metrics=fewer)),
        ("alike", changed(label="x", seed=9)),
        ("coarse", changed(real={**RESULT["real"], "stride": 2})),
        ("shifted", changed(real={**RESULT["real"], "value_range": "-1,1 (stated)"})),
        ("without", changed(real={**RESULT["real"], "skipped": [["7.mp4", "damaged"]]})),
        ("one more", changed(weights={"i3d": "b" * 64, "face": "c" * 64})),
        ("unit", changed(metrics=unit)),
    ]
    _, notes = report.compare([("ours", RESULT), *others])
    of_results = ["spaced", "elsewhere", "rescored", "fewer", "coarse", "shifted", "without", "one more", "unit"]
    assert len(notes) == len(of_results) + 2
    for note, label in zip(notes, [*of_results, "spaced", "fewer"], strict=True):
        assert label in note
    assert "2048 / 500" in notes[3]
    notes = notes[5:]
    assert notes[4] == "the paper's figures are under digan-taichi, unlike those of spaced"
    assert notes[5] == "the paper's figures are of 2048 clips a side, not 2048 / 500, unlike those of fewer"


def test_the_papers_faceforensics_has_fewer_real_videos():
    """1000: StyleGAN-V's protocol takes one clip of each, and 2048 generated ones."""
    metrics = {"fvd": {"value": 40.0, "clips_real": 704, "clips_fake": 2048}}
    ours = changed(metrics=metrics, protocol={"name": "styleganv-16f", "in_words": ""})
    rows, notes = report.compare([("ours", ours)], "faceforensics")
    assert notes == [] and {row[-2] for row in rows[2:]} == {"all / 2048"}
    metrics["fvd"]["clips_fake"] = 64
    assert report.compare([("ours", ours)], "faceforensics")[1] == [
        "the paper's figures are of 2048 generated clips, not 704 / 64, unlike those of ours"
    ]
    assert "of 2048 clips a side, not 704 / 64" in report.compare([("ours", ours)], "celebvhq")[1][0]


def test_comparisons_carry_the_results_own_warnings(tmp_path):
    report.write(Evaluation(changed(label="packed", warnings=["lossy <compression>"]), {}), tmp_path / "a.json")
    report.write(Evaluation(changed(label="plain", warnings=[]), {}), tmp_path / "b.json")
    text = report.write_comparison([tmp_path / "a.json", tmp_path / "b.json"], tmp_path / "t.html", "taichi128")
    assert "- **Of packed:** lossy <compression>" in text and "Of plain" not in text
    assert "Of packed: lossy &lt;compression&gt;" in (tmp_path / "t.html").read_text()


@pytest.mark.parametrize("part", ["protocol", "metrics", "real", "warnings"])
def test_half_a_result_is_named(tmp_path, part):
    (tmp_path / "a.json").write_text(json.dumps({**RESULT, part: None}))
    with pytest.raises(ValueError, match=rf"a.json is no whole result of `leo evaluate`: it lacks {part}"):
        report.write_comparison([tmp_path / "a.json"])


def test_comparison_files(tmp_path):
    report.write(Evaluation(RESULT, {}), tmp_path / "a.json")
    report.write(Evaluation(changed(label=None), {}), tmp_path / "b.json")
    text = report.write_comparison([tmp_path / "a.json", tmp_path / "b.json"], tmp_path / "t.md", "taichi128")
    assert "| mine <b> |" in text and "| b |" in text and (tmp_path / "t.md").read_text() == text
    report.write_comparison([tmp_path / "a.json"], tmp_path / "t.html")
    assert "mine &lt;b&gt;" in (tmp_path / "t.html").read_text()
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(ValueError, match=r"c.json is no result"):
        report.write_comparison([tmp_path / "c.json"])
