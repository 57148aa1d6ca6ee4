"""One piece of video as a `tf.train.Example`: what it holds and how its frames are encoded.

The proto classes come from tensorflow_datasets' TensorFlow-free copy; TensorFlow reads the result all the same.
"""

import contextlib
import dataclasses
import functools
import types
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import simplejpeg
from google.protobuf.message import DecodeError
from jaxtyping import UInt8

JPEG_QUALITY = 95
CHUNK = "chunk"  # name of the extra that a long clip's records carry: int32 (which one, of how many)
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_EXTRA = "extra/"


@dataclasses.dataclass(frozen=True)
class VideoRecord:
    """Consecutive frames of one video, encoded.

    `start` and `end` are the range in the source's own frames, end exclusive; `fps` is the rate of the frames held
    here. `extras` are named arrays of any shape and plain dtype (the puppets' ground truth, for instance).
    """

    id: str
    split: str
    fps: float
    source: str
    start: int
    end: int
    height: int
    width: int
    frames: tuple[bytes, ...]
    extras: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def encode(record: VideoRecord) -> bytes:
    """Serializes `record` as a `tf.train.Example`; equal records give equal bytes.

    Features: id, split, source (bytes), fps (float), start, end, height, width (int64), frames (list of bytes), and
    for each extra NAME: extra/NAME (raw little-endian bytes), extra/NAME/dtype, extra/NAME/shape.
    """
    values: dict[str, Any] = {name: [getattr(record, name)] for name in ("id", "split", "source")}
    values |= {name: [int(getattr(record, name))] for name in ("start", "end", "height", "width")}
    values |= {"fps": [float(record.fps)], "frames": record.frames}
    for name, value in record.extras.items():
        array = np.asarray(value)
        if array.dtype.kind not in "biufc":
            raise TypeError(f"record {record.id}: extra {name!r} has dtype {array.dtype}: only numbers are stored")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        values[_EXTRA + name] = [array.tobytes()]
        values[f"{_EXTRA}{name}/dtype"] = [array.dtype.str]
        values[f"{_EXTRA}{name}/shape"] = [int(n) for n in array.shape]
    example = _protos().example.Example()
    for name, value in values.items():
        example.features.feature[name].CopyFrom(_feature(value))
    return example.SerializeToString(deterministic=True)


def decode(serialized: bytes) -> VideoRecord:
    """The record in a serialized Example; its frames stay encoded (see `decode_frame`).

    Raises ValueError when the bytes are no Example of ours, naming what is missing.
    """
    example = _protos().example.Example()
    try:
        example.ParseFromString(serialized)
    except DecodeError as error:
        raise ValueError(f"{len(serialized)} bytes are not a tf.train.Example: {error}") from error
    feature = example.features.feature
    names = ("id", "split", "source", "fps", "start", "end", "height", "width", "frames")
    if missing := [name for name in names if name not in feature]:
        raise ValueError(f"not a video record: no feature {missing}, there are {sorted(feature)[:12]}")
    texts = {name: feature[name].bytes_list.value[0].decode() for name in ("id", "split", "source")}
    numbers = {name: feature[name].int64_list.value[0] for name in ("start", "end", "height", "width")}
    return VideoRecord(
        **texts,
        **numbers,
        fps=feature["fps"].float_list.value[0],
        frames=tuple(feature["frames"].bytes_list.value),
        extras={name: _extra(feature, name) for name in _extra_names(feature)},
    )


def frame_spans(serialized: bytes, frames: Sequence[bytes]) -> list[tuple[int, int]]:
    """(offset, length) of each of the record's frames inside its serialized bytes, for the index."""
    spans, position = [], 0
    for frame in frames:
        # Frames lie in order without overlap, so the first match after the last one always holds these very bytes.
        position = serialized.index(frame, position)
        spans.append((position, len(frame)))
        position += len(frame)
    return spans


def encode_frame(image: UInt8[np.ndarray, "h w 3"], lossless: bool = False) -> bytes:
    """RGB uint8 to JPEG (quality 95, full-resolution colour), or to PNG if `lossless`."""
    if lossless:
        ok, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if not ok:
            raise ValueError(f"PNG encoding failed for an image of shape {image.shape}")
        return encoded.tobytes()
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=JPEG_QUALITY, colorspace="RGB")


def decode_frame(encoded: bytes, memory: UInt8[np.ndarray, "h0 w0 3"] | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """JPEG or PNG to RGB uint8. Raises ValueError when the bytes are neither, or are cut short.

    `memory`, whose content is needed no more, is written over if the frame is a JPEG that fits into it.
    """
    if encoded.startswith(_PNG_MAGIC):
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"damaged PNG of {len(encoded)} bytes")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if memory is not None:
        with contextlib.suppress(ValueError):  # too small a memory, or damaged bytes: what follows tells
            return simplejpeg.decode_jpeg(encoded, "RGB", buffer=memory)
    try:
        return simplejpeg.decode_jpeg(encoded, "RGB")
    except ValueError as error:
        raise ValueError(f"neither PNG nor readable JPEG ({len(encoded)} bytes): {error}") from error


@functools.cache
def _protos() -> types.SimpleNamespace:
    """The proto modules; imported on first use, because that takes a second or two."""
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    return types.SimpleNamespace(example=tf_example_pb2, feature=tf_feature_pb2)


def _feature(values: Sequence[Any]) -> Any:
    """A Feature of the list type that fits the values."""
    protos = _protos().feature
    if values and isinstance(values[0], float):
        return protos.Feature(float_list=protos.FloatList(value=values))
    if values and isinstance(values[0], str | bytes):
        encoded = [value.encode() if isinstance(value, str) else value for value in values]
        return protos.Feature(bytes_list=protos.BytesList(value=encoded))
    return protos.Feature(int64_list=protos.Int64List(value=values))


def _extra_names(feature: Mapping[str, Any]) -> list[str]:
    dtypes = [name for name in feature if name.startswith(_EXTRA) and name.endswith("/dtype")]
    return sorted(name[len(_EXTRA) : -len("/dtype")] for name in dtypes)


def _extra(feature: Mapping[str, Any], name: str) -> np.ndarray:
    dtype = np.dtype(feature[f"{_EXTRA}{name}/dtype"].bytes_list.value[0].decode())
    shape = tuple(feature[f"{_EXTRA}{name}/shape"].int64_list.value)
    return np.frombuffer(feature[_EXTRA + name].bytes_list.value[0], dtype).reshape(shape).copy()
