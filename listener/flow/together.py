"""Several pieces of work at once, so that one that fails takes no other along."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")

_AT_ONCE = 32


async def together(works: Iterable[Awaitable[T]]) -> Sequence[T | BaseException]:
    """Do all, so many at once, and return what each returned or raised. One alone, as is usual, needs no task."""
    found = list(works)
    answers: list[T | BaseException] = [asyncio.CancelledError()] * len(found)
    waiting = iter(enumerate(found))

    async def work() -> None:
        for number, each in waiting:
            try:
                answers[number] = await each
            except Exception as error:
                answers[number] = error

    if len(found) == 1:
        await work()
    else:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(_AT_ONCE, len(found))):
                workers.create_task(work())
    return answers
