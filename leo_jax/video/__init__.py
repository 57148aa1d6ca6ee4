"""Video files: reading, writing and resizing frames, which are RGB uint8 (h, w, 3) everywhere.

A video is a file (mp4, mov, avi, mkv, webm, gif and whatever else FFmpeg opens) or a folder of image files in the order
of the numbers in their names.
"""

from leo_jax.video.reading import (
    FOLDER_FPS,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    BadVideo,
    VideoInfo,
    excused,
    frame_files,
    natural_key,
    on_white,
    probe,
    read_at,
    read_frames,
    read_numbers,
    resize,
)
from leo_jax.video.timing import Timeline
from leo_jax.video.writing import VideoWriter, partial_path

COMPANIONS = (
    ".codes.npz",
    ".grid.png",
)  # ends of names of what `leo sample` writes beside videos: no videos themselves

__all__ = [
    "COMPANIONS",
    "FOLDER_FPS",
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "BadVideo",
    "Timeline",
    "VideoInfo",
    "VideoWriter",
    "excused",
    "frame_files",
    "natural_key",
    "on_white",
    "partial_path",
    "probe",
    "read_at",
    "read_frames",
    "read_numbers",
    "resize",
]
