"""What is compiled is looked at, so it has to be what users get."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def as_users(optimised):
    """For all tests here."""
