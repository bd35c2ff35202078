"""From the pushes of one delivery to stored history: which stream tags each push concerns, and what became of it.

A delivery is answered only when everything it moved is stored. What can never be taken is answered too, with the
reason; only what the cluster could not store *now* is an error, for then the sender shall come again. Where a push does
not tell enough, its registry is asked; while that cannot answer, the push is believed, as it is authenticated, and the
registry is asked again later.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from listener.core import manifests, pushes
from listener.core.events import Parsed, PushEvent, Remark
from listener.core.manifests import Described
from listener.core.notices import Notice, Reason, about_stream
from listener.core.pushes import Effect, Push
from listener.core.receipts import Arrival, Moved, Receipt
from listener.core.references import Reference
from listener.core.streams import Repository, Source, Stream, StreamKey, is_namespace
from listener.errors import ClusterUnavailable
from listener.flow.bookkeeper import Booked, Bookkeeper, Cause, Change, NotBooked
from listener.flow.inquiry import Inquiry
from listener.flow.questions import Questions
from listener.flow.state import State

_ASK_SHARE = 0.6  # of the time that a sender waits, for all that its delivery asks
_SETTLE_SECONDS = 0.3
_CLOCKS_APART = timedelta(minutes=5)

# What Kubernetes takes as the name of a custom resource.
_STREAM_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Origin:
    """A registry that may call us. `host` is how pull specs name it, `aliases` how it may call itself in its events.

    With `integrated`, its repository NAMESPACE/NAME is the stream NAME in NAMESPACE. With `verify`, it is asked about
    what it says.
    """

    name: str
    host: str
    aliases: frozenset[str] = frozenset()
    integrated: bool = False
    verify: bool = True

    def calls_itself(self, host: str | None) -> bool:
        """Whether an event may name this host. One that names none speaks of the registry whose hook it came to."""
        return host is None or host == self.host or host in self.aliases


class Meter(Protocol):
    def stored(self, seconds: float) -> None: ...


class Recorder(Protocol):
    def record(self, notice: Notice) -> None: ...


class Importer(Protocol):
    def announced(self, source: Source, digest: str) -> None: ...


@dataclass(frozen=True, slots=True, order=True)
class _Target:
    """A stream tag that a push concerns. `name` is its repository as the stream's owner wrote it."""

    stream: StreamKey
    tag: str
    name: str
    create: bool = False


_Taken = tuple[Push, Effect]


class Intake:
    """Takes parsed deliveries. `namespaces` limits where streams are; empty means everywhere."""

    def __init__(
        self,
        bookkeeper: Bookkeeper,
        state: State,
        inquiry: Inquiry,
        importer: Importer,
        recorder: Recorder,
        meter: Meter,
        *,
        history_limit: int,
        namespaces: Iterable[str] = (),
    ) -> None:
        self._bookkeeper = bookkeeper
        self._state = state
        self._inquiry = inquiry
        self._importer = importer
        self._recorder = recorder
        self._meter = meter
        self._limit = history_limit
        self._namespaces = frozenset(namespaces)

    async def take(self, origin: Origin, parsed: Parsed, arrival: Arrival, *, patience_seconds: float) -> Receipt:
        """Store what the pushes move. Raises ClusterUnavailable if some of it could not be stored now.

        `patience_seconds` is how long the sender waits.

        To deliver again after that is safe: what was stored is then unchanged.
        """
        targets: list[tuple[PushEvent, Source, _Target]] = []
        announced: dict[Source, str] = {}
        ignored, refused = list(parsed.ignored), list(parsed.refused)
        for event in parsed.pushes:
            what = f"push of {event.repository}:{event.tag}"
            if not origin.calls_itself(event.registry):
                why = f"{event.registry} is neither host nor alias of registry {origin.name!r}; add it to its aliases"
                refused.append(Remark(what, why))
                continue
            if event.digest is None:
                refused.append(Remark(what, "the event names no digest, and pushes without one are not taken yet"))
                continue
            source = _source(origin, event)
            concerned, remark = self._targets(origin, event, source)
            if remark:
                refused.append(remark)
            elif not concerned:
                ignored.append(Remark(what, f"no ImageStream takes images from {source}"))
            else:
                announced[source] = event.digest
            targets += [(event, source, target) for target in concerned]
        async with Questions(self._inquiry, self._state, seconds=_ASK_SHARE * patience_seconds) as questions:
            found = await asyncio.gather(
                *(self._push(origin, questions, event, source, target, arrival) for event, source, target in targets)
            )
            wanted: dict[StreamKey, list[Push]] = defaultdict(list)
            for push, (_, _, target) in zip(found, targets, strict=True):
                wanted[target.stream].append(push)
            may_create = {target.stream for _, _, target in targets if target.create}
            answers = await asyncio.gather(
                *(
                    self._book(origin, questions, key, pushed, arrival, create=key in may_create)
                    for key, pushed in wanted.items()
                ),
                return_exceptions=True,
            )
        if origin.verify:
            for source, digest in announced.items():
                self._importer.announced(source, digest)
        effects: list[tuple[Moved, Effect]] = []
        failures: list[BaseException] = []
        for key, answer in zip(wanted, answers, strict=True):
            match answer:
                case Booked(answer=taken):
                    effects += [(Moved(key, push.tag, push.digest), effect) for push, effect in taken]
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
        moved = tuple(where for where, effect in effects if effect is Effect.MOVED)
        if moved:
            self._meter.stored(asyncio.get_running_loop().time() - arrival.received)
        # What waits at a held tag, or came late, is stored; it has moved nothing.
        unchanged = tuple(where for where, effect in effects if effect is not Effect.MOVED)
        return Receipt(moved, unchanged, tuple(ignored), tuple(refused))

    async def _book(
        self,
        origin: Origin,
        questions: Questions,
        key: StreamKey,
        found: Sequence[Push],
        arrival: Arrival,
        *,
        create: bool,
    ) -> Booked[tuple[_Taken, ...]] | NotBooked:
        """Store one stream's pushes. What the history alone cannot judge is judged by the registry."""
        booked = await self._bookkeeper.book(
            key, self._change(found), cause=Cause.PUSH, arrival=arrival, create=create, attest=True
        )
        if not isinstance(booked, Booked) or all(effect is not Effect.UNSURE for _, effect in booked.answer):
            return booked
        unsure = [push for push, effect in booked.answer if effect is Effect.UNSURE]
        sure = await asyncio.gather(*(self._sure(origin, questions, key, push) for push in unsure))
        again = await self._bookkeeper.book(key, self._change(sure), cause=Cause.PUSH, arrival=arrival, attest=True)
        if not isinstance(again, Booked):
            return again
        judged = (taken for taken in booked.answer if taken[1] is not Effect.UNSURE)
        return Booked(again.stream, (*judged, *again.answer))

    def _change(self, found: Sequence[Push]) -> Change[tuple[_Taken, ...]]:
        def change(stream: Stream) -> tuple[Stream, tuple[_Taken, ...]]:
            taken = []
            for push in found:
                stream, effect = pushes.take(stream, push, limit=self._limit)
                taken.append((push, effect))
            return stream, tuple(taken)

        return change

    # Asking the registry

    async def _push(
        self,
        origin: Origin,
        questions: Questions,
        event: PushEvent,
        source: Source,
        target: _Target,
        arrival: Arrival,
    ) -> Push:
        """What is to be stored for one tag. Of an index, a tag may take the image of its platform."""
        digest = event.digest or ""
        push = Push(
            target.tag,
            source,
            target.name,
            digest,
            followed=digest,
            created=arrival.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            pushed=_pushed(event, arrival),
        )
        if not (origin.verify and event.media_type and manifests.is_index(event.media_type)):
            return push
        chosen = await questions.image(target.stream, target.tag, source, Described(digest, event.media_type))
        return replace(push, digest=chosen) if chosen else push

    async def _sure(self, origin: Origin, questions: Questions, key: StreamKey, push: Push) -> Push:
        """The push as its registry has it by now; as it came, if that is not to be asked, or does not answer."""
        believed = replace(push, is_sure=True)
        if not origin.verify:
            return believed
        described = await questions.head(key, push.tag, push.source)
        if described and described.digest != push.followed:
            # Hooks leave before their tag moves.
            await asyncio.sleep(_SETTLE_SECONDS)
            described = await questions.head(key, push.tag, push.source, attempt=2) or described
        if described is None or described.digest == push.followed:
            return believed
        digest = await questions.image(key, push.tag, push.source, described)
        return replace(push, digest=digest or described.digest, followed=described.digest, pushed="", is_sure=True)

    # Who is concerned

    def _targets(self, origin: Origin, event: PushEvent, source: Source) -> tuple[list[_Target], Remark | None]:
        """The stream tags that a push moves, and whether the stream may be created for it; or why there can be none."""
        repository = Repository(source.registry, source.repository)
        targets = {
            (key, tag): _Target(key, tag, name)
            for key in self._state.streams.fed_by(repository)
            if (stream := self._state.streams.get(key))
            for tag, name in stream.fed_by(repository, event.tag).items()
        }
        remark = None
        if origin.integrated:
            namespace, _, name = event.repository.partition("/")
            if not (is_namespace(namespace) and _STREAM_NAME.fullmatch(name)):
                why = f"in integrated registry {origin.name!r} repositories are NAMESPACE/NAME, as Kubernetes names go"
                remark = Remark(f"push of {event.repository}:{event.tag}", why)
            elif self._namespaces and namespace not in self._namespaces:
                why = f"namespace {namespace} is not among the `namespaces` of the settings"
                remark = Remark(f"push of {event.repository}:{event.tag}", why)
            else:
                own = StreamKey(namespace, name), event.tag
                known = targets.get(own)
                targets[own] = _Target(*own, known.name if known else f"{origin.host}/{event.repository}", create=True)
        return sorted(targets.values()), None if targets else remark

    def _tell_refused(self, key: StreamKey, reason: str) -> None:
        if stream := self._state.streams.get(key):
            self._recorder.record(Notice(about_stream(key, stream.uid), Reason.PUSH_REFUSED, reason))


def _pushed(event: PushEvent, arrival: Arrival) -> str:
    """The registry's time of a push. One that is yet to come orders nothing: every later push would seem late."""
    is_to_come = event.timestamp is not None and event.timestamp > arrival.at + _CLOCKS_APART
    return "" if is_to_come else pushes.time_text(event.timestamp)


def _source(origin: Origin, event: PushEvent) -> Source:
    """What a push was to, by the registry's own name: the host in the event is a hint, and believed by nobody."""
    return Source.of(Reference(origin.host, event.repository, event.tag))
