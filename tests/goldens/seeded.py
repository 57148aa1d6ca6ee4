"""Weights and images of the golden files, drawn from their names: nothing large has to be stored.

Every tensor is float32 and depends only on (seed, name): see README.md for what the files hold.
"""

import zlib

import numpy as np


def tensor(name, shape, seed=0):
    g = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    return g.standard_normal(tuple(shape)).astype(np.float32)


def lia_weight(name, shape, seed=0):
    x = tensor(name, shape, seed)
    if name.endswith("modulation.bias"):
        return (1 + 0.1 * x).astype(np.float32)
    if name.endswith("noise.weight"):
        return 0.1 * x
    if name.endswith("bias"):
        return (0.1 * x).astype(np.float32)
    if "to_flows" in name and name.endswith("conv.weight"):
        return (0.1 * x).astype(np.float32)
    return x


def unet1d_weight(name, shape, seed=0):
    x = tensor("unet1d." + name, shape, seed)
    if name.endswith("bias"):
        return (0.02 * x).astype(np.float32)
    if len(shape) == 1:
        return (1 + 0.1 * x).astype(np.float32)  # group norm scale
    return (x / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def vgg_weight(name, shape, seed=0):
    x = tensor("vgg19." + name, shape, seed)
    if name.endswith("bias"):
        return (0.05 * x).astype(np.float32)
    return (x * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)


def image(name, shape, seed=0):
    """smooth image in [-1,1], NHWC: sum of 6 random sinusoids per channel"""
    b, h, w, c = shape
    g = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    y, x = np.meshgrid(np.arange(h) / h, np.arange(w) / w, indexing="ij")
    out = np.zeros(shape)
    for i in range(b):
        for k in range(c):
            for _ in range(6):
                fx, fy = g.uniform(-4, 4, 2)
                ph = g.uniform(0, 2 * np.pi)
                out[i, :, :, k] += np.sin(2 * np.pi * (fx * x + fy * y) + ph) / 4
    return np.clip(out, -1, 1).astype(np.float32)
