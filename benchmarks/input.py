"""Frame pairs a second beside JPEG decoding alone, in the same process and at the same time.

    python benchmarks/input.py [--data DIR] [--size 256] [--threads 2] [--rounds 8]

Without --data it makes a small data set of textured frames first. Each round times decoding alone and every
augmentation one after the other, so that a busy machine slows them alike; the table gives the median rate, and the
median and range over rounds of the ratio to decoding in the same round: by wall clock, and by the CPU time used (which
other people's load disturbs less). The aim is 0.7.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from leo_jax import cpu
from leo_jax.data import pipeline, records
from leo_jax.data.source import TFRecordSource, open_split
from leo_jax.data.writing import write_dataset

BATCH = 16
Opened = Callable[[], contextlib.AbstractContextManager[Callable[[], int]]]


def textured(i: int, size: int, frames: int = 16) -> list[records.VideoRecord]:
    """A record of moving texture that takes about as many bytes as camera frames do."""
    rng = np.random.default_rng(i)
    big = np.zeros((2 * size, 2 * size, 3))
    for step in (4, 8, 16, 64, 256):
        coarse = rng.normal(0, 3.5 * step**0.45, (2 * size // step + 1, 2 * size // step + 1, 3))
        big += cv2.resize(coarse, (2 * size, 2 * size), interpolation=cv2.INTER_CUBIC)
    image = np.clip(big + 128, 0, 255).astype(np.uint8)
    encoded = tuple(records.encode_frame(image[2 * t : 2 * t + size, t : t + size]) for t in range(frames))
    return [records.VideoRecord(str(i), "train", 25.0, "texture", 0, frames, size, size, encoded)]


@contextlib.contextmanager
def decode_alone(source: TFRecordSource, threads: int) -> Iterator[Callable[[], int]]:
    """Opens a function that decodes frames held in memory, a batch of pairs a thread, and returns their number."""
    rng = np.random.default_rng(0)
    frames = [source.frame(i, rng.integers(source.frame_counts[i])) for i in rng.integers(len(source), size=256)]
    parts = [itertools.cycle(np.roll(np.array(frames, object), 97 * thread)) for thread in range(threads)]

    def work(part: Iterator[bytes]) -> int:
        for encoded in itertools.islice(part, 2 * BATCH):
            records.decode_frame(encoded)
        return BATCH

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        yield lambda: sum(pool.map(work, parts))


@contextlib.contextmanager
def batches(source: TFRecordSource, threads: int, size: int, augmentation: str) -> Iterator[Callable[[], int]]:
    """Opens a function that takes one batch and returns its number of pairs."""
    iterator = pipeline.pairs(source, batch_size=BATCH, seed=0, size=size, augmentation=augmentation, threads=threads)

    def step() -> int:
        next(iterator)
        return BATCH

    yield step
    iterator.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--split", default="train")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not flags.data:
            items = [(i, flags.size) for i in range(32)]
            write_dataset(folder, "texture", "train", items, lambda item: textured(*item), progress=False)
        source = open_split(flags.data or folder, flags.split)
        measured = {"decoding alone": functools.partial(decode_alone, source, flags.threads)}
        for name in ("none", "ted", "taichi"):
            measured[f"pairs, {name}"] = functools.partial(batches, source, flags.threads, flags.size, name)
        rates = measure(measured, flags.rounds, flags.seconds)
    sizes = np.concatenate([index.frame_lengths for index in source.indices])
    print(f"{len(source)} records, {len(sizes)} frames of {sizes.mean():.0f} bytes; {flags.threads} thread(s), "
          f"{flags.rounds} rounds of {flags.seconds} s")  # fmt: skip
    print(f"{'':16} {'pairs/s':>8} {'to decoding: wall':>24} {'CPU time':>20}")
    for name, rate in rates.items():
        ratio = rate / rates["decoding alone"]
        low, middle, high = ratio.min(0), np.median(ratio, 0), ratio.max(0)
        spread = [f"{middle[k]:.2f} ({low[k]:.2f} … {high[k]:.2f})" for k in (0, 1)]
        print(f"{name:16} {np.median(rate[:, 0]):8.0f} {spread[0]:>24} {spread[1]:>20}")


def measure(measured: dict[str, Opened], rounds: int, seconds: float) -> dict[str, np.ndarray]:
    """(rounds, 2) rates a name: pairs per second of wall clock and of CPU time."""
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, opened in measured.items():
            with opened() as step:
                for _ in range(8):  # starts threads, and takes what they made in advance
                    step()
                done, wall, cpu = 0, time.perf_counter(), time.process_time()
                while time.perf_counter() < wall + seconds:
                    done += step()
                rates[name].append((done / (time.perf_counter() - wall), done / (time.process_time() - cpu)))
    return {name: np.array(values) for name, values in rates.items()}


if __name__ == "__main__":
    cpu.restart()  # as the commands do
    main()
