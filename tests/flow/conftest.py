"""Every test in this folder steps through time, and throws the same dice each time it runs."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from tests.stepped_time import SteppedLoop


def pytest_asyncio_loop_factories() -> Mapping[str, type[SteppedLoop]]:
    return {"stepped": SteppedLoop}


@pytest.fixture(autouse=True)
def _same_dice() -> None:
    """Delays are jittered, and the tails of what comes of that are long."""
    random.seed(1)
