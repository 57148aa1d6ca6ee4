"""Features: what is read, how often, what is kept; with a stand-in for I3D that any test can run."""

import dataclasses
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax.convert.i3d import from_package
from leo_jax.metrics import features, preprocess, videos
from leo_jax.metrics.clips import fake_clips, real_clips
from leo_jax.metrics.protocols import protocol
from leo_jax.models.frozen.i3d import I3D
from leo_jax.video import BadVideo

SMALL = protocol("digan-taichi", resolution=16)


class MeanColour:
    """Mean colour of the first and the last frame."""

    batch_size, fingerprint = 3, "mean colour"

    def __init__(self):
        self.seen = 0

    def __call__(self, clips):
        self.seen += len(clips)
        return clips[:, [0, -1]].mean(axis=(2, 3)).reshape(len(clips), 6).astype(np.float32)


def some(count=4, t=70, size=24):
    """Videos whose frame i is i everywhere, plus the video's number."""
    return [
        np.broadcast_to(np.arange(t, dtype=np.uint8)[:, None, None, None] + i, (t, size, size, 3)) for i in range(count)
    ]


def extract(found, clips, network, **options):
    return features.extract(found, clips, SMALL, network, **options)


def test_rows_follow_the_clips():
    found = videos.from_arrays(some(), groups=["a", "a", "b", "c"])
    clips = real_clips(found.lengths, SMALL)
    out = extract(found, clips[::-1], MeanColour())
    assert len(out.values) == 16 and out.clips == clips[::-1] and out.computed == 16
    for clip, row in zip(out.clips, out.values, strict=True):
        np.testing.assert_allclose(row, [clip.video + clip.start] * 3 + [clip.video + clip.start + 60] * 3)
    assert sorted(np.unique(out.groups, return_counts=True)[1]) == [4, 4, 8]


def test_each_video_is_read_once():
    reads = []
    found = videos.from_arrays(some(2))
    spied = [dataclasses.replace(v, read=lambda i, v=v: reads.append(v.name) or v.read(i)) for v in found.videos]
    found = dataclasses.replace(found, videos=tuple(spied))
    extract(found, real_clips(found.lengths, SMALL), MeanColour())
    assert reads == ["000000", "000001"]


def test_long_videos_are_read_in_parts(monkeypatch):
    found = videos.from_arrays([np.zeros((300, 24, 24, 3), np.uint8)])
    whole = extract(found, real_clips(found.lengths, SMALL), MeanColour())
    monkeypatch.setattr(features, "READ_BYTES", 24 * 24 * 3 * 70)
    np.testing.assert_array_equal(extract(found, real_clips(found.lengths, SMALL), MeanColour()).values, whole.values)


def test_cache_saves_the_work_and_knows_its_data(tmp_path):
    found, network = videos.from_arrays(some()), MeanColour()
    clips = real_clips(found.lengths, SMALL)
    first = extract(found, clips[:5], network, cache=tmp_path)
    assert network.seen == 5
    again = extract(found, clips, network, cache=tmp_path)
    assert network.seen == 16 and again.computed == 11, "only the new clips are computed"
    np.testing.assert_array_equal(again.values[:5], first.values)

    other = videos.from_arrays([a + 1 for a in some()])
    assert extract(other, clips, network, cache=tmp_path).computed == 16, "other data, other key"
    changed = SMALL.override(rounding="nearest")
    assert features.extract(found, clips, changed, network, cache=tmp_path).computed == 16, (
        "other preparation, other key"
    )
    counts = SMALL.override(count=7, trials=2, ddof=0)
    assert features.extract(found, clips, counts, network, cache=tmp_path).computed == 0, (
        "statistics do not touch features"
    )


def test_cached_features_belong_to_names(tmp_path):
    """Clips are kept by the number of their video: a set with a video more or less has other numbers."""
    found, network = videos.from_arrays(some(), names=list("bcde")), MeanColour()
    clips = fake_clips(found.lengths, SMALL)
    extract(found, clips, network, cache=tmp_path)
    fewer = dataclasses.replace(found, videos=found.videos[1:])
    again = extract(fewer, fake_clips(fewer.lengths, SMALL), network, cache=tmp_path)
    assert again.computed == 3
    np.testing.assert_array_equal(again.values, extract(found, clips[1:], network).values)


def test_networks_share_the_reading(tmp_path):
    """Two networks that want different clips: each gets its own, each video is read once, both are cached."""

    class Last(MeanColour):
        batch_size, fingerprint = 2, "last frame"

        def __call__(self, clips):
            self.seen += len(clips)
            return clips[:, -1].mean(axis=(1, 2)).astype(np.float32)

    reads = []
    found = videos.from_arrays(some(5))
    spied = [dataclasses.replace(v, read=lambda i, v=v: reads.append(v.name) or v.read(i)) for v in found.videos]
    found = dataclasses.replace(found, videos=tuple(spied))
    clips = fake_clips(found.lengths, SMALL)
    networks, told = (MeanColour(), Last()), []
    wanted = [(networks[0], clips), (networks[1], clips[1:3])]
    one, two = features.extract_all(found, wanted, SMALL, cache=tmp_path, progress=told.append)
    assert len(reads) == 5 and [network.seen for network in networks] == [5, 2] and sum(told) == 7
    np.testing.assert_allclose(one.values[:, 3], [60 + i for i in range(5)])
    np.testing.assert_allclose(two.values[:, 0], [61, 62])
    one, two = features.extract_all(found, [(networks[0], clips), (networks[1], clips)], SMALL, cache=tmp_path)
    assert (one.computed, two.computed) == (0, 3) and len(reads) == 8


def test_interrupted_work_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "SAVE_SECONDS", 0.0)
    found, network = videos.from_arrays(some()), MeanColour()
    clips = real_clips(found.lengths, SMALL)

    def stop(done):
        if network.seen >= 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(found, clips, network, cache=tmp_path, progress=stop)
    assert extract(found, clips, MeanColour(), cache=tmp_path).computed < 16


def test_unreadable_videos_are_named_or_left_out():
    found = videos.from_arrays(some(3))

    def broken(indices):
        raise BadVideo("000001", "cut short")

    found = dataclasses.replace(
        found, videos=(found.videos[0], dataclasses.replace(found.videos[1], read=broken), found.videos[2])
    )
    clips = real_clips(found.lengths, SMALL)
    with pytest.raises(BadVideo, match="000001: cut short"):
        extract(found, clips, MeanColour())
    out = extract(found, clips, MeanColour(), on_bad="skip")
    assert len(out.values) == 8 and out.skipped == [("000001", "cut short")]
    assert {clip.video for clip in out.clips} == {0, 2}


def test_mixed_sizes_are_refused_where_nothing_resizes():
    found = videos.from_arrays([np.zeros((20, 24, 24, 3), np.uint8), np.zeros((20, 30, 24, 3), np.uint8)])
    plain = protocol("styleganv-16f")
    clips = fake_clips(found.lengths, plain)
    with pytest.raises(BadVideo, match=r"000001: frames of \(30, 24\) px where others have \(24, 24\)"):
        features.extract(found, clips, plain, MeanColour())
    assert len(features.extract(found, clips, plain.override(resolution=16), MeanColour()).values) == 2


def test_a_video_shorter_than_it_says_is_refused():
    found = videos.from_arrays(some(1))
    short = dataclasses.replace(found.videos[0], length=134)
    found = dataclasses.replace(
        found, videos=(dataclasses.replace(short, read=lambda i: some(1)[0][[j for j in i if j < 70]]),)
    )
    with pytest.raises(BadVideo, match="70 of 128 frames could be decoded"):
        extract(found, real_clips(found.lengths, SMALL), MeanColour())


class MeanAndEpsilon(nn.Module):
    """In I3D's place: the mean of what it is given, and its epsilon."""

    epsilon: float

    @nn.compact
    def __call__(self, video):
        assert video.shape[2:] == (224, 224, 3)
        mean = video.mean(axis=(1, 2, 3)) + self.param("shift", nn.initializers.zeros, (1, 3))
        return jnp.concatenate([mean, jnp.full((len(video), 1), self.epsilon, jnp.float32)], axis=1)


def test_network_prepares_pads_and_passes_the_protocols_epsilon(monkeypatch):
    monkeypatch.setattr(features, "I3D", MeanAndEpsilon)
    clips = np.random.default_rng(0).integers(0, 256, (3, 9, 32, 48, 3), dtype=np.uint8)
    network = features.I3DNetwork({"shift": np.zeros((1, 3), np.float32)}, protocol("digan"), batch_size=4)
    assert network.batch_size == 4
    expected = clips[:, :, :, 8:40] / 127.5 - 1  # the short side's centred square, up to what bilinear does to means
    np.testing.assert_allclose(network(clips)[:, :3], expected.mean(axis=(1, 2, 3)), atol=2e-2)
    np.testing.assert_allclose(network(clips)[:, 3], 1e-5, rtol=1e-5)
    np.testing.assert_array_equal(network(clips[:1])[0], network(clips)[0], err_msg="padding changed a row")


@pytest.mark.slow
def test_network_runs_i3d():
    params = from_package()
    clip = np.random.default_rng(0).integers(0, 256, (1, 9, 32, 48, 3), dtype=np.uint8)
    network = features.I3DNetwork(params, protocol("digan", frames=9), batch_size=2)
    video = preprocess.to_network(jnp.asarray(clip), "short side")
    expected = jax.jit(I3D(epsilon=1e-5).apply)({"params": params}, video)
    np.testing.assert_allclose(network(clip), expected, atol=1e-4 * np.abs(expected).max())
    assert network.fingerprint == features.tree_fingerprint(params)


def test_several_devices_share_a_batch():
    """Four devices give what one gives, each taking its part of the batch."""
    code = """
import numpy as np
from leo_jax.metrics import features
from leo_jax.metrics.protocols import protocol
from tests.metrics.test_features import MeanAndEpsilon
features.I3D = MeanAndEpsilon
network = features.I3DNetwork({"shift": np.zeros((1, 3), np.float32)}, protocol("digan"), batch_size=5)
clips = np.random.default_rng(0).integers(0, 256, (7, 9, 16, 16, 3), dtype=np.uint8)
rows = np.concatenate([network(clips[:5]), network(clips[5:])])
total = features.OverDevices(lambda params, a, b: params["scale"] * (a - b).sum(axis=1), {"scale": np.float32(2)}, 3)
np.testing.assert_allclose(total(rows[:3], -rows[:3]), 4 * rows[:3].sum(axis=1), rtol=1e-5)
print(network.batch_size, rows.shape, f"{np.abs(rows).sum():.4f}", total.batch_size >= 3)
"""
    outputs = []
    for devices in (1, 4):
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **flags})
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.split(maxsplit=1))
    (one, values), (four, same) = outputs
    assert (one, four) == ("5", "8"), "the batch is a whole number of clips for each device"
    assert values == same
