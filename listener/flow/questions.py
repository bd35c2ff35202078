"""What one delivery asks registries before it is stored: each question once, and all of them within one deadline.

The sender waits meanwhile, and gives up after some seconds. What is not there yet may be there in a moment, for some
registries tell of a push before all of them is ready: it is asked for again until the time is over. What was waited
for in vain is not waited for once more when its sender comes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from listener.core.conditions import Problem
from listener.core.manifests import Described
from listener.core.references import Reference
from listener.core.streams import Repository, Source, SpecTag, StreamKey
from listener.errors import ClusterError, RegistryRefused, RegistryUnavailable
from listener.flow.inquiry import Access, Inquiry
from listener.flow.lasting import Lasting
from listener.flow.state import State

T = TypeVar("T")

_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)  # then as the last
# A registry that trips over the push it is just storing (seen with distribution: 500) is there again at once; one that
# is away is not, and its senders come again.
_TRIES_IN_TROUBLE = 3
_SPEAKS_SHARE = 1 / 3  # of a delivery's time, and beyond it: a question that hangs has used up all of that
_NOBODYS = "sha256:" + "0" * 64


class Recent:
    """A bounded memory of what was asked for lately: `most` sources, each for so many seconds."""

    def __init__(self, *, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._until: dict[Source, float] = {}  # in the order of time

    def __contains__(self, source: Source) -> bool:
        return self._until.get(source, 0.0) > asyncio.get_running_loop().time()

    def add(self, source: Source) -> bool:
        """Remember a source; tell whether there was room for it."""
        now = asyncio.get_running_loop().time()
        while self._until and (oldest := next(iter(self._until))) and self._until[oldest] <= now:
            del self._until[oldest]
        self._until.pop(source, None)
        if len(self._until) >= self._most:
            return False
        self._until[source] = now + self._seconds
        return True


Question = tuple[Source, Access]
"""What is asked by digest. What a registry says of a digest stays true, so the answer may be kept."""


class Questions:
    """Use as a context manager: what is still being asked at its end is given up.

    `missed` is what deliveries before have waited for in vain. What is asked in the same `turn` is asked once for all
    who ask alike. A question raises RegistryRefused if the answer is no, and RegistryUnavailable or ClusterUnavailable
    if there is none, or none in time.
    """

    def __init__(
        self, inquiry: Inquiry, lasting: Lasting[Question, Described], state: State, missed: Recent, *, seconds: float
    ) -> None:
        self._inquiry = inquiry
        self._lasting = lasting
        self._state = state
        self._missed = missed
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._asked: dict[Hashable, asyncio.Task[Any]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        if self._asked:
            for task in self._asked.values():
                task.cancel()
            await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def head(self, key: StreamKey, tag: str, source: Source, *, turn: Hashable = 0) -> Described:
        """Return what a registry has at a source, for a stream's tag. It is waited for while it is not there."""
        access = await self._access(key, tag, source)
        return await self._once((source, access, turn), lambda: self._awaited(source, access))

    async def image(self, key: StreamKey, tag: str, source: Source, described: Described) -> str:
        """Return what a stream's tag takes of an image: the whole of it unless it imports from there."""
        spec_tag = self._spec_tag(key, tag)
        if spec_tag is None or spec_tag.source() != source:
            return described.digest
        access = await self._access(key, tag, source)
        wish = (spec_tag.import_mode, spec_tag.prefer_os, spec_tag.prefer_architecture)
        return await self._once(
            (source, described, access, wish),
            lambda: self._in_time(source, self._inquiry.image(source.reference, described, spec_tag, access)),
        )

    async def answers_otherwise(self, key: StreamKey, source: Source) -> bool:
        """Whether the registry says of other images whether it has them, in this repository or in one beside it."""
        places = [(key, Repository(source.registry, source.repository))]
        places += self._state.streams.beside(places[0][1])
        asked = (self._once((place,), partial(self._speaks, *place)) for place in places)
        return any(await asyncio.gather(*asked))

    async def pause(self, seconds: float) -> bool:
        """Wait, if there is time for that and a question more; tell whether there was."""
        if self._has_passed(seconds):
            return False
        await asyncio.sleep(seconds)
        return True

    async def _speaks(self, key: StreamKey, repository: Repository) -> bool:
        """Whether a registry knows what is in a repository: an image that nobody has must not be there."""
        stream = self._state.streams.get(key)
        reference = Reference(repository.registry, repository.name, None, _NOBODYS)
        try:
            async with asyncio.timeout(_SPEAKS_SHARE * self._seconds):
                insecure = bool(stream and stream.insecure_repository)
                access = await self._inquiry.access(key.namespace, reference, insecure=insecure)
                await self._inquiry.head(reference, access)
        except RegistryRefused as error:
            # "Not for you" may come from a door that knows nothing of what is behind it.
            return error.reason == Problem.NOT_FOUND
        except (RegistryUnavailable, ClusterError, TimeoutError):
            return False
        return True

    async def _access(self, key: StreamKey, tag: str, source: Source) -> Access:
        stream, spec_tag = self._state.streams.get(key), self._spec_tag(key, tag)
        insecure = spec_tag.insecure if spec_tag else bool(stream and stream.insecure_repository)
        asking = self._inquiry.access(key.namespace, source.reference, insecure=insecure)
        return await self._in_time(source, asking)

    async def _awaited(self, source: Source, access: Access) -> Described:
        pauses = iter(_PAUSES)
        troubles = 0
        missing: RegistryRefused | None = None
        while True:
            pause = next(pauses, _PAUSES[-1])
            try:
                return await self._in_time(source, self._head(source, access))
            except RegistryRefused as error:
                if error.reason != Problem.NOT_FOUND:
                    raise
                if source in self._missed or self._has_passed(pause):
                    self._missed.add(source)
                    raise
                missing = error
            except RegistryUnavailable as error:
                if missing and self._has_passed(pause):
                    self._missed.add(source)
                    raise missing from error
                troubles += 1
                if troubles == _TRIES_IN_TROUBLE or error.retry_after_seconds or self._has_passed(pause):
                    raise
            await asyncio.sleep(pause)

    async def _head(self, source: Source, access: Access) -> Described:
        ask = partial(self._inquiry.head, source.reference, access)
        return await (self._lasting.ask((source, access), ask) if source.digest else ask())

    async def _once(self, question: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task: asyncio.Task[T] | None = self._asked.get(question)
        if task is None:
            task = self._asked[question] = asyncio.create_task(ask(), name="question of a hook")
        return await asyncio.shield(task)

    async def _in_time(self, source: Source, asking: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await asking
        except TimeoutError as error:
            late = f"{source.registry} did not answer within {self._seconds:g} s about {source}"
            raise RegistryUnavailable(late) from error

    def _has_passed(self, seconds: float) -> bool:
        return asyncio.get_running_loop().time() + seconds >= self._deadline

    def _spec_tag(self, key: StreamKey, tag: str) -> SpecTag | None:
        """The spec tag that says how a registry is asked; None for a tag that is only pushed to."""
        stream = self._state.streams.get(key)
        spec_tag = stream.spec_tag(tag) if stream else None
        return spec_tag if spec_tag and spec_tag.source() else None
