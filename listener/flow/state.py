"""What we know of the cluster, and who must be looked at when it changes.

Three hands write here: the watchers, the reply to our own write of a stream (so a push need not wait for its echo), and
the reply to our own patch. Older news than we have is dropped by the indexes, so it does not matter who comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from listener.core import fanouts
from listener.core.contests import containers_set_back
from listener.core.index import StreamIndex, StreamNews, WorkloadIndex
from listener.core.receipts import Arrival
from listener.core.streams import Resolved, Stream, StreamKey
from listener.core.workloads import Workload, WorkloadKey
from listener.flow.contests import Contests
from listener.flow.leadership import Endless, Term
from listener.flow.queue import KeyQueue
from listener.flow.rounds import Rounds


class Observer(Protocol):
    """Who keeps account of what changes. The state knows it already when it tells."""

    def tag_moved(self, key: StreamKey, tag: str) -> None: ...

    def stream_gone(self, key: StreamKey) -> None: ...

    def rolled_out(self, workload: Workload) -> None: ...

    def not_rolling(self, key: WorkloadKey) -> None: ...


class State:
    """The streams, the workloads, and two queues of what to look at: workloads (`queue`) and streams.

    A workload is asked for by the stream that moved, or else by its namespace: those take turns.
    """

    def __init__(self, term: Term | None = None) -> None:
        """While the term is not on nobody takes from the queues: there is no more in them than is there to be looked
        at, and nothing is concluded from what another replica does.
        """
        self._term = term or Endless()
        self.streams = StreamIndex()
        self.workloads = WorkloadIndex()
        self.contests = Contests()
        self.rounds = Rounds[tuple[StreamKey, str], WorkloadKey](self._ask_for)
        self.queue = KeyQueue[WorkloadKey]()
        self.stream_queue = KeyQueue[StreamKey]()
        # For each stream tag, the delivery that moved it to where it is, so that logs, metrics and the workload can
        # name it; and the one that is about to.
        self._arrivals: dict[tuple[StreamKey, str], tuple[str, Arrival]] = {}
        self._coming: dict[tuple[StreamKey, str], tuple[str, Arrival]] = {}
        self.observer: Observer | None = None
        self._expected: dict[WorkloadKey, tuple[object, ...]] = {}  # what the patch that is under way makes of them

    def put_stream(self, stream: Stream) -> None:
        before = self.streams.get(stream.key)
        news = self.streams.put(stream)
        if news is None:
            return
        for tag in news.moved:
            self._note_arrival(stream.key, tag)
            if self._term.is_on:
                self.rounds.moved((stream.key, tag))
            else:
                self._ask_for((stream.key, tag))
            if self.observer and self._has_moved(before, stream, tag):
                self.observer.tag_moved(stream.key, tag)
        self.stream_queue.add(stream.key)
        self._wake_streams(news)

    def discard_stream(self, key: StreamKey) -> None:
        """Forget a stream. Its workloads keep their images: nothing is left that could tell them otherwise. But they
        wait from now on, which is to be noticed.
        """
        news = self.streams.discard(key)
        for tag in news.moved:
            self._note_arrival(key, tag)
            self._ask_for((key, tag))
        self._wake_streams(news)
        if not self._term.is_on:
            self.stream_queue.forget(key)
        if self.observer:
            self.observer.stream_gone(key)

    def put_workload(self, workload: Workload) -> None:
        key = workload.key
        before = self.workloads.get(key)
        # What our own patch makes of a workload is no news, and nobody has set it back.
        is_news = self.workloads.put(workload) and not self._is_expected(workload)
        if before and is_news and self._term.is_on:
            self._compare(before, workload)
        if self.observer and workload.is_rolled_out is not False and self.workloads.get(key) is workload:
            if workload.is_rolled_out:
                self.observer.rolled_out(workload)
            else:
                self.observer.not_rolling(key)
        if is_news:
            self.queue.add(key, key.namespace)
        elif before and not self._knows(key):
            self._let_go(key)

    @contextmanager
    def expecting(self, workload: Workload, images: Mapping[str, str]) -> Iterator[None]:
        """Say which images, by container, a patch gives a workload: when they show, it need not be looked at again."""
        self._expected[workload.key] = (workload.uid, workload.planned_with(images))
        try:
            yield
        finally:
            del self._expected[workload.key]

    def refresh_workload(self, workload: Workload) -> None:
        """Take in an answer to us, unless its object is unknown (any more): only a watch may bring one back."""
        known = self.workloads.get(workload.key)
        if known and known.uid == workload.uid:
            self.put_workload(workload)

    def discard_workload(self, key: WorkloadKey) -> None:
        """Forget a workload."""
        if self._knows(key):
            self.workloads.discard(key)
            self._let_go(key)

    def resolve(self, key: StreamKey, tag: str) -> Resolved | None:
        return self.streams.resolve(key, tag)

    @contextmanager
    def bringing(self, key: StreamKey, arrivals: Mapping[str, tuple[str, Arrival]]) -> Iterator[None]:
        """Say which tags the write that is under way brings to which digests, and by which deliveries. It ends when its
        answer is known here; the watch may well show it before.
        """
        coming = {(key, tag): arrival for tag, arrival in arrivals.items()}
        self._coming |= coming
        try:
            yield
        finally:
            for tag in coming:
                del self._coming[tag]

    def arrival(self, key: StreamKey, tag: str) -> Arrival | None:
        """The delivery that brought the tag's present digest, if it came to this process."""
        found = self._arrivals.get((key, tag))
        return found[1] if found else None

    def delivery_id(self, key: StreamKey, tag: str) -> str | None:
        """The delivery that brought the tag where it is, to whichever process it came: its account names it too."""
        if arrival := self.arrival(key, tag):
            return arrival.delivery_id
        stream, resolved = self.streams.get(key), self.resolve(key, tag)
        record = fanouts.newest(stream.fan_outs, tag) if stream else None
        if record is None or resolved is None or record.docker_image_reference != resolved.pull_spec:
            return None
        return record.delivery or None

    def _note_arrival(self, key: StreamKey, tag: str) -> None:
        """A tag resolves to something else than before, or is gone: whatever brought it there is what counts now."""
        resolved = self.resolve(key, tag)
        for known in (self._coming, self._arrivals):
            found = known.get((key, tag))
            if found and resolved and found[0] == resolved.digest:
                self._arrivals[key, tag] = found
                return
        self._arrivals.pop((key, tag), None)

    def _has_moved(self, before: Stream | None, after: Stream, tag: str) -> bool:
        """Tell a move from another generation of the same image. The first sight of a stream is none, but for a stream
        that a delivery made.
        """
        if before is None:
            return self.arrival(after.key, tag) is not None
        was, now = before.resolve(tag), after.resolve(tag)
        return (was.pull_spec if was else "") != (now.pull_spec if now else "")

    def _compare(self, before: Workload, after: Workload) -> None:
        """See whether somebody set back what a trigger set. With another trigger or object a fight begins anew."""
        if before.uid != after.uid or not before.triggers.say_the_same(after.triggers):
            self.contests.forget(after.key)
        elif images := containers_set_back(before, after, self.resolve):
            self.contests.set_back(after, images)

    def _let_go(self, key: WorkloadKey) -> None:
        """A workload is followed no more. One more look at it lets others forget what they kept for it."""
        if self._term.is_on:
            self.queue.add(key, key.namespace)
        else:
            self.queue.forget(key)
            self.rounds.begun(key)

    def _is_expected(self, workload: Workload) -> bool:
        return self._expected.get(workload.key) == (workload.uid, workload.planned)

    def _knows(self, key: WorkloadKey) -> bool:
        return self.workloads.get(key) is not None

    def _wake_streams(self, news: StreamNews) -> None:
        for key in sorted(news.concerns):
            self.stream_queue.add(key)

    def _ask_for(self, moved: tuple[StreamKey, str]) -> frozenset[WorkloadKey]:
        stream, tag = moved
        found = self.workloads.affected(stream, tag) | self.workloads.naming(stream, tag)
        # Sorted, so that two runs over the same cluster go the same way.
        for workload in sorted(found):
            self.queue.add(workload, stream)
        return found


class StreamSink:
    """Where the watchers of streams put what they see."""

    def __init__(self, state: State) -> None:
        self._state = state

    def put(self, value: Stream) -> None:
        self._state.put_stream(value)

    def discard(self, key: StreamKey) -> None:
        self._state.discard_stream(key)

    def known(self, namespace: str | None) -> Iterable[StreamKey]:
        return self._state.streams.keys(namespace)


class WorkloadSink:
    """Where the watchers of one kind of workload put what they see."""

    def __init__(self, state: State, kind: str) -> None:
        self._state = state
        self._kind = kind

    def put(self, value: Workload) -> None:
        self._state.put_workload(value)

    def discard(self, key: WorkloadKey) -> None:
        self._state.discard_workload(key)

    def known(self, namespace: str | None) -> Iterable[WorkloadKey]:
        return self._state.workloads.keys(self._kind, namespace)
