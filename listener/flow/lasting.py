"""Questions that go on when who asked has given up: a sender comes again, and finds the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Lasting(Generic[K, T]):
    """Asks each question once for all who ask it meanwhile. An answer is kept for a while, an error is not."""

    def __init__(self, *, seconds: float = 30, most: int = 200) -> None:
        self._seconds = seconds
        self._most = most
        self._asked: dict[K, asyncio.Task[T]] = {}

    async def ask(self, question: K, answer: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = self._asked.get(question)
        if task is None:
            if len(self._asked) >= self._most:
                return await answer()
            task = self._asked[question] = asyncio.create_task(answer(), name=f"question about {question}")
            task.add_done_callback(partial(self._answered, question))
        return await asyncio.shield(task)

    def _answered(self, question: K, task: asyncio.Task[T]) -> None:
        if task.cancelled() or task.exception():
            del self._asked[question]
        else:
            asyncio.get_running_loop().call_later(self._seconds, self._asked.pop, question)
