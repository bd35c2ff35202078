"""Many requests at once, and not too many."""

from __future__ import annotations

import asyncio

import pytest

from listener.cli.workloads import AT_ONCE, each
from listener.errors import ClusterUnavailable


async def test_no_more_are_under_way_than_may_be_and_the_results_keep_their_order() -> None:
    under_way, most = 0, 0

    async def work(value: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return -value

    assert await each(work, range(50)) == [-value for value in range(50)]
    assert most == AT_ONCE


async def test_the_first_failure_is_told_as_it_is() -> None:
    async def work(value: int) -> None:
        if value == 3:
            raise ClusterUnavailable("no answer")
        await asyncio.sleep(3600)

    with pytest.raises(ClusterUnavailable, match="no answer"):
        await each(work, range(5))
