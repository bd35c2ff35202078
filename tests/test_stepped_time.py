"""The clock that tests of flow run on can be trusted."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.stepped_time import Deadlock, SteppedLoop


def test_hours_pass_at_once_and_in_order() -> None:
    seen: list[tuple[float, str]] = []

    async def wait(seconds: float, name: str) -> None:
        await asyncio.sleep(seconds)
        seen.append((asyncio.get_running_loop().time(), name))

    async def scenario() -> None:
        await asyncio.gather(wait(7200, "last"), wait(3600, "second"), wait(1, "first"))

    started = time.monotonic()
    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        runner.run(scenario())
    assert [name for _, name in seen] == ["first", "second", "last"]
    assert [moment for moment, _ in seen] == pytest.approx([1, 3600, 7200])
    assert time.monotonic() - started < 5


def test_time_stands_still_while_there_is_work() -> None:
    async def scenario() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        assert runner.run(scenario()) == 0


def test_to_wait_for_nothing_fails_instead_of_hanging() -> None:
    async def scenario() -> None:
        await asyncio.Event().wait()

    runner = asyncio.Runner(loop_factory=SteppedLoop)
    with pytest.raises(Deadlock):
        runner.run(scenario())
    # What was left waiting is cancelled, and the loop can be closed.
    runner.close()
