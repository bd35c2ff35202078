"""Every test in this folder steps through time."""

from __future__ import annotations

from collections.abc import Mapping

from tests.stepped_time import SteppedLoop


def pytest_asyncio_loop_factories() -> Mapping[str, type[SteppedLoop]]:
    return {"stepped": SteppedLoop}
