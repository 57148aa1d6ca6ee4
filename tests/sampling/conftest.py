"""A tiny model for all tests of sampling: written and loaded once, so that its programs are compiled once."""

import pytest

import leo_jax
from tests import tiny_model


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tiny_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def leo(folder):
    return leo_jax.load(folder)


@pytest.fixture(scope="session")
def without_lmc(tmp_path_factory):
    folder = tiny_model.write(tmp_path_factory.mktemp("ablation"), lmc=False)
    return leo_jax.load(folder)
