"""Videos on several devices, and of any length in the same memory: each in a process of its own."""

import os
import subprocess
import sys

import numpy as np

from leo_jax import video
from tests import tiny_model

DEVICES = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[2]))
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
import numpy as np
import leo_jax
leo = leo_jax.load(sys.argv[1])
assert len(jax.devices()) == int(sys.argv[2])
codes = leo.sample_codes(frames=20, num=3, steps=2, transition=True)
frames = [np.asarray(f) for f in leo.generate(frames=5, steps=2)]
np.savez(sys.argv[3], codes=codes, frames=np.stack(frames), own=leo.codes(np.stack(frames)))
"""

# Peak memory of a process, after a short beginning and after thousands of frames.
LONG = """
import math, resource, sys
import numpy as np
import leo_jax
from leo_jax.sampling import recording, videos
leo = leo_jax.load(sys.argv[1])
image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
(made,) = videos.videos(leo.renderer, leo.sampler, image, frames=math.inf, steps=2, transition=True)
peaks = []

def moments():
    for number, moment in enumerate(made.moments):
        if number in (1000, 4000):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        if number == 4000:
            return
        yield moment

recording.record(made._replace(moments=moments()), sys.argv[2], fps=25.0)
print(*peaks)
"""


def run(code, *arguments):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_number_of_devices_changes_nothing_but_rounding(folder, tmp_path):
    found = []
    for count in (1, 4):
        run(DEVICES, folder, count, tmp_path / f"{count}.npz")
        with np.load(tmp_path / f"{count}.npz") as file:
            found.append({name: file[name] for name in file.files})
    for name, tolerance in (("codes", 1e-5), ("frames", 1e-3), ("own", 1e-3)):
        np.testing.assert_allclose(found[1][name], found[0][name], rtol=0, atol=tolerance, err_msg=name)


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    """Three thousand more frames would be 147 MB as floats and 37 MB as bytes."""
    # Without a drawn first image, whose attention over all pixels would set the peak at once and hide what follows.
    folder = tiny_model.write(tmp_path / "model", size=64, stages=("motion", "start", "transition"))
    early, late = map(float, run(LONG, folder, tmp_path / "long.mp4").split())
    assert late - early < 16, f"{late - early:.2f} MB more after 3000 more frames"
    assert video.probe(tmp_path / "long.mp4").frames == 4000
