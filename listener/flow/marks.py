"""The mark on a stream that an import of it was tried, and when (`openshift.io/image.dockerRepositoryCheck`).

It means two things: that the whole repository was imported, which is not done again while the mark is there, and when
an import last changed anything. So it is written over what was read only: somebody may just have taken it away to ask
for the repository once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from listener.core import imports
from listener.core.outcomes import End, Outcome
from listener.core.streams import REPOSITORY_CHECK, Stream, StreamKey
from listener.errors import ClusterUnavailable
from listener.flow.state import State


class StreamStore(Protocol):
    """The cluster, as far as streams are annotated."""

    async def annotate_stream(self, stream: Stream, annotations: Mapping[str, str]) -> Outcome[Stream]: ...


class Marks:
    """Writes the mark."""

    def __init__(self, store: StreamStore, state: State, now: Callable[[], datetime]) -> None:
        self._store = store
        self._state = state
        self._now = now

    async def import_changed(self, key: StreamKey) -> None:
        """Note when imports changed a stream, unless its repository has yet to be imported.

        Raises ClusterUnavailable if that can be stored later.
        """
        stream = self._state.streams.get(key)
        if stream and not imports.wants_repository(stream):
            await self._write(stream)

    async def repository_tried(self, stream: Stream) -> bool:
        """Note that the repository was tried; tell whether that could be stored, now or ever.

        Raises ClusterUnavailable if it can be stored later.
        """
        outcome = await self._write(stream)
        return outcome.end is not End.REFUSED

    async def _write(self, stream: Stream) -> Outcome[Stream]:
        outcome = await self._store.annotate_stream(stream, {REPOSITORY_CHECK: self._time()})
        if outcome.end is End.APPLIED and outcome.stored:
            self._state.put_stream(outcome.stored)
        elif outcome.end not in (End.GONE, End.REFUSED):
            why = f"ImageStream {stream.key} cannot be marked as imported: {outcome.message or outcome.end}"
            raise ClusterUnavailable(why, retry_after_seconds=outcome.retry_after_seconds)
        return outcome

    def _time(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
