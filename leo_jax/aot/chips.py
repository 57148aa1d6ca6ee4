"""Published figures of accelerators, and the names of their slices.

TPUs: Google's Cloud TPU documentation (v4, v5e, v5p, v6e). GPUs: NVIDIA's data sheets, SXM modules, dense bfloat16.
"""

import dataclasses
import math
import re
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip's figures; a JAX device each.

    Attributes:
        name: what it is called here.
        platform: JAX's.
        flops: peak multiply-adds in bfloat16, as FLOP/s.
        flops32: in float32 at full precision: what of a TPU's peak is left when each product takes six of bfloat16, or a GPU's
            published float32.
        memory: bytes of HBM.
        bandwidth: of HBM, bytes/s.
        link: bytes/s that it sends to its neighbours over all its links together (half of a bidirectional figure).
        network: bytes/s that it sends out of its host; the same as `link` where one torus spans the hosts.
        host: chips of a host.
        cores: what a slice's published name counts for each chip.
    """

    name: str
    platform: str
    flops: float
    flops32: float
    memory: float
    bandwidth: float
    link: float
    network: float
    host: int
    cores: int = 1


CHIPS: Mapping[str, Chip] = {
    chip.name: chip
    for chip in (
        Chip("v4", "tpu", 275e12, 275e12 / 6, 32.0 * 2**30, 1200e9, 300e9, 300e9, 4, cores=2),
        Chip("v5e", "tpu", 197e12, 197e12 / 6, 16e9, 819e9, 200e9, 200e9, 8),
        Chip("v5p", "tpu", 459e12, 459e12 / 6, 95.0 * 2**30, 2765e9, 600e9, 600e9, 4, cores=2),
        Chip("v6e", "tpu", 918e12, 918e12 / 6, 32e9, 1638e9, 400e9, 400e9, 8),
        Chip("a100", "cuda", 312e12, 19.5e12, 80e9, 2039e9, 300e9, 25e9, 8),
        Chip("h100", "cuda", 989e12, 67e12, 80e9, 3350e9, 450e9, 50e9, 8),
    )
}

FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
CUBES = {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8", 256: "4x8x8", 512: "8x8x8"}
SHAPES = {"v4": CUBES, "v5e": FLAT, "v5p": CUBES, "v6e": FLAT}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips that are connected: `shape` is the torus of TPUs, (1, hosts, GPUs of a host) of GPUs."""

    chip: Chip
    shape: tuple[int, ...]

    @property
    def devices(self) -> int:
        """How many chips."""
        return math.prod(self.shape)

    @property
    def topology(self) -> str:
        """JAX's name of the shape."""
        sizes = "x".join(map(str, self.shape))
        return f"{self.chip.name}:{sizes}" if self.chip.platform == "tpu" else sizes

    @property
    def link(self) -> float:
        """Bytes/s that bound a collective over all chips.

        Of GPUs the hosts' network where the slice leaves a host. Of TPUs what the chip with the fewest links has: two along
        a side that closes to a ring, one at the end of a side that does not. Sides of 16 close where slices are flat; where
        they are cubes all do from 4x4x4 on.
        """
        if self.chip.platform != "tpu":
            return self.chip.link if self.devices <= self.chip.host else self.chip.network
        flat = len(self.shape) == 2
        closed = [side >= 16 if flat else all(n % 4 == 0 for n in self.shape) for side in self.shape]
        links = sum(0 if side == 1 else 2 if ring else 1 for side, ring in zip(self.shape, closed, strict=True))
        return self.chip.link * max(links, 1) / (2 * len(self.shape))


def parse(name: str) -> Slice:
    """The slice that is called 'v5e-256', 'v5litepod-256', 'v5e:16x16', 'v4-128' or 'h100-8'.

    After a hyphen stands what Google's names count: chips of v5e and v6e, TensorCores (two a chip) of v4 and v5p; GPUs
    else. After a colon stands the shape.

    Raises:
        ValueError: there is no such chip, or no such slice of it.
    """
    found = re.fullmatch(r"([a-z0-9]+)(?:-(\d+)|:(\d+(?:x\d+)*))", name.strip().lower().replace("v5litepod", "v5e"))
    if found is None or found[1] not in CHIPS:
        raise ValueError(
            f"topology {name!r}: one of {', '.join(CHIPS)}, then -N or :AxB, as in v5e-256, v5e:16x16, h100-8"
        )
    chip = CHIPS[found[1]]
    if found[3]:
        shape = tuple(map(int, found[3].split("x")))
        sides = {"cuda": 3}.get(chip.platform) or (2 if SHAPES[chip.name] is FLAT else 3)
        if len(shape) != sides or 0 in shape:
            raise ValueError(f"topology {name!r}: {chip.name} has {sides} sides, as in {_example(chip)}")
        return Slice(chip, shape)
    count = int(found[2])
    if chip.platform == "cuda":
        if count < 1 or (count > chip.host and count % chip.host):
            raise ValueError(f"topology {name!r}: up to {chip.host} GPUs, or whole hosts of {chip.host}")
        return Slice(chip, (1, max(count // chip.host, 1), min(count, chip.host)))
    shapes = SHAPES[chip.name]
    if count % chip.cores or count // chip.cores not in shapes:
        sizes = ", ".join(f"{chip.name}-{chips * chip.cores}" for chips in shapes)
        raise ValueError(f"topology {name!r}: {sizes}, or a shape, as in {_example(chip)}")
    return Slice(chip, tuple(map(int, shapes[count // chip.cores].split("x"))))


def _example(chip: Chip) -> str:
    return f"{chip.name}:1x2x8" if chip.platform == "cuda" else f"{chip.name}:{SHAPES[chip.name][16]}"
