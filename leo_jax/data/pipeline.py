"""Batches for training: a global shuffle an epoch, split over processes, with a position that outlives them.

Example number p of the run (p counts over all epochs and processes) is a function of (seed, p) alone, and batch k holds
the examples k·B to k·B + B - 1 in this order, process i taking the i-th block. So the global batches are the same for
any number of processes, threads and workers, and the position of all of them is one number.
"""

import dataclasses
import functools
import math
import pathlib
import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import grain
import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import DTypeLike

from leo_jax import processes
from leo_jax.data import augment, records
from leo_jax.data.source import TFRecordSource
from leo_jax.data.tfrecord import DamagedRecord
from leo_jax.data.workers import end_with_parent

_POSITION = "global_next_index"
_PLENTY = 2**40  # batches: more than any run
COLOUR = "colour"  # of a batch: the amounts by which colours are to be changed
SQUARE = "square"  # of a batch: top, left and side of what is to be cut out of each pair's frames
SKIPPED = "input_skipped"  # of a batch: which examples stand in for unreadable ones
TRIES = 100  # others that are tried in place of an unreadable thing
SHARED = pathlib.Path("/dev/shm")
IN_FLIGHT = 7  # batches of each worker that lie in shared memory at most: 6.3 were seen
DICE = 8  # uniform numbers an example may use; a multiple of 4, Philox's block


class Spec(NamedTuple):
    """Shape and type of one array of an example."""

    shape: tuple[int, ...]
    dtype: DTypeLike = np.uint8


@runtime_checkable
class Example(Protocol):
    """One kind of example: what it is drawn from, which arrays it has, and how they come about."""

    def __len__(self) -> int:
        """Number of things (records, frames) to draw from; an epoch visits each once."""

    @property
    def arrays(self) -> Mapping[str, Spec]:
        """The arrays of one example."""

    def fill(self, i: int, dice: Float[np.ndarray, "8"], out: Mapping[str, np.ndarray]) -> None:
        """Makes an example of thing i, as the dice want it, in `out`."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Draws two distinct frames of a record, uniformly among those a multiple of `stride` apart, and augments them.

    Frames are of `size`; of an augmentation that crops, as large as they are stored (as the first readable one), for the device
    to crop.
    """

    source: TFRecordSource
    size: int
    augmentation: augment.Augmentation
    stride: int = 1

    def __post_init__(self):
        counts = self.source.frame_counts
        if not len(counts):
            raise ValueError("no records to train on")
        if counts.min() <= self.stride:
            raise ValueError(
                f"record {counts.argmin()} has {counts.min()} frames, pairs at stride {self.stride} need "
                f"{self.stride + 1}: lower data.stride, or prepare with --min_frames={self.stride + 1}"
            )

    def __len__(self) -> int:
        return len(self.source)

    @functools.cached_property
    def side(self) -> int:
        """Of the frames in a batch, in pixels."""
        return self.size if self.augmentation.crop == 1 else _stored_side(self.source)

    @property
    def arrays(self) -> Mapping[str, Spec]:
        """See `arrays_of_pair`."""
        return arrays_of_pair(self.side, self.augmentation)

    def fill(self, i: int, dice: Float[np.ndarray, "8"], out: Mapping[str, np.ndarray]) -> None:
        """Draws from record i; only the two frames are read."""
        s, d = choose_pair(int(self.source.frame_counts[i]), self.stride, *dice[:3].tolist())
        drawn = augment.draw(self.augmentation, dice[3:])
        for name, t in (("source", s), ("driving", d)):
            augment.decode(self.source.frame(i, t), out[name])
            if drawn.flip:
                augment.flip(out[name])
        if COLOUR in out:
            out[COLOUR][:] = drawn.amounts
        if SQUARE in out:
            out[SQUARE][:] = augment.square(self.augmentation, drawn, self.side)


def _stored_side(source: TFRecordSource) -> int:
    """Of the frames of a source. Raises DamagedRecord if none of the first TRIES records can be read."""
    for i in range(min(len(source), TRIES)):
        try:
            return len(records.decode_frame(source.frame(i, 0)))
        except DamagedRecord as error:
            last = error
    raise last


def arrays_of_pair(side: int, augmentation: augment.Augmentation) -> dict[str, Spec]:
    """Two square frames; the amounts of `augment.CHANGES` if colours change, top, left and side of the crop if there is one."""
    arrays = {name: Spec((side, side, 3)) for name in ("source", "driving")}
    if augmentation.colour:
        arrays[COLOUR] = Spec((len(augment.CHANGES),), np.float32)
    if augmentation.crop != 1:
        arrays[SQUARE] = Spec((3,), np.float32)
    return arrays


def pairs(
    source: TFRecordSource,
    *,
    batch_size: int,
    seed: int,
    size: int,
    process_index: int = 0,
    process_count: int = 1,
    augmentation: str | augment.Augmentation = "none",
    stride: int = 1,
    workers: int = 0,
    threads: int | None = None,
    on_corrupt: str = "raise",
) -> "Batches":
    """Endless batches of frame pairs, this process's part of each.

    Args:
      source: the records; each needs more than `stride` frames, which must be square.
      batch_size: over all processes.
      seed: of the order, the frames and the augmentation.
      size: side of the frames to train on, in pixels.
      process_index: of this process.
      process_count: of the run.
      augmentation: a name from `augment.AUGMENTATIONS`, or one of your own.
      stride: the two frames lie a multiple of this apart.
      workers: processes that read and decode; 0 does it in threads of this one, which is enough for a few cores.
      threads: in each process; default the number of cores over workers, at most 16.
      on_corrupt: see `Batches`.

    Yields:
      {'source', 'driving'}: uint8 (b, size, size, 3) each, b = batch_size / process_count, their colours still as they were. An
      augmentation of colours adds 'colour': float32 (b, 4), the amounts for `ops.colour.change`; one that crops leaves frames as
      large as they are stored, and adds 'square': float32 (b, 3), for `ops.crop.resized`.

    Raises:
      ValueError: the batch does not divide, a record is too short, a name is unknown; DamagedRecord while reading.
    """
    if isinstance(augmentation, str):
        if augmentation not in augment.AUGMENTATIONS:
            raise ValueError(f"unknown augmentation {augmentation!r}: one of {sorted(augment.AUGMENTATIONS)}")
        augmentation = augment.AUGMENTATIONS[augmentation]
    example = Pair(source, size, augmentation, stride)
    return Batches(
        example, batch_size, seed, process_index, process_count, workers=workers, threads=threads, on_corrupt=on_corrupt
    )


def fixed(example: Example, number: int, seed: int) -> dict[str, np.ndarray]:
    """`number` examples of things spread evenly over all there are: a function of the arguments alone, to measure by."""
    chosen = np.linspace(0, len(example), number, endpoint=False).astype(int)
    return _stacked(example, zip(chosen.tolist(), throw(seed, 0, number), strict=True), number)


def choose_pair(count: int, stride: int, phase: float, first: float, second: float) -> tuple[int, int]:
    """Two distinct frames of `count`, a multiple of `stride` apart, all such ordered pairs equally likely.

    `phase`, `first` and `second` are uniform in [0, 1).
    """
    lengths = [len(range(p, count, stride)) for p in range(stride)]
    pairs_of = [n * (n - 1) for n in lengths]
    p, left = 0, phase * sum(pairs_of)
    while left >= pairs_of[p]:
        left -= pairs_of[p]
        p += 1
    a, b = int(first * lengths[p]), int(second * (lengths[p] - 1))
    b += b >= a
    return p + stride * a, p + stride * b


class Batches:
    """An endless iterator over this process's part of every batch, with a position to save."""

    def __init__(
        self,
        example: Example,
        batch_size: int,
        seed: int,
        process_index: int = 0,
        process_count: int = 1,
        *,
        workers: int = 0,
        threads: int | None = None,
        on_corrupt: str = "raise",
    ):
        """Every epoch visits all that `example` is drawn from, in a new order.

        `on_corrupt` is what to do about a damaged record: 'raise' DamagedRecord, or 'skip' it: another one, drawn by the
        number of the damaged one alone, takes its place, and `input_skipped` of the batch, bool (b,), says where.
        """
        if on_corrupt not in ("raise", "skip"):
            raise ValueError(f"on_corrupt {on_corrupt!r}: 'raise' or 'skip'")
        if batch_size < 1 or batch_size % process_count:
            raise ValueError(f"batch_size {batch_size} is for all {process_count} processes: it must divide by them")
        self._example = example
        self._batch_size, self._seed = batch_size, seed
        self._process_index, self._process_count = process_index, process_count
        self._workers, self._skip = workers, on_corrupt == "skip"
        self._threads = threads or max(1, min(16, processes.cores() // max(workers, 1)))
        self._next = 0
        self._iterator: grain.DatasetIterator | None = None

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self._iterator is None:
            self._iterator = self._start()
        batch = next(self._iterator)
        self._next += self._batch_size
        return batch

    def get_state(self) -> dict[str, int]:
        """The position, to be saved as JSON: the same on all processes, good for any number of them."""
        return {_POSITION: self._next}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to a position that `get_state` gave, here or in a run of other processes and batch size."""
        self.close()
        self._next = int(state[_POSITION])

    def skip(self, count: int) -> None:
        """Passes over the next `count` batches, unread."""
        self.set_state({_POSITION: self._next + count * self._batch_size})

    def close(self) -> None:
        """Stops threads and workers; the next batch starts them again."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

    def _start(self) -> grain.DatasetIterator:
        local = self._batch_size // self._process_count
        batches = _LocalBatches(
            self._example,
            self._seed,
            stride=self._batch_size,
            first=self._next + self._process_index * local,
            count=local,
            skip=self._skip,
            in_workers=self._workers > 0,
        )
        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=self._threads + 1)
        dataset = grain.MapDataset.source(batches).to_iter_dataset(options)
        if self._workers:
            _check_room(self._example.arrays, local, self._workers)
            _parse_flags()
            dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(self._workers, per_worker_buffer_size=2))
        return iter(dataset)


@dataclasses.dataclass(frozen=True)
class _LocalBatches:
    """Batch k of one process: the examples from `first` + k·`stride` on, `count` of them.

    The unit of Grain's work is a batch, not an example: its own cost an element is then paid once a batch.
    """

    example: Example
    seed: int
    stride: int
    first: int
    count: int
    skip: bool = False
    in_workers: bool = False  # whether batches are made in processes that work for this one

    def __len__(self) -> int:
        return _PLENTY

    def __getitem__(self, k: int) -> dict[str, np.ndarray]:
        if self.in_workers:
            end_with_parent()
        start, number = self.first + k * self.stride, len(self.example)
        chosen = [record_at(start + row, number, self.seed) for row in range(self.count)]
        drawn = zip(chosen, throw(self.seed, start, self.count), strict=True)
        return _stacked(self.example, drawn, self.count, skip=self.skip)


def _stacked(
    example: Example, drawn: Iterable[tuple[int, Float[np.ndarray, "8"]]], count: int, *, skip: bool = False
) -> dict[str, np.ndarray]:
    """`count` examples, of things and dice, stacked; with `skip`, SKIPPED says which ones are of other things."""
    batch = {name: np.empty((count, *spec.shape), spec.dtype) for name, spec in example.arrays.items()}
    skipped = np.zeros(count, bool)
    for row, (i, dice) in enumerate(drawn):
        out = {name: array[row, ...] for name, array in batch.items()}
        if skip:
            skipped[row] = _filled(example, i, dice, out) != i
        else:
            example.fill(i, dice, out)
    return {**batch, SKIPPED: skipped} if skip else batch


def _filled(example: Example, i: int, dice: Float[np.ndarray, "8"], out: Mapping[str, np.ndarray]) -> int:
    """Makes an example of thing i, or of another one if i is damaged; returns which. Raises DamagedRecord in the end."""
    chosen = i
    for attempt in range(TRIES):
        try:
            example.fill(chosen, dice, out)
            return chosen
        except DamagedRecord as error:
            _tell(str(error))
            last = error
        chosen = stand_in(i, attempt, len(example))
    raise last


def stand_in(i: int, attempt: int, number: int) -> int:
    """Which of `number` things to try in place of i: uniform, so that no neighbour of damage is seen more than others."""
    return int(np.random.Generator(np.random.Philox(key=[i, attempt])).integers(number))


@functools.lru_cache(maxsize=1000)
def _tell(text: str) -> None:
    """Says it once."""
    print(f"left out: {text}", file=sys.stderr, flush=True)


def record_at(position: int, num_records: int, seed: int) -> int:
    """The record of example number `position`: every epoch is a permutation of all records, each one another."""
    epoch, place = divmod(position, num_records)
    return int(_permutation(epoch, num_records, seed)[place])


def throw(seed: int, start: int, count: int) -> Float[np.ndarray, "count 8"]:
    """The dice of examples `start` to `start` + `count` - 1, uniform in [0, 1); row p depends on (seed, p) alone."""
    counter = [start * DICE // 4, 0, 0, 0]
    return np.random.Generator(np.random.Philox(key=[seed, 0], counter=counter)).random((count, DICE))


@functools.lru_cache(maxsize=4)
def _permutation(epoch: int, num_records: int, seed: int) -> Int64[np.ndarray, " n"]:
    return np.random.Generator(np.random.Philox(key=[seed, 1], counter=[0, epoch, 0, 0])).permutation(num_records)


def _check_room(arrays: Mapping[str, Spec], batch_size: int, workers: int) -> None:
    """Raises OSError if shared memory, through which workers hand batches over, is too small: else they die of SIGBUS."""
    batch = batch_size * sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in arrays.values())
    needed, free = workers * IN_FLIGHT * batch, shutil.disk_usage(SHARED).free if SHARED.exists() else math.inf
    if free < needed:
        raise OSError(
            f"{SHARED} has room for {free / 1e6:.0f} MB, and {workers} workers may need {needed / 1e6:.0f} MB there to hand over "
            f"batches of {batch_size}: give it memory (docker run --ipc=host; in Kubernetes an emptyDir of medium Memory), or "
            f"take fewer --config.data.workers"
        )


def _parse_flags() -> None:
    """Grain's workers want absl's flags parsed, which nobody has done in a notebook."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
