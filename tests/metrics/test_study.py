"""The user study: a page that gives nothing away, and a tally whose numbers are right."""

import base64
import json
import re

import numpy as np
import pytest

from leo_jax import video
from leo_jax.metrics import study, videos
from tests import browser


def sides(count=3, names=(None, None)):
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 256, (t, 32, 32, 3), dtype=np.uint8) for t in (5, 7)]
    return [
        videos.from_arrays([a] * count, where=w, names=n)
        for a, w, n in zip(arrays, ("ours", "theirs"), names, strict=True)
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    page = study.make(*sides(8), folder, fps=10.0)
    text = re.search(r'<script id="study" type="application/json">(.*?)</script>', page.read_text(), re.S)[1]
    return folder, json.loads(text), json.loads((folder / "key.json").read_text())


def test_page_holds_all_and_tells_nothing(made):
    folder, shown, key = made
    page = (folder / "index.html").read_text()
    assert "ours" not in page and "theirs" not in page and "000000" not in page
    assert not re.search(r"https?://", page), "the page asks for something from elsewhere"
    assert len(shown["pairs"]) == len(key["pairs"]) == 8
    assert {pair["a_is"] for pair in key["pairs"]} == {"x", "y"}, "a is not always the same letter"


def test_videos_are_cut_alike_and_coded_alike(made, tmp_path):
    _, shown, _key = made
    for letter in "xy":
        path = tmp_path / f"{letter}.mp4"
        path.write_bytes(base64.b64decode(shown["pairs"][0][letter].removeprefix("data:video/mp4;base64,")))
        info = video.probe(path)
        assert (info.frames, info.codec, float(info.fps)) == (5, "h264", 10.0)


def test_pairs_follow_names(tmp_path):
    names = (["a.mp4", "b.mp4", "c.mp4"], ["c.gif", "x.gif", "a.gif"])
    study.make(*sides(names=names), tmp_path)
    key = json.loads((tmp_path / "key.json").read_text())
    assert [(pair["a"], pair["b"]) for pair in key["pairs"]] == [("a.mp4", "a.gif"), ("c.mp4", "c.gif")]
    with pytest.raises(ValueError, match="give 3 pairs, 9 are needed"):
        study.make(*sides(), tmp_path, count=9)


@pytest.mark.parametrize("changes", [{"fps": 0.0}, {"fps": float("nan")}, {"count": 0}, {"frames": 0}])
def test_numbers_that_make_no_sense(tmp_path, changes):
    with pytest.raises(ValueError, match=f"{next(iter(changes))}=.* must be above 0"):
        study.make(*sides(), tmp_path, **{"fps": 10.0} | changes)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/index.html cannot be written.*name another place"):
        study.make(*sides(), tmp_path / "file")


def answer(folder, key, rater, choose, path=None):
    """A file as the page saves it, the rater seeing pair i with `a` on the left where i is even."""
    trials = []
    for pair in key["pairs"]:
        other = {"x": "y", "y": "x"}[pair["a_is"]]
        left, right = (pair["a_is"], other) if pair["id"] % 2 == 0 else (other, pair["a_is"])
        of = {
            "a": "left" if pair["id"] % 2 == 0 else "right",
            "b": "right" if pair["id"] % 2 == 0 else "left",
            "same": "same",
        }
        answers = {"realistic": of[choose(pair["id"])], "coherent": "same"}
        answers |= {f"repeats:{of['a']}": "no", f"repeats:{of['b']}": "yes"}
        trials.append({"pair": pair["id"], "left": left, "right": right, "answers": answers, "seconds": 3})
    path = folder / f"answers-{rater}.json" if path is None else path
    path.write_text(json.dumps({"study": key["study"], "rater": rater, "trials": trials}))
    return path


def test_tally_undoes_sides_and_hiding(made, tmp_path):
    folder, _, key = made
    files = [
        answer(tmp_path, key, "one", lambda i: "a"),
        answer(tmp_path, key, "two", lambda i: "a" if i < 4 else "b"),
    ]
    found = study.tally(folder, files)
    realistic, repeats = found["questions"]["realistic"], found["questions"]["repeats"]
    assert realistic["a"].percent == 75 and realistic["b"].percent == 25 and realistic["same"].percent == 0
    assert realistic["a"].low < 60 and realistic["a"].high > 85
    assert repeats["a"].percent == 0 and repeats["b"].percent == 100 and repeats["answers"] == 32
    assert found["questions"]["coherent"]["same"].percent == 100 and found["questions"]["coherent"]["alpha"] is None
    assert found["raters"] == ["one", "two"] and found["pairs"] == 8
    text = study.markdown(found)
    assert "| 16 | not defined |" in text, "nobody's answers to the second question differ"
    assert "75.0 % [" in text and "A: ours; B: theirs. 2 raters, 8 pairs" in text


def test_a_rater_counts_once(made, tmp_path):
    folder, _, key = made
    first = answer(tmp_path, key, "one", lambda i: "a", tmp_path / "1.json")
    second = answer(tmp_path, key, "one", lambda i: "b", tmp_path / "2.json")
    found = study.tally(folder, [first, second])
    assert found["questions"]["realistic"]["b"].percent == 100 and found["raters"] == ["one"]
    assert found["replaced"] == {"one": [str(first)]} and "Of one the last file counts, not" in study.markdown(found)


def test_agreement_by_hand():
    """Krippendorff's example with nominal data, two raters: alpha is 0.095 (Krippendorff 2011, "Computing…", part B)."""
    one = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    two = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    rows = [(r, i, str(v)) for r, values in (("one", one), ("two", two)) for i, v in enumerate(values)]
    assert study.alpha(rows) == pytest.approx(0.095, abs=5e-4)
    assert study.alpha([(r, i, str(i % 2)) for r in "ab" for i in range(6)]) == pytest.approx(1)
    assert study.alpha(rows[:10]) is None, "one rater agrees with nobody"


def test_intervals_widen_with_dependence():
    """A hundred answers of two raters who never agree tell less than a hundred independent ones."""
    independent = [(str(i), i, "a" if i % 2 else "b") for i in range(100)]
    two = [(str(r), i, "a" if r else "b") for r in (0, 1) for i in range(50)]
    width = [s.high - s.low for s in (study.share(independent, "a"), study.share(two, "a"))]
    assert width[0] == pytest.approx(19.2, abs=3), "Wilson's for 50 of 100"
    assert width[1] > 60
    assert study.share(independent[1::2], "a").low < 95, "all alike is no proof"


def test_foreign_files_are_refused(made, tmp_path):
    folder, _, key = made
    path = answer(tmp_path, {**key, "study": "other"}, "one", lambda i: "a")
    with pytest.raises(ValueError, match="another study"):
        study.tally(folder, [path])
    (tmp_path / "odd.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"odd.json is no file of answers"):
        study.tally(folder, [tmp_path / "odd.json"])
    (tmp_path / "picture.json").write_bytes(b"\x89PNG\xff")
    with pytest.raises(ValueError, match=r"picture.json is no file of answers"):
        study.tally(folder, [tmp_path / "picture.json"])
    with pytest.raises(ValueError, match=r"picture.json is not JSON"):
        study.tally(tmp_path / "picture.json", [path])
    with pytest.raises(FileNotFoundError, match=r"no answers at .*none.json"):
        study.tally(folder, [tmp_path / "none.json"])
    with pytest.raises(ValueError, match="no answers"):
        study.tally(folder, [])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda trials: trials[0]["answers"].update(realistic="banana"), "pair 0 answers 'realistic' by 'banana'"),
        (lambda trials: trials[0]["answers"].update(realistic=3), "pair 0 answers 'realistic' by 3"),
        (
            lambda trials: trials[0]["answers"].update({"repeats:left": "same"}),
            "pair 0 answers 'repeats:left' by 'same'",
        ),
        (lambda trials: trials[0]["answers"].update({"beautiful": "left"}), "pair 0 answers 'beautiful' by 'left'"),
        (lambda trials: trials[0].update(answers=[1]), "TypeError"),
        (lambda trials: trials[0].update(left="z"), "pair 0 shows"),
        (lambda trials: trials[0].update(left=trials[0]["right"]), "pair 0 shows"),
        (lambda trials: trials[0].update(pair=99), "KeyError: 99"),
        (lambda trials: trials.append(trials[0]), "pair 0 stands there twice"),
    ],
)
def test_answers_that_the_page_does_not_write_are_refused(made, tmp_path, change, why):
    folder, _, key = made
    path = answer(tmp_path, key, "one", lambda i: "a")
    content = json.loads(path.read_text())
    change(content["trials"])
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"answers-one.json is no file of answers .*{why}"):
        study.tally(folder, [path])


@pytest.mark.parametrize("rater", [None, "", 3])
def test_raters_have_names(made, tmp_path, rater):
    folder, _, key = made
    path = answer(tmp_path, key, "one", lambda i: "a")
    path.write_text(json.dumps({**json.loads(path.read_text()), "rater": rater}))
    with pytest.raises(ValueError, match="the rater is"):
        study.tally(folder, [path])


ANSWER = """(async () => {
  const trial = state.trials[state.place];
  for (const video of document.querySelectorAll("video")) {
    for (let i = 0; i < 400 && video.readyState < 2; i++) await new Promise(done => setTimeout(done, 25));
    if (video.readyState < 2 || video.error) throw new Error("a video does not play: " + video.error?.message);
    shown.push([video.videoWidth, video.videoHeight, Math.round(10 * video.duration)]);
  }
  const early = document.getElementById("next").disabled;
  const press = (key, value) => document.querySelector(`[data-key="${key}"][data-value="${value}"]`).click();
  press("realistic", trial.left === "x" ? "left" : "right");
  press("coherent", "same");
  press("repeats:left", "yes");
  const half = document.getElementById("next").disabled;
  press("repeats:right", "no");
  return [early, half, document.getElementById("next").disabled];
})()"""


@pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium: none of chromium, google-chrome is installed")
def test_a_rater_in_a_browser(made, tmp_path):
    """Chromium plays the videos, takes the answers, keeps them over a reload, and saves a file that can be counted."""
    folder, _, key = made
    with browser.Browser(tmp_path) as chromium:
        chromium.open(folder / "index.html")
        if not chromium.run("document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.42E01E\"')"):
            pytest.skip("this Chromium was built without H.264")
        begin = lambda: chromium.run(
            "window.shown = []; at('rater').value = 'Jo Doe'; at('rater').oninput(); at('begin').click()"
        )
        assert chromium.run("at('count').textContent") == "8" and chromium.run("at('begin').disabled")
        begin()
        for _ in range(3):
            assert chromium.run(ANSWER) == [True, True, False], "Next opens when all is answered, not before"
            chromium.run("at('next').click()")
        chromium.open(folder / "index.html")
        begin()
        assert chromium.run("at('place').textContent") == "4 of 8", "answers are kept in the browser"
        for _ in range(5):
            chromium.run(ANSWER)
            chromium.run("at('next').click()")
        assert chromium.run("shown") == [[32, 32, 5]] * 10, "every video has its size and length"
        assert chromium.run("[...document.querySelectorAll('main')].find(m => !m.hidden).id") == "end"
        chromium.run("at('save').click()")
        saved = chromium.downloaded("answers-Jo_Doe*.json")
        assert chromium.errors() == []
    answers = json.loads(saved.read_text())
    assert sorted(trial["pair"] for trial in answers["trials"]) == list(range(8))
    found = study.tally(folder, [saved])
    x_is_a = sum(pair["a_is"] == "x" for pair in key["pairs"])
    assert found["questions"]["realistic"]["a"].percent == pytest.approx(100 * x_is_a / 8)
    assert found["questions"]["coherent"]["same"].percent == 100
    assert found["raters"] == ["Jo Doe"] and found["questions"]["repeats"]["answers"] == 16
