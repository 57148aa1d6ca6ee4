"""Puppets: reproducible, antialiased, moving as bodies do, and told apart from their ground truth by nothing."""

import numpy as np
import pytest

from leo_jax.data import puppets, records
from leo_jax.data.puppets import motion, skeleton
from leo_jax.data.puppets.shapes import Bone, bone_field, coverage

CASES = [(preset, index) for preset in puppets.PRESETS for index in range(6)]


@pytest.fixture(scope="module")
def videos():
    return {(preset, i): puppets.render(5, i, frames=16, size=64, preset=preset) for preset, i in CASES}


def test_same_seed_and_index_give_the_same_video():
    first, again = (puppets.render(1, 5, frames=4, size=48, preset="full") for _ in range(2))
    for name in ("frames", "silhouette", "joints", "visibility", "identity", "motion"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name), err_msg=name)


@pytest.mark.parametrize("seed, index", [(1, 6), (2, 5), (1, 5 + puppets.HELD_OUT)])
def test_other_seed_or_index_gives_another_person_scene_and_motion(seed, index):
    first = puppets.render(1, 5, frames=4, size=32, preset="full")
    other = puppets.render(seed, index, frames=4, size=32, preset="full")
    assert np.abs(first.identity - other.identity).max() > 0.05, "the same person twice"
    assert np.abs(first.motion - other.motion).max() > 0.05, "the same motion twice"
    corner = first.frames[0, :4, :4].astype(int) - other.frames[0, :4, :4]
    assert np.abs(corner).max() > 3, "the same background twice"


@pytest.mark.parametrize("style", puppets.STYLES)
def test_a_longer_video_begins_like_a_shorter_one(style):
    times = np.arange(60) / motion.FPS[style]
    short, long = (motion.controls(np.random.default_rng(2), style, times[:n], 1.0) for n in (7, 60))
    np.testing.assert_allclose(short, long[:7], atol=1e-12)


def test_fewer_frames_are_the_beginning_of_more():
    short, long = (puppets.render(1, 2, frames=n, size=32, preset="easy") for n in (3, 40))
    np.testing.assert_array_equal(short.frames, long.frames[:3])
    np.testing.assert_array_equal(short.visibility, long.visibility[:3])


@pytest.mark.parametrize("preset", puppets.PRESETS)
@pytest.mark.parametrize("index", range(3))
def test_antialiased_so_that_sizes_agree(preset, index):
    small, large = (puppets.render(4, index, frames=3, size=size, preset=preset) for size in (64, 128))
    halved = large.frames.reshape(3, 64, 2, 64, 2, 3).astype(np.float32).mean((2, 4))
    error = np.abs(halved - small.frames)
    assert error.mean() < 4, f"64 px differs from 128 px halved by {error.mean():.1f} of 255 on average"
    np.testing.assert_allclose(small.joints, large.joints, atol=1e-6)
    np.testing.assert_array_equal(small.identity, large.identity)


def test_coverage_of_a_stroke_is_its_area():
    from leo_jax.data.puppets.shapes import Canvas

    canvas = Canvas(np.zeros((40, 40, 3), np.float32), 8)
    shift = np.linspace(0, 1, 8)[:, None]
    start, end = np.array([[9.0, 12.0]]) + shift, np.array([[30.0, 26.0]]) + shift
    bone = Bone(start, end, 4.0, 4.0)
    patch = canvas.patch(np.arange(8), start - 5, end + 5)
    canvas.paint(patch, coverage(bone_field(patch, bone).distance), np.ones(3, np.float32), 1)
    area = 2 * 4.0 * np.hypot(21, 14) + np.pi * 4.0**2
    np.testing.assert_allclose(canvas.pixels[..., 3].sum((1, 2)), area, rtol=0.005)
    np.testing.assert_allclose(canvas.pixels[..., 0], canvas.pixels[..., 3], atol=1e-6)


def test_visible_joints_lie_on_the_silhouette(videos):
    for case, video in videos.items():
        column, row = np.clip(np.floor(video.joints * 64).astype(int), 0, 63).transpose(2, 0, 1)
        on = video.silhouette[np.arange(16)[:, None], row, column]
        assert on[video.visibility].mean() > 0.98, f"{case}: visible joints beside the body"
        assert 0.6 < video.visibility.mean() <= 1, f"{case}: {video.visibility.mean():.0%} of the joints are visible"


def test_the_body_hides_joints():
    """An arm held behind the back is not visible; in front of the chest it is."""
    body = puppets.video.appearance.draw(np.random.default_rng(0), "easy")
    controls = np.zeros((2, len(skeleton.CONTROL_FIELDS)))
    arm = [skeleton.CONTROL[f"left_arm_{axis}"] for axis in skeleton.ARM_AXES]
    controls[:, arm] = skeleton.reach(-0.5, -0.4, -0.35, 1.0), skeleton.reach(-0.5, -0.4, 0.35, 1.0)
    posed = skeleton.pose(controls, body.proportions())
    camera = skeleton.Camera(scale=0.8, centre=0.5, floor=0.95)
    canvas = puppets.video.Canvas(np.zeros((64, 64, 3), np.float32), 2)
    puppets.video.figure.paint(canvas, body, posed, camera, shadow=False)
    seen = puppets.video.figure.visibility(canvas, camera.project(posed.joints) * 64, posed)
    assert seen[:, skeleton.JOINT["left_wrist"]].tolist() == [False, True]


def test_people_fill_the_frame_and_stay_in_it(videos):
    for case, video in videos.items():
        rows = video.silhouette.any(2)
        height = rows.sum(1) / 64
        assert np.median(height) > 0.65 and height.max() <= 1, f"{case}: the person is {height} of the frame high"
        area = video.silhouette.mean((1, 2))
        assert (area > 0.06).all() and (area < 0.4).all(), f"{case}: silhouettes cover {area}"
        inside = ((video.joints > 0) & (video.joints < 1)).all(-1)
        assert inside.mean() > 0.97, f"{case}: {1 - inside.mean():.0%} of the joints are outside the frame"


@pytest.mark.parametrize("preset", puppets.PRESETS)
def test_only_the_person_changes(videos, preset):
    for case, video in videos.items():
        if case[0] != preset:
            continue
        first, second = video.frames[2].astype(int), video.frames[12].astype(int)
        changed = np.abs(first - second).max(-1) > 12
        either = video.silhouette[2] | video.silhouette[12]
        grown = np.pad(either, 1)
        grown = sum(grown[i : i + 64, j : j + 64] for i in range(3) for j in range(3)) > 0
        outside = (changed & ~grown).sum()
        assert changed.sum() > 60, f"{case}: only {changed.sum()} pixels changed in ten frames"
        assert outside <= (0.02 if preset == "easy" else 0.15) * changed.sum(), (
            f"{case}: {outside} pixels of the background changed"
        )


def test_frames_of_a_video_span_poses(videos):
    """Two random frames are what training sees: hands or feet have to be somewhere else in them."""
    ends = [skeleton.JOINT[f"{s}_{j}"] for s in skeleton.SIDES for j in ("wrist", "ankle")]
    spans = []
    for video in videos.values():
        apart = np.linalg.norm(video.joints[:, None, ends] - video.joints[None, :, ends], axis=-1).max(-1)
        spans.append(np.median(apart[np.triu_indices(16, 1)]))
    assert np.median(spans) > 0.1, f"typical largest joint motions between two frames: {spans}"
    assert min(spans) > 0.03, f"a video hardly moves: {spans}"


@pytest.mark.parametrize("style", puppets.STYLES)
def test_bodies_move_smoothly_within_their_limits(style):
    fps = motion.FPS[style]
    for index in range(12):
        rng = np.random.default_rng((9, index))
        body = puppets.video.appearance.draw(rng, "full").proportions()
        fine = np.arange(240) / (8 * fps)  # eight times the frame rate
        controls = motion.controls(rng, style, fine, 1.0)
        posed = skeleton.pose(controls, body)
        x = posed.joints
        speed = np.linalg.norm(np.diff(x, axis=0), axis=-1) * 8 * fps
        assert speed.max() < 6.5, (
            f"{style} {index}: {puppets.JOINT_NAMES[speed.max(0).argmax()]} at {speed.max():.1f} heights/s"
        )
        jump = np.linalg.norm(np.diff(x, 2, axis=0), axis=-1)
        assert jump.max() < 0.02, (
            f"{style} {index}: {puppets.JOINT_NAMES[jump.max(0).argmax()]} jerks by {jump.max():.3f}"
        )
        assert (posed.hinges > 0.05).all() and (posed.hinges < 2.65).all(), f"{style} {index}: hinges {posed.hinges}"
        _check_bones(x, body)
        for side in skeleton.SIDES:
            hip, knee, ankle = (x[:, skeleton.JOINT[f"{side}_{j}"]] for j in ("hip", "knee", "ankle"))
            out = 1 if side == "left" else -1
            facing = (
                controls[:, skeleton.CONTROL["pelvis_yaw"]] + out * controls[:, skeleton.CONTROL[f"{side}_foot_yaw"]]
            )
            forward = np.stack([np.sin(facing), 0 * facing, np.cos(facing)], -1)
            bow = ((knee - 0.5 * (hip + ankle)) * forward).sum(-1)
            assert (bow > 0).all(), f"{style} {index}: {side} knee bends backwards"
        lowest = np.minimum(x[:, skeleton.JOINT["left_ankle"], 1], x[:, skeleton.JOINT["right_ankle"], 1])
        assert (lowest < body.ankle + 0.06).all(), f"{style} {index}: both feet leave the floor"
        assert (lowest > body.ankle - 1e-3).all(), f"{style} {index}: a foot sinks into the floor"


def _check_bones(x, body):
    for side in skeleton.SIDES:
        for start, end, length in (
            ("shoulder", "elbow", body.upper_arm),
            ("elbow", "wrist", body.forearm),
            ("hip", "knee", body.thigh),
            ("knee", "ankle", body.shin),
            ("ankle", "toe", body.foot),
        ):
            bone = x[:, skeleton.JOINT[f"{side}_{end}"]] - x[:, skeleton.JOINT[f"{side}_{start}"]]
            np.testing.assert_allclose(
                np.linalg.norm(bone, axis=-1), length, rtol=1e-4, err_msg=f"{side} {start}-{end}"
            )


def test_planted_feet_do_not_slide():
    controls = motion.controls(np.random.default_rng(0), "gestures", np.arange(40) / 10, 1.0)
    feet = controls[:, [skeleton.CONTROL[f"{s}_foot_{a}"] for s in skeleton.SIDES for a in ("x", "z", "lift")]]
    np.testing.assert_allclose(feet, np.broadcast_to(feet[:1], feet.shape), atol=1e-12)


def test_someone_else_can_do_the_same_motion():
    first = puppets.render(0, 1, frames=3, size=32, preset="full")
    other = puppets.render(0, 2, frames=3, size=32, preset="full", motion_index=1)
    own = puppets.render(0, 2, frames=3, size=32, preset="full")
    controls = len(skeleton.CONTROL_FIELDS)
    np.testing.assert_array_equal(other.motion[:, :controls], first.motion[:, :controls])
    np.testing.assert_array_equal(other.identity, own.identity)
    np.testing.assert_array_equal(other.frames[0, :3], own.frames[0, :3], err_msg="the scene belongs to the person")


def test_names_fit_the_arrays(videos):
    for video in videos.values():
        assert video.joints.shape == (16, len(puppets.JOINT_NAMES), 2)
        assert video.visibility.shape == (16, len(puppets.JOINT_NAMES))
        assert video.identity.shape == (len(puppets.IDENTITY_FIELDS),) and np.isfinite(video.identity).all()
        assert video.motion.shape == (16, len(puppets.MOTION_FIELDS))
        assert video.style in puppets.STYLES and 10 <= video.fps <= 25


def test_every_style_comes_up():
    for preset in puppets.PRESETS:
        styles = {puppets.render(0, i, frames=1, size=16, preset=preset).style for i in range(40)}
        assert styles == set(puppets.STYLES), preset


@pytest.mark.parametrize(
    "change, words",
    [
        ({"preset": "hard"}, "easy, full"),
        ({"size": 8}, "16 to 1024"),
        ({"frames": 0}, "frames at 1"),
        ({"index": -1}, "start at 0"),
    ],
)
def test_wrong_arguments_are_named(change, words):
    arguments = {"seed": 0, "index": 0, "frames": 2, "size": 32, "preset": "easy"} | change
    with pytest.raises(ValueError, match=words):
        puppets.render(**arguments)


def test_records_hold_the_ground_truth():
    video = puppets.render(0, 7, frames=3, size=33, preset="full")
    record = puppets.record(0, 7, frames=3, size=33, preset="full", split="test", lossless=True)
    again = records.decode(records.encode(record))
    assert (again.id, again.split, again.fps, len(again.frames)) == ("puppet-0-7", "test", video.fps, 3)
    np.testing.assert_array_equal([records.decode_frame(frame) for frame in again.frames], video.frames)
    for name in ("joints", "visibility", "identity", "motion"):
        np.testing.assert_array_equal(again.extras[name], getattr(video, name), err_msg=name)
    np.testing.assert_array_equal(puppets.unpack_silhouette(again.extras["silhouette"], 33, 33), video.silhouette)
    assert puppets.STYLES[int(again.extras["style"])] == video.style


def test_data_sets_have_other_people_in_the_test_split(tmp_path):
    from leo_jax.data import source

    manifest = puppets.make_dataset(
        tmp_path, num_train=3, num_test=2, frames=2, size=16, preset="easy", seed=4, progress=False
    )
    assert {name: split.records for name, split in manifest.splits.items()} == {"train": 3, "test": 2}
    ids = {s: [records.decode(r).id for r in source.open_split(tmp_path, s)] for s in ("train", "test")}
    assert ids == {
        "train": [f"puppet-4-{i}" for i in range(3)],
        "test": [f"puppet-4-{puppets.HELD_OUT + i}" for i in range(2)],
    }
    with pytest.raises(ValueError, match="at least one"):
        puppets.make_dataset(tmp_path, num_train=0, num_test=0, frames=2, size=16, preset="easy")
