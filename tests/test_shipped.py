"""The model that comes with the package does what its README says: it moves people it never saw."""

import functools

import numpy as np
import pytest

import leo_jax
from leo_jax.api import ASSETS
from leo_jax.data.puppets.video import HELD_OUT, render
from leo_jax.metrics.codes import drift, velocities
from leo_jax.sampling.render import as_images

pytestmark = pytest.mark.usefixtures("optimised")
STRANGERS = range(HELD_OUT + 5000, HELD_OUT + 5012)  # neither trained on nor held out of the training


@functools.cache
def strangers(preset):
    return [render(0, i, frames=48, size=64, preset=preset) for i in STRANGERS]


@pytest.fixture(scope="module")
def model():
    return leo_jax.load("puppets")


@pytest.fixture(scope="module")
def people():
    return strangers("easy")


def test_it_is_small():
    sizes = {path: path.stat().st_size for path in (ASSETS / "puppets").rglob("*") if path.is_file()}
    assert sizes[ASSETS / "puppets" / "animator.npz"] < 15e6
    assert sum(sizes.values()) < 40e6


@pytest.mark.parametrize(("preset", "bound"), [("easy", 0.4), ("full", 0.5)])
def test_it_moves_strangers(model, preset, bound):
    """Driving frames from the first one: the L1 over both silhouettes is below `bound` of what copying the first one leaves.

    Also for the people of `full`, whom only its earlier trainings saw.
    """
    error = copied = 0.0
    for person in strangers(preset):
        drawn = model.render(person.frames[0], model.codes(person.frames))
        moving = person.silhouette | person.silhouette[0]
        true = as_images(person.frames, model.size)
        error += np.abs(drawn - true)[moving].sum()
        copied += np.abs(true[:1] - true)[moving].sum()
    assert error < bound * copied


def test_its_people_move_as_puppets_do(model, people):
    """From strangers' first codes: codes and their steps are spread as true ones are, also after many segments."""
    true = [model.codes(person.frames) for person in people]
    spread, speed = np.std(np.concatenate(true), 0), np.std(np.concatenate(velocities(true)), 0)
    starts = np.stack([codes[0] for codes in true])
    made = model.sample_codes(start=starts, frames=316, num=len(starts), steps=25)
    for part in (made[:, :64], made[:, -64:]):
        assert 0.6 < np.mean(np.std(part.reshape(-1, part.shape[-1]), 0) / spread) < 1.5
        assert 0.5 < np.mean(np.std(np.diff(part, axis=1), axis=(0, 1)) / speed) < 2
    gone = drift((made - np.mean(np.concatenate(true), 0)) / spread)
    assert gone[-1] < 1, "two strangers are about as far apart: it has become somebody else's motion"


def test_its_first_images_are_people_in_the_codes_poses(model, people):
    """Drawn for strangers' codes and encoded again, an image is nearer to its own code than to the others'."""
    codes = np.concatenate([model.codes(person.frames[:1]) for person in people])
    images = model.first_frame(codes, steps=20)
    assert images.shape == (len(codes), 64, 64, 3) and np.abs(images).max() <= 1
    found = model.codes(images)
    distances = np.linalg.norm((found[:, None] - codes[None]) / codes.std(0), axis=-1)
    own = np.diagonal(distances)
    nearer = (own[:, None] < distances).sum() / (len(codes) * (len(codes) - 1))
    assert nearer > 0.7, f"nearer than {nearer:.2f} of the others"


def test_it_has_what_makes_videos_from_nothing(model):
    video = list(model.generate(frames=5, steps=3))
    assert np.shape(video) == (5, 64, 64, 3) and np.isfinite(video).all()
    assert 0.1 < np.std(video[0]) < 1, "a picture, neither grey nor noise at its bounds"


def test_it_has_what_moves_a_photo_without_an_end(model, people):
    assert model.stages == {"animator", "motion", "start", "transition", "first_frame"}
    video = list(model.generate(people[0].frames[0], frames=70, steps=5, transition=True))
    assert np.shape(video) == (70, 64, 64, 3)
    assert np.isfinite(video).all()
