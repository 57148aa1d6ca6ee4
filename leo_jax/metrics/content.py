"""ACD, average content distance: how far a person's identity wanders within a video (Tulyakov et al. 2018)."""

from collections.abc import Mapping
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from leo_jax.data.puppets import unpack_silhouette
from leo_jax.metrics.features import OverDevices, tree_fingerprint
from leo_jax.metrics.preprocess import bilinear
from leo_jax.metrics.video_set import Video
from leo_jax.models.frozen import reid
from leo_jax.models.frozen.face import FaceNet
from leo_jax.ops.resample import by_matrices
from leo_jax.video import BadVideo

FACE_SIZE = 128  # px: what the paper measured; faces are not aligned
BINS = 8  # of a puppet's colour histogram, along each of red, green, blue
DIFFERENT = 24  # levels of 255 that tell a puppet from the known background


def average_distance(features: Float[np.ndarray, "t d"] | Float[Array, "t d"]) -> Float[Array, ""]:
    """Mean L2 distance between the features of all pairs of different frames of one video; 0 for a single frame."""
    x = jnp.asarray(features, jnp.float32)
    t = len(x)
    distances = jnp.linalg.norm(x[:, None] - x[None], axis=-1)
    return distances.sum() / max(t * (t - 1), 1)


class ContentNetwork:
    """ACD of clips by an identity network; a `features.Network` whose one feature is the clip's ACD, so it is cached too."""

    def __init__(self, kind: str, params: Mapping[str, Any], *, unit_vectors: bool | None = None, batch_size: int = 1):
        """Prepares the network.

        Args:
          kind: "face" (InceptionResnetV1, 512-d unit vectors, frames at 128 px) or "body" (Market-1501 ResNet-50, 2048-d,
            frames at 288x144 px).
          params: of that network, see `leo_jax.convert.face` and `leo_jax.convert.reid`.
          unit_vectors: divide features by their length; None does so for faces only, as the paper's numbers ask.
          batch_size: clips at once over all devices; at least one for each.
        """
        networks = {"face": FaceNet().apply, "body": reid.ReID().apply}
        if kind not in networks:
            raise ValueError(f"kind={kind!r} is none of {sorted(networks)}")
        unit = kind == "face" if unit_vectors is None else unit_vectors
        resize = {"face": _to_face, "body": _to_body}[kind]

        def run(params, clips):
            b, t, h, w, _ = clips.shape
            features = networks[kind]({"params": params}, resize(clips.reshape(b * t, h, w, 3)))
            if unit:
                features = features / jnp.maximum(jnp.linalg.norm(features, axis=1, keepdims=True), 1e-12)
            return jax.vmap(average_distance)(features.reshape(b, t, -1))[:, None]

        self._run = OverDevices(run, params, batch_size)
        self.batch_size = self._run.batch_size
        self.fingerprint = f"acd of {kind}s, unit vectors {unit}, {tree_fingerprint(params)}"

    def __call__(self, clips: UInt8[np.ndarray, "n t h w 3"]) -> Float[np.ndarray, "n 1"]:
        """The ACD of each clip."""
        return self._run(clips)


def _to_face(frames: UInt8[Array, "n h w 3"]) -> Float[Array, "n 128 128 3"]:
    """Frames in [-1, 1] at 128 px: bilinear, half-pixel centres, no antialias, as everywhere here."""
    x = frames.astype(jnp.float32) / 127.5 - 1
    return by_matrices(x, *(bilinear(n, FACE_SIZE) for n in frames.shape[1:3]))


def _to_body(frames: UInt8[Array, "n h w 3"]) -> Float[Array, "n 288 144 3"]:
    """Frames in [-1, 1] at 288x144 px: bicubic with antialias, as pose-evaluation's Pillow resize."""
    x = frames.astype(jnp.float32) / 127.5 - 1
    planes = jnp.moveaxis(x, 3, 0)  # channels outermost, as `by_matrices` says why
    resized = jax.image.resize(planes, (3, len(frames), *reid.SIZE), "cubic", antialias=True, precision="highest")
    return jnp.moveaxis(resized, 0, 3)


class PuppetTruth:
    """Who a puppet is, from a record's ground truth: the colours inside its silhouettes, in front of a known background.

    The camera of puppets stands still, so what differs from the background in another video of the same scene is the
    person. No network is needed, and the person's pose may be any.
    """

    def __init__(self, frames: UInt8[np.ndarray, "t h w 3"], silhouette: Bool[np.ndarray, "t h w"]):
        """Takes background and colours from a true video.

        Args:
          frames: of the true video.
          silhouette: the person's masks in it.
        """
        self.always_hidden = np.asarray(silhouette.all(axis=0))
        seen = np.where(silhouette[..., None], np.nan, frames.astype(np.float32))
        with np.errstate(all="ignore"):
            median = np.full(frames.shape[1:], np.nan, np.float32)
            median[~self.always_hidden] = np.nanmedian(seen[:, ~self.always_hidden], axis=0)
        self.background = median
        self.colours = histogram(frames[_inner(silhouette)])

    def person(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Bool[np.ndarray, "t h w"]:
        """Where each frame shows something other than the background; what no true frame shows counts as the person's."""
        difference = np.abs(frames.astype(np.float32) - self.background[None]).max(axis=-1)
        return _inner(self.always_hidden[None] | (difference > DIFFERENT))

    def features(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t d"]:
        """The person's colours in each frame, as unit vectors."""
        masks = self.person(frames)
        return np.stack([histogram(frame[mask]) for frame, mask in zip(frames, masks, strict=True)])

    def distance(self, frames: UInt8[np.ndarray, "t h w 3"]) -> float:
        """Mean L2 distance, from 0 to √2, of the frames' person to the true one."""
        return float(np.linalg.norm(self.features(frames) - self.colours[None], axis=1).mean())


def puppet_truth(video: Video) -> PuppetTruth:
    """Who the puppet of a prepared record is. Raises BadVideo for a video without that ground truth."""
    truth = video.truth() if video.truth is not None else {}
    if "silhouette" not in truth:
        raise BadVideo(video.name, "carries no silhouettes: identity by ground truth needs a prepared set of puppets")
    frames = np.asarray(video.read(range(video.length)), np.uint8)
    return PuppetTruth(frames, unpack_silhouette(truth["silhouette"], video.height, video.width))


def histogram(colours: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, " d"]:
    """Square root of the colours' histogram: a unit vector, whose distances are Hellinger's. Zero for no colours.

    A colour is shared out between the eight cells around it, so that a slight change of shade makes a slight difference.
    """
    place = colours.astype(np.float32) / 255 * (BINS - 1)
    low = np.minimum(place.astype(int), BINS - 2)
    part = place - low
    counts = np.zeros(BINS**3)
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(corner, part, 1 - part), axis=1)
        counts += np.bincount((low + corner) @ [BINS * BINS, BINS, 1], weights=share, minlength=BINS**3)
    return np.sqrt(counts / max(len(colours), 1)).astype(np.float32)


def _inner(masks: Bool[np.ndarray, "t h w"]) -> Bool[np.ndarray, "t h w"]:
    """Masks without their outermost pixel, whose colour is mixed with the background's."""
    kernel = np.ones((3, 3), np.uint8)
    return np.stack([cv2.erode(mask.astype(np.uint8), kernel, borderValue=1) for mask in masks]).astype(bool)
