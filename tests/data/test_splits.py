"""Split rules: shares are as asked, stable, and never tear one source apart."""

import pytest

from leo_jax.data import splits


def test_fractions_are_met_and_stable():
    rule = splits.parse("train=0.8,val=0.1,test=0.1")
    names = [f"clip{i}.mp4" for i in range(5000)]
    drawn = {name: rule.parts(name, name)[0].split for name in names}
    for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        assert abs(sum(value == split for value in drawn.values()) / 5000 - share) < 0.02
    assert all(rule.parts(name, name)[0].split == drawn[name] for name in names[::-7]), "depends on the company"
    letters = "".join(rule.parts(f"a{i}.mp4", f"a{i}.mp4")[0].split[1] for i in range(12))  # tRain, tEst, vAl
    assert letters == "errearrrrrar", "a change of the hash would move people's videos between splits"


def test_groups_stay_together():
    rule = splits.parse("train=0.5,test=0.5")
    for i in range(50):
        assert len({rule.parts(f"{i}/{k}.mp4", f"source{i}")[0].split for k in range(20)}) == 1


def test_all():
    assert splits.parse("all:test").parts("x.mp4", "x") == [splits.Part("test")]


def test_tail_parts_meet_and_do_not_overlap():
    train, test = splits.parse("tail:0.2").parts("x.mp4", "x")
    assert (train.begin, train.end, test.begin, test.end) == (0.0, 0.8, 0.8, 1.0)


def test_folders_take_the_first():
    assert splits.parse("folders").parts("data/test/train/x.mp4", "")[0].split == "test"
    assert splits.has_folders(["train/x.mp4", "a/test/y.mp4"]) and not splits.has_folders(["train.mp4"])


def test_a_missing_list_is_an_error():
    with pytest.raises(FileNotFoundError):
        splits.parse("lists:train=nowhere.txt")
