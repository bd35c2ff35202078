"""From the pushes of one delivery to stored history: which stream tags each push concerns, and what became of it.

A delivery is answered only when everything it moved is stored. What can never be taken is answered too, with the
reason; only what the cluster could not store *now* is an error, for then the sender shall come again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from listener.core.events import Parsed, PushEvent, Remark
from listener.core.history import TagItem
from listener.core.notices import Notice, Reason, about_stream
from listener.core.receipts import Arrival, Moved, Receipt
from listener.core.streams import Repository, StreamKey
from listener.errors import ClusterUnavailable
from listener.flow.bookkeeper import Booked, Bookkeeper, Entry, NotBooked
from listener.flow.state import State

# What Kubernetes takes as a namespace and as the name of a custom resource.
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_STREAM_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Origin:
    """A registry that may call us. `host` is how pull specs name it, `aliases` how it may call itself in its events.

    With `integrated`, its repository NAMESPACE/NAME is the stream NAME in NAMESPACE.
    """

    name: str
    host: str
    aliases: frozenset[str] = frozenset()
    integrated: bool = False

    def calls_itself(self, host: str | None) -> bool:
        """Whether an event may name this host. One that names none speaks of the registry whose hook it came to."""
        return host is None or host == self.host or host in self.aliases


class Meter(Protocol):
    def tag_moved(self, cause: str) -> None: ...

    def stored(self, seconds: float) -> None: ...


class Recorder(Protocol):
    def record(self, notice: Notice) -> None: ...


class Intake:
    """Takes parsed deliveries. `namespaces` limits where streams are; empty means everywhere."""

    def __init__(
        self,
        bookkeeper: Bookkeeper,
        state: State,
        recorder: Recorder,
        meter: Meter,
        *,
        namespaces: Iterable[str] = (),
    ) -> None:
        self._bookkeeper = bookkeeper
        self._state = state
        self._recorder = recorder
        self._meter = meter
        self._namespaces = frozenset(namespaces)

    async def take(self, origin: Origin, parsed: Parsed, arrival: Arrival) -> Receipt:
        """Store what the pushes move. Raises ClusterUnavailable if some of it could not be stored now.

        To deliver again after that is safe: what was stored is then unchanged.
        """
        entries: dict[StreamKey, list[Entry]] = {}
        may_create: set[StreamKey] = set()
        ignored, refused = list(parsed.ignored), list(parsed.refused)
        for push in parsed.pushes:
            what = f"push of {push.repository}:{push.tag}"
            if not origin.calls_itself(push.registry):
                why = f"{push.registry} is neither host nor alias of registry {origin.name!r}; add it to its aliases"
                refused.append(Remark(what, why))
                continue
            if push.digest is None:
                refused.append(
                    Remark(what, "the event names no digest, and asking the registry for it is not possible yet")
                )
                continue
            targets, remark = self._targets(origin, push)
            if remark:
                refused.append(remark)
            elif not targets:
                ignored.append(
                    Remark(what, f"no ImageStream takes images from {origin.host}/{push.repository}:{push.tag}")
                )
            for key, tag, create in targets:
                entries.setdefault(key, []).append(Entry(tag, _item(origin, push, push.digest, arrival), arrival))
                if create:
                    may_create.add(key)
        answers = await asyncio.gather(
            *(self._bookkeeper.book(key, found, create=key in may_create) for key, found in entries.items()),
            return_exceptions=True,
        )
        moved: list[Moved] = []
        unchanged: list[Moved] = []
        failures: list[BaseException] = []
        for (key, found), answer in zip(entries.items(), answers, strict=True):
            match answer:
                case Booked():
                    self._tell(key, found, answer, arrival)
                    for entry, change in zip(found, answer.changes, strict=True):
                        (moved if change else unchanged).append(Moved(key, entry.tag, entry.item.image))
                case NotBooked(reason=reason):
                    refused.append(Remark(f"ImageStream {key}", reason))
                    self._tell_refused(key, reason)
                case BaseException():
                    failures.append(answer)
        for failure in failures:
            # A bug of ours goes before "come again": it must be seen.
            if not isinstance(failure, ClusterUnavailable):
                raise failure
        if failures:
            raise failures[0]
        return Receipt(tuple(moved), tuple(unchanged), tuple(ignored), tuple(refused))

    def _targets(self, origin: Origin, push: PushEvent) -> tuple[list[tuple[StreamKey, str, bool]], Remark | None]:
        """The stream tags that a push moves, and whether the stream may be created for it; or why there can be none."""
        repository = Repository(origin.host, push.repository)
        targets = {
            (key, tag, False)
            for key in self._state.streams.fed_by(repository)
            if (stream := self._state.streams.get(key))
            for tag in stream.fed_by(repository, push.tag)
        }
        if not origin.integrated:
            return sorted(targets), None
        namespace, _, name = push.repository.partition("/")
        if not (_NAMESPACE.fullmatch(namespace) and _STREAM_NAME.fullmatch(name)):
            why = f"in the integrated registry {origin.name!r} repositories are NAMESPACE/NAME, as Kubernetes names go"
        elif self._namespaces and namespace not in self._namespaces:
            why = f"namespace {namespace} is not among the `namespaces` of the settings"
        else:
            key = StreamKey(namespace, name)
            return sorted({t for t in targets if t[:2] != (key, push.tag)} | {(key, push.tag, True)}), None
        if targets:
            return sorted(targets), None
        return [], Remark(f"push of {push.repository}:{push.tag}", why)

    def _tell(self, key: StreamKey, entries: list[Entry], booked: Booked, arrival: Arrival) -> None:
        subject = about_stream(key, booked.stream.uid)
        for entry, change in zip(entries, booked.changes, strict=True):
            if change:
                self._meter.tag_moved("push")
                message = f"{key.name}:{entry.tag} moved to {change.after.docker_image_reference} by a push"
                self._recorder.record(Notice(subject, Reason.TAG_MOVED, message))
        if any(booked.changes):
            self._meter.stored(asyncio.get_running_loop().time() - arrival.received)

    def _tell_refused(self, key: StreamKey, reason: str) -> None:
        if stream := self._state.streams.get(key):
            self._recorder.record(Notice(about_stream(key, stream.uid), Reason.PUSH_REFUSED, reason))


def _item(origin: Origin, push: PushEvent, digest: str, arrival: Arrival) -> TagItem:
    return TagItem(
        created=arrival.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        docker_image_reference=f"{origin.host}/{push.repository}@{digest}",
        image=digest,
        generation=0,
    )
