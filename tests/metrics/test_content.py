"""ACD by hand, and puppets whose identity is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax.convert.face import face
from leo_jax.convert.reid import reid
from leo_jax.data import puppets
from leo_jax.metrics import content, features, videos
from leo_jax.metrics.clips import fake_clips
from leo_jax.metrics.protocols import protocol
from tests.models.seeded_frozen import state_dict


def test_average_distance_by_hand():
    """Three points: distances 5, 10, 5."""
    points = np.array([[0, 0], [3, 4], [6, 8]], np.float32)
    np.testing.assert_allclose(content.average_distance(points), (5 + 10 + 5) / 3, rtol=1e-6)
    assert content.average_distance(points[:1]) == 0
    np.testing.assert_allclose(content.average_distance(np.repeat(points[:1], 5, axis=0)), 0)


@pytest.mark.parametrize(("kind", "convert"), [("face", face), ("body", reid)])
def test_still_videos_have_none_and_moving_ones_some(kind, convert):
    network = content.ContentNetwork(kind, convert(state_dict(kind if kind == "face" else "reid")))
    random = np.random.default_rng(0)
    moving = random.integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    found = videos.from_arrays([np.repeat(moving[:1], 9, axis=0), moving])
    digan = protocol("digan", frames=9, resolution=64)
    out = features.extract(found, fake_clips(found.lengths, digan), digan, network)
    assert out.values.shape == (2, 1)
    still, wandering = out.values[:, 0]
    assert still < 1e-3 * wandering
    if kind == "face":
        assert wandering <= 2, "unit vectors are at most 2 apart"


def test_unit_vectors_are_optional_and_change_the_cache_key():
    params = reid(state_dict("reid"))
    plain, unit = (content.ContentNetwork("body", params, unit_vectors=u) for u in (None, True))
    assert plain.fingerprint != unit.fingerprint
    clips = np.random.default_rng(0).integers(0, 256, (1, 2, 32, 32, 3), dtype=np.uint8)
    assert unit(clips)[0, 0] <= 2
    assert plain(clips)[0, 0] != unit(clips)[0, 0]


def test_unknown_kind():
    with pytest.raises(ValueError, match="'dog' is none of"):
        content.ContentNetwork("dog", {})


def truth(video):
    return content.PuppetTruth(video.frames, video.silhouette)


def puppet(index):
    return puppets.render(0, index, frames=12, size=64, preset="easy")


def test_puppets_are_themselves_and_nobody_else():
    people = [puppet(i) for i in range(4)]
    table = np.array([[truth(p).distance(q.frames) for q in people] for p in people])
    assert (table.argmin(axis=1) == np.arange(4)).all(), table
    assert np.diagonal(table).max() < 0.5 * table[~np.eye(4, dtype=bool)].min(), table


def test_a_person_who_changes_clothes_is_seen():
    person = puppet(0)
    changed = person.frames.copy()
    changed[6:][person.silhouette[6:]] = changed[6:][person.silhouette[6:]][
        :, [1, 2, 0]
    ]  # the three colours change places
    known = truth(person)
    assert known.distance(changed) > 2 * known.distance(person.frames)
    wander = [float(content.average_distance(jnp.asarray(known.features(f)))) for f in (person.frames, changed)]
    assert wander[1] > 2 * wander[0]


def test_histogram_is_a_unit_vector():
    colours = np.random.default_rng(0).integers(0, 256, (500, 3), dtype=np.uint8)
    np.testing.assert_allclose(np.linalg.norm(content.histogram(colours)), 1, rtol=1e-5)
    assert not content.histogram(np.zeros((0, 3), np.uint8)).any()
