"""Speed of the evaluation: I3D clips a second beside the rate of a plain matrix product, and the statistics.

    python benchmarks/evaluation.py [--batch=4] [--repeats=7]

The product and the network are timed in turn, so that what else the machine does falls on both; medians are printed.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from leo_jax import cpu
from leo_jax.convert.i3d import load
from leo_jax.metrics import uncertainty
from leo_jax.metrics.features import I3DNetwork
from leo_jax.metrics.frechet import frechet_distance
from leo_jax.metrics.kernel import kernel_distance
from leo_jax.metrics.protocols import protocol
from leo_jax.models.frozen.i3d import I3D

SIDE = 2048  # of the matrix product
CLIP = (16, 224, 224, 3)


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()

    params = load()
    clips = jnp.zeros((arguments.batch, *CLIP), jnp.float32)
    network = jax.jit(lambda params, clips: I3D().apply({"params": params}, clips)).lower(params, clips).compile()
    flops = network.cost_analysis()["flops"]
    matrix = jnp.ones((SIDE, SIDE), jnp.float32)
    product = jax.jit(lambda a: jnp.dot(a, a, precision="highest"))
    product(matrix).block_until_ready()
    network(params, clips).block_until_ready()
    rates, times = [], []
    for _ in range(arguments.repeats):
        pair = [seconds(lambda: product(matrix).block_until_ready())]
        times.append(seconds(lambda: network(params, clips).block_until_ready()))
        pair.append(seconds(lambda: product(matrix).block_until_ready()))
        rates.append(2 * SIDE**3 / statistics.mean(pair))
    ratios = [seconds_ * rate / flops for seconds_, rate in zip(times, rates, strict=True)]
    print(
        f"{jax.local_devices()[0].device_kind}, batch {arguments.batch} of {'x'.join(map(str, CLIP))}, float32 highest"
    )
    print("| what | value |\n| --- | --- |")
    print(f"| {SIDE}x{SIDE} product | {statistics.median(rates) / 1e9:.0f} GFLOP/s |")
    print(f"| I3D, {flops / arguments.batch / 1e9:.1f} GFLOP a clip | {statistics.median(times):.2f} s a batch |")
    print(f"| I3D | {arguments.batch / statistics.median(times):.2f} clips/s |")
    print(f"| I3D's time over the product's for as many operations (aim: 2.5) | {statistics.median(ratios):.2f} |")

    sent = I3DNetwork(params, protocol("digan-taichi"), arguments.batch)
    bytes_ = np.zeros((sent.batch_size, 16, 128, 128, 3), np.uint8)
    sent(bytes_)
    times = [seconds(lambda: sent(bytes_)) for _ in range(arguments.repeats)]
    print(f"| 128 px bytes to logits, resize included | {sent.batch_size / statistics.median(times):.2f} clips/s |")

    random = np.random.default_rng(0)
    real, fake = (random.normal(size=(2048, 400)).astype(np.float32) for _ in range(2))
    groups = np.arange(2048)
    for name, run in {
        "FVD of 2048 x 400 (aim: 2 s)": lambda: frechet_distance(real, fake),
        "KVD of 2048 x 400 (aim: 2 s)": lambda: kernel_distance(real, fake),
        "100 bootstrap draws of both": lambda: uncertainty.bootstrap(
            real, groups, fake, groups, ddof=1, draws=100, seed=0
        ),
        "FVD at N = infinity": lambda: uncertainty.extrapolate(real, fake, ddof=1, seed=0),
    }.items():
        repeats = 1 if "boot" in name or "inf" in name else arguments.repeats
        print(f"| {name} | {statistics.median(seconds(run) for _ in range(repeats)):.2f} s |")


if __name__ == "__main__":
    cpu.restart()  # as the commands do
    main()
