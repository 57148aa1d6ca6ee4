"""The run as a whole: what is finished is skipped, what changed is named with what it makes worthless, and never reused.

The stages here are fakes that write a line; tests/experiment/test_run.py runs the real ones.
"""

import json
import shutil

import pytest

from leo_jax import experiment
from leo_jax.experiment import ConfigError, marks, stages
from leo_jax.experiment.marks import Stage
from tests.experiment.tiny import load

ALL = ("animator", "codes", "motion", "sample")


class Fakes:
    """Stages that note that they ran, and make a file that depends on their config and on what they read."""

    def __init__(self):
        self.ran, self.fail = [], None

    def stage(self, name, fields, needs, trained):
        def run(config, folder, mesh):
            self.ran.append(name)
            if trained:
                (folder / "checkpoints" / "1").mkdir(parents=True, exist_ok=True)
            if self.fail == name:
                raise KeyboardInterrupt
            made = [json.dumps(marks.fields_of(config, self.all[name]))]
            made += [(folder.parent / need / "result").read_text() for need in needs if need in self.all]
            (folder / "result").write_text("\n".join(made))

        return Stage(fields, needs, lambda config: None, run, marks.result_of("result", last="result"), trained)

    @property
    def all(self):
        return {
            "animator": self.stage("animator", ("seed", "animator"), ("data",), True),
            "codes": self.stage("codes", ("model.size",), ("animator",), False),
            "motion": self.stage("motion", ("seed", "data.stride", "motion"), ("codes",), True),
            "sample": self.stage("sample", ("sample",), ("motion",), False),
        }


@pytest.fixture
def fakes(monkeypatch):
    fakes = Fakes()
    monkeypatch.setattr(stages, "stages_of", lambda config: fakes.all)
    monkeypatch.setattr(stages, "draw_puppets", lambda config, needed: None)
    monkeypatch.setitem(stages.DATA, "data", lambda config, name: config.data.name)
    return fakes


def config(*, only=ALL, **changes):
    """The puppets' config with `section__field=value` changed."""
    made = load("puppets")
    made.stages = only
    for name, value in changes.items():
        section, _, field = name.partition("__")
        if field:
            made[section][field] = value
        else:
            made[section] = value
    return made


def run(workdir, fakes, *, accept=False, **changes):
    """What ran."""
    fakes.ran.clear()
    experiment.run(config(**changes), workdir, accept_changes=accept)
    return fakes.ran


def refused(workdir, fakes, **changes):
    """The error, after which nothing may have run."""
    with pytest.raises(ConfigError) as caught:
        run(workdir, fakes, **changes)
    assert fakes.ran == [], "something ran before the error"
    return str(caught.value)


def test_stages_run_once_in_their_own_order(fakes, tmp_path, capsys):
    assert run(tmp_path, fakes, only=("sample", "motion", "animator", "codes")) == list(ALL)
    assert run(tmp_path, fakes) == []
    said = capsys.readouterr().out
    assert all(f"{name}: finished before" in said for name in ALL)
    assert {path.name for path in tmp_path.iterdir()} == set(ALL)


def test_a_kill_while_old_codes_are_removed(fakes, tmp_path, monkeypatch):
    """Results without the config that they are of would be taken for somebody else's."""
    run(tmp_path, fakes)

    def remove(path, **options):
        (path / "config.json").unlink()
        raise KeyboardInterrupt

    changes = {"model__size": 16, "only": ("codes",), "accept": True}
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", remove)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, fakes, **changes)
    assert run(tmp_path, fakes, **changes) == ["codes"]
    assert {path.name for path in tmp_path.iterdir()} == set(ALL)


def test_marks_hold_the_hashes_of_config_and_inputs(fakes, tmp_path):
    run(tmp_path, fakes)
    mark = json.loads((tmp_path / "motion" / "done.json").read_text())
    assert mark["inputs"] == {"codes": fakes.all["codes"].result(tmp_path / "codes")}
    assert mark["steps"] == config().motion.steps and len(mark["config"]) == 64
    assert json.loads((tmp_path / "motion" / "config.json").read_text())["data"] == {"stride": 1}


def test_some_stages_of_the_config_can_run(fakes, tmp_path):
    assert run(tmp_path, fakes, only=("animator", "codes")) == ["animator", "codes"]
    assert run(tmp_path, fakes, only=("motion",)) == ["motion"]
    assert run(tmp_path, fakes, only=("prepare",)) == []


def test_a_missing_input_says_how_to_get_it(fakes, tmp_path):
    run(tmp_path, fakes, only=("animator",))
    with pytest.raises(
        ConfigError, match=r"stage motion reads codes, which .* does not have: run --stages=codes,motion"
    ):
        run(tmp_path, fakes, only=("motion",))
    assert not (tmp_path / "motion").exists()


def test_a_cut_off_stage_goes_on(fakes, tmp_path):
    fakes.fail = "motion"
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, fakes)
    assert not (tmp_path / "motion" / "done.json").exists()
    fakes.fail = None
    assert run(tmp_path, fakes) == ["motion", "sample"]


def test_a_changed_config_names_what_it_invalidates(fakes, tmp_path):
    run(tmp_path, fakes)
    message = refused(tmp_path, fakes, animator__l1_weight=3.0)
    assert "animator.l1_weight: 1.0 there, 3.0 here" in message
    assert f"{tmp_path}/motion holds results of another config" in message, "the motion model is not named"
    assert "the result of stage codes: will be another one" in message
    assert "codes, sample: would be worthless" in message
    assert "--accept_changes" in message and "--workdir" in message


def test_a_later_stage_alone_is_checked_against_all_that_it_reads(fakes, tmp_path):
    run(tmp_path, fakes)
    assert "animator.l1_weight" in refused(tmp_path, fakes, only=("sample",), animator__l1_weight=3.0)
    assert "motion.lmc: true there, false here" in refused(tmp_path, fakes, only=("sample",), motion__lmc=False)
    assert run(tmp_path, fakes, only=("animator", "codes"), motion__lmc=False) == [], "motion is not asked for"


def test_a_changed_motion_leaves_the_animator_alone(fakes, tmp_path):
    run(tmp_path, fakes)
    message = refused(tmp_path, fakes, motion__lmc=False)
    assert "motion.lmc" in message and f"{tmp_path}/animator" not in message
    assert "\nsample: would be worthless" in message


def test_a_network_at_its_end_learns_no_change(fakes, tmp_path):
    """Its description would say what its weights are not."""
    run(tmp_path, fakes)
    (tmp_path / "motion" / "checkpoints" / str(config().motion.steps)).mkdir()
    with pytest.raises(ConfigError, match=r"(?s)motion.prediction: .*would learn nothing of this.*motion.steps="):
        run(tmp_path, fakes, motion__prediction="noise", motion__eta=0.5, accept=True)
    with pytest.raises(ConfigError, match="the result of stage codes: will be another one"):
        run(tmp_path, fakes, animator__l1_weight=3.0, animator__steps=config().animator.steps + 1, accept=True)
    assert fakes.ran == [], "it is known before anything is made"
    more = config().motion.steps + 1
    assert run(tmp_path, fakes, motion__prediction="noise", motion__steps=more, accept=True) == ["motion", "sample"]


def test_what_sampling_alone_uses_is_taken_over_at_the_end(fakes, tmp_path):
    run(tmp_path, fakes)
    (tmp_path / "motion" / "checkpoints" / str(config().motion.steps)).mkdir()
    assert run(tmp_path, fakes, motion__eta=0.5, motion__bound=1.0, accept=True) == ["motion", "sample"]


def test_free_fields_change_nothing(fakes, tmp_path):
    run(tmp_path, fakes)
    free = {
        "motion__log_every": 7,
        "motion__remat": True,
        "data__workers": 9,
        "animator__keep": 5,
        "data__dir": "moved",
    }
    assert run(tmp_path, fakes, **free) == []
    assert run(tmp_path, fakes, motion__batch_size=8, only=("animator", "codes")) == []


def test_a_dtype_that_is_left_open_is_the_models(fakes, tmp_path):
    run(tmp_path, fakes)
    assert run(tmp_path, fakes, motion__dtype="float32") == [], "said or left open, it is the same"
    assert 'motion.dtype: "float32" there, "bfloat16" here' in refused(tmp_path, fakes, motion__dtype="bfloat16")
    with_model = config(model__dtype="bfloat16")
    assert marks.fields_of(with_model, fakes.all["motion"])["motion"]["dtype"] == "bfloat16"


def test_a_rate_that_fell_otherwise_is_told(fakes, tmp_path, capsys):
    run(tmp_path, fakes, motion__falloff=100)
    assert run(tmp_path, fakes, motion__falloff=300) == []
    assert "motion: finished before (falloff 100; 300 is asked for)" in capsys.readouterr().out


def test_more_steps_go_on_and_name_what_they_invalidate(fakes, tmp_path):
    run(tmp_path, fakes)
    more = config().motion.steps + 1
    assert run(tmp_path, fakes, motion__steps=more, only=("motion",)) == ["motion"]
    assert run(tmp_path, fakes, motion__steps=more) == ["sample"], "samples of the shorter training stay"
    more = config().animator.steps + 1
    message = refused(tmp_path, fakes, animator__steps=more)
    assert "the result of stage codes: will be another one" in message
    assert "\ncodes, sample: would be worthless" in message, "the longer animator is not"


def test_fewer_steps_keep_the_longer_training_and_say_so(fakes, tmp_path, capsys):
    run(tmp_path, fakes)
    assert run(tmp_path, fakes, motion__steps=5) == []
    assert f"motion: finished before ({config().motion.steps} steps; 5 are asked for)" in capsys.readouterr().out


def test_changed_samples_are_made_anew(fakes, tmp_path, capsys):
    run(tmp_path, fakes)
    (tmp_path / "sample" / "old.mp4").touch()
    assert run(tmp_path, fakes, sample__frames=9) == ["sample"]
    assert not (tmp_path / "sample" / "old.mp4").exists(), "old samples lie among the new ones"
    assert "sample.frames: 64 there, 9 here" in capsys.readouterr().out


def test_sampling_steps_are_not_free(fakes, tmp_path):
    run(tmp_path, fakes)
    assert run(tmp_path, fakes, sample__steps=9) == ["sample"]


def test_changed_inputs_are_seen_though_no_config_changed(fakes, tmp_path):
    run(tmp_path, fakes)
    message = refused(tmp_path, fakes, data__name="others")
    assert "the data: another one there" in message
    (tmp_path / "codes" / "result").write_text("replaced")
    assert "the result of stage codes: another one there" in refused(tmp_path, fakes)


def test_stale_codes_that_are_not_asked_for_are_not_read(fakes, tmp_path):
    run(tmp_path, fakes, only=("animator", "codes"))
    message = refused(tmp_path, fakes, only=("motion",), model__size=64)
    assert "model.size: 32 there, 64 here" in message and "add --stages=codes,motion" in message
    assert run(tmp_path, fakes, only=("codes", "motion"), model__size=64) == ["codes", "motion"]
    assert run(tmp_path, fakes, only=("sample",), accept=True) == ["sample"], "accepted, old codes may stay"


def test_accepting_changes_runs_everything_that_they_touch(fakes, tmp_path):
    run(tmp_path, fakes)
    assert run(tmp_path, fakes, accept=True, animator__l1_weight=3.0) == list(ALL)
    assert "3.0" in (tmp_path / "sample" / "result").read_text(), "the old animator's codes are still in use"
    assert run(tmp_path, fakes, animator__l1_weight=3.0) == [], "accepted once, it is accepted"


def test_a_deleted_folder_is_made_anew_and_what_read_it_is_refused(fakes, tmp_path):
    run(tmp_path, fakes)
    shutil.rmtree(tmp_path / "motion")
    assert run(tmp_path, fakes) == ["motion"], "the samples' input is the same again"
    shutil.rmtree(tmp_path / "codes")
    assert run(tmp_path, fakes) == ["codes"]


def test_folders_of_before_inputs_were_noted_are_accepted(fakes, tmp_path):
    run(tmp_path, fakes, only=("animator",))
    (tmp_path / "animator" / "done.json").unlink()
    path = tmp_path / "animator" / "config.json"
    old = json.loads(path.read_text())
    del old["inputs"]
    path.write_text(json.dumps(old))
    assert run(tmp_path, fakes, only=("animator",)) == ["animator"]
    assert run(tmp_path, fakes, only=("animator",)) == []


def test_a_model_that_was_put_there_is_not_overwritten(fakes, tmp_path):
    (tmp_path / "animator").mkdir()
    (tmp_path / "animator" / "result").write_text("converted")
    assert "--animator=" in refused(tmp_path, fakes)
    assert run(tmp_path, fakes, only=("codes",)) == ["codes"]
    assert (tmp_path / "animator" / "result").read_text() == "converted"


@pytest.mark.parametrize("changes", [{"only": ("dancing",)}, {"only": ()}])
def test_unknown_stages_are_named(fakes, tmp_path, changes):
    assert "name some of" in refused(tmp_path, fakes, **changes)
