"""What one delivery asks registries before it is stored: each question once, and all of them within one deadline.

The sender waits meanwhile, and gives up after a second or two. Whatever has no answer by then has none: the importer
goes on asking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog

from listener.core.manifests import Described
from listener.core.streams import Source, SpecTag, StreamKey
from listener.errors import ClusterError, RegistryError
from listener.flow.inquiry import Inquiry
from listener.flow.state import State

log = structlog.get_logger()

T = TypeVar("T")


class Questions:
    """Use as a context manager: what is still being asked at its end is given up."""

    def __init__(self, inquiry: Inquiry, state: State, *, seconds: float) -> None:
        self._inquiry = inquiry
        self._state = state
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._asked: dict[Hashable, asyncio.Task[Any]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def head(self, key: StreamKey, tag: str, source: Source, *, attempt: int = 1) -> Described | None:
        """Return where the registry has a stream's tag, None if it does not say so in time."""
        spec_tag = self._spec_tag(key, tag)
        insecure = bool(spec_tag and spec_tag.insecure)

        async def ask() -> Described:
            access = await self._inquiry.access(key.namespace, source.reference, insecure=insecure)
            question = (source, access, attempt)
            return await self._once(question, lambda: self._inquiry.head(source.reference, access))

        return await self._in_time(source, ask)

    async def image(self, key: StreamKey, tag: str, source: Source, described: Described) -> str | None:
        """Return what a stream's tag takes of an image, the whole of it unless it imports from there; None as above."""
        spec_tag = self._spec_tag(key, tag)
        if spec_tag is None or spec_tag.source() != source:
            return described.digest

        async def ask() -> str:
            access = await self._inquiry.access(key.namespace, source.reference, insecure=spec_tag.insecure)
            wish = (spec_tag.import_mode, spec_tag.prefer_os, spec_tag.prefer_architecture)
            question = (source, described, access, wish)
            return await self._once(
                question, lambda: self._inquiry.image(source.reference, described, spec_tag, access)
            )

        return await self._in_time(source, ask)

    async def _once(self, question: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task: asyncio.Task[T] | None = self._asked.get(question)
        if task is None:
            task = self._asked[question] = asyncio.create_task(ask(), name="question of a hook")
        return await asyncio.shield(task)

    async def _in_time(self, source: Source, ask: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await ask()
        except (RegistryError, ClusterError, TimeoutError) as error:
            log.info("hook.unconfirmed", source=str(source), reason=str(error) or "no answer in time")
            return None

    def _spec_tag(self, key: StreamKey, tag: str) -> SpecTag | None:
        stream = self._state.streams.get(key)
        return stream.spec_tag(tag) if stream else None
