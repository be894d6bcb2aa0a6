"""Fixtures of the mock provider's tests."""

import pytest
from tests.mockprovider.served import small_config

from tiebreak.mockprovider.config import MockConfig


@pytest.fixture
def config() -> MockConfig:
    """Two simulated and two recorded models over four questions."""
    return small_config()
