"""Procedural videos of articulated people with exact ground truth: the built-in data set.

A puppet is a function of (seed, index): its body, clothes, face and background, its motion and its frames. Videos of a
data set's test split use indices from HELD_OUT on, so its people are never those of the training split.

Records carry, besides the frames, these arrays (`extras`):

- joints (t, j, 2) float32: joints in the frame, JOINT_NAMES, x then y, from 0 (left, top) to 1 (right, bottom);
- visibility (t, j) bool: in the frame and not hidden by another part of the body;
- silhouette (t, ceil(h·w / 8)) uint8: `numpy.packbits` of the person's mask in each frame, see `unpack_silhouette`;
- identity (s,) float32: IDENTITY_FIELDS, constant in a video;
- motion (t, a) float32: MOTION_FIELDS, what was asked of each joint and the hinge angles that followed;
- style () int32: index in STYLES.
"""

from leo_jax.data.puppets.appearance import IDENTITY_FIELDS
from leo_jax.data.puppets.dataset import extras, make_dataset, record, unpack_silhouette
from leo_jax.data.puppets.motion import STYLES
from leo_jax.data.puppets.skeleton import HINGES, JOINT_NAMES, MOTION_FIELDS
from leo_jax.data.puppets.video import HELD_OUT, PRESETS, PuppetVideo, render

__all__ = [
    "HELD_OUT",
    "HINGES",
    "IDENTITY_FIELDS",
    "JOINT_NAMES",
    "MOTION_FIELDS",
    "PRESETS",
    "STYLES",
    "PuppetVideo",
    "extras",
    "make_dataset",
    "record",
    "render",
    "unpack_silhouette",
]
