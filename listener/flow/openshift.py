"""On OpenShift itself: a hook becomes an immediate import, and that is all that we do.

OpenShift keeps histories, triggers, builds and lookups of its own, and imports on a schedule of a quarter of an hour;
what it lacks is an ear for registries. So a push has OpenShift import the tags that it concerns now
(ImageStreamImport), with its own rights and pull secrets. It asks the registry where the tag is: what a delivery names
beyond the tag is no more than a hint whether it is too early to ask.

A failure that the registry would repeat is the sender's answer, and OpenShift writes it into the stream; after any
other the sender comes again. An import outlives the patience of a sender that can be told when it comes again, and that
one finds its answer.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol
from weakref import WeakValueDictionary

import structlog

from listener.core.conditions import Problem
from listener.core.events import Parsed, Remark
from listener.core.imports import ImportAnswer, Imported
from listener.core.index import StreamIndex
from listener.core.origins import Origin
from listener.core.outcomes import End, Outcome, shortened
from listener.core.receipts import Arrival, Moved, Receipt
from listener.core.spans import NO_TRACER, Tracer
from listener.core.streams import SpecTag, Stream, StreamKey
from listener.errors import ClusterError, ClusterRefused, ClusterUnavailable
from listener.flow.backoff import Backoff
from listener.flow.bookkeeper import Cause
from listener.flow.concerned import Wanted, concerned
from listener.flow.lasting import Lasting
from listener.flow.together import together

log = structlog.get_logger()

_SHARE = 0.8  # of the time that a sender waits
# Registries tell of a push some milliseconds before they move the tag; and others write to a stream too.
_EARLY_PAUSES = (0.3, 0.7)
_LONGEST_MESSAGE = 500
_FINAL = frozenset(Problem) - {Problem.INTERNAL_ERROR}


class Discovery(Protocol):
    async def serves(self, api_version: str, resource: str) -> bool: ...


class Importing(Protocol):
    async def import_images(self, stream: Stream, spec_tags: Sequence[SpecTag]) -> Outcome[ImportAnswer]: ...


class Meter(Protocol):
    def stored(self, seconds: float) -> None: ...

    def tag_moved(self, cause: str) -> None: ...


async def is_openshift(cluster: Discovery) -> bool:
    """Tell whether OpenShift itself serves the streams. While the API server is away, wait for it."""
    backoff = Backoff(0.5, 30)
    while True:
        try:
            return await cluster.serves("image.openshift.io/v1", "imagestreamimports")
        except ClusterError as error:
            if isinstance(error, ClusterRefused) and error.status == 403:
                return False  # there everybody who is known may ask
            seconds = backoff.next()
            log.warning("discovery.interrupted", reason=str(error), retry_in_seconds=round(seconds, 1))
            await asyncio.sleep(seconds)


class StreamSink:
    """Where the watchers of streams put what they see, and nobody is woken."""

    def __init__(self, streams: StreamIndex) -> None:
        self._streams = streams

    def put(self, value: Stream) -> None:
        self._streams.put(value)

    def discard(self, key: StreamKey) -> None:
        self._streams.discard(key)

    def known(self, namespace: str | None) -> Iterable[StreamKey]:
        return self._streams.keys(namespace)


@dataclass(slots=True)
class _Tag:
    """One tag that is imported: how it is asked for, for whose sake, where it stood, and what OpenShift says."""

    spec_tag: SpecTag
    digests: frozenset[str | None]
    stood: str
    answer: Imported | None = None

    @property
    def may_be_early(self) -> bool:
        """Whether the registry may not have moved the tag yet, though it told of the push."""
        if self.answer is None or self.answer.reason == Problem.NOT_FOUND:
            return True
        return bool(self.answer.digest) and self.answer.digest == self.stood and self.digests != {self.stood}


Turns = WeakValueDictionary[StreamKey, asyncio.Lock]
"""Who imports into a stream: two at once would be in conflict."""


class OpenShift:
    """Takes parsed deliveries as `Intake` does."""

    def __init__(
        self,
        cluster: Importing,
        streams: StreamIndex,
        meter: Meter,
        turns: Turns,
        *,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        """Each hook has its own: what one remembers, another's senders do not fill. The turns are for all."""
        self._cluster = cluster
        self._streams = streams
        self._meter = meter
        self._tracer = tracer
        self._imports = Lasting[tuple[StreamKey, tuple[Wanted, ...]], Receipt]()
        self._turns = turns

    async def take(self, origin: Origin, parsed: Parsed, arrival: Arrival, *, patience_seconds: float) -> Receipt:
        """Have imported what the pushes concern. Raises Deferred if OpenShift could not do all of it now.

        `patience_seconds` is how long the sender waits. To deliver again after that is safe.
        """
        # OpenShift asks registries whatever our settings say, and its own one tells it of each push.
        origin = replace(origin, integrated=False, verify=True)
        found = concerned(origin, parsed, self._streams)
        by_stream: dict[StreamKey, list[Wanted]] = defaultdict(list)
        for wanted in found.wanted:
            target, stream = wanted.target, self._streams.get(wanted.target.stream)
            what = f"push of {wanted.source} to ImageStream {target.stream}"
            if stream and stream.is_held(target.tag):
                found.ignored.append(Remark(what, f"tag {target.tag} is held; release it", is_internal=True))
            elif stream and not origin.is_proven and not stream.spec_tag(target.tag):
                # OpenShift keeps a spec tag for each import that failed, and anybody can make up names.
                why = "who proves nothing brings no new tags; set a secret in auth, or add the tag to the stream"
                found.refused.append(Remark(what, why, is_internal=True))
            else:
                by_stream[target.stream].append(wanted)
        seconds = _SHARE * patience_seconds
        try:
            async with asyncio.timeout(seconds):
                pauses = (0.0, *_EARLY_PAUSES) if origin.is_proven else (0.0,)
                answers = await together(self._asked(*each, arrival, pauses) for each in by_stream.items())
        except TimeoutError as error:
            raise ClusterUnavailable(f"OpenShift has not imported everything within {seconds:g} s") from error
        receipts: list[Receipt] = []
        failures: list[ClusterUnavailable] = []
        for answer in answers:
            match answer:
                case Receipt():
                    receipts.append(answer)
                case ClusterUnavailable():
                    failures.append(answer)
                case _:
                    raise answer
        if failures:
            raise failures[0]
        return Receipt(
            tuple(each for receipt in receipts for each in receipt.moved),
            tuple(each for receipt in receipts for each in receipt.unchanged),
            tuple(found.ignored),
            (*found.refused, *(each for receipt in receipts for each in receipt.refused)),
        )

    async def _asked(
        self, key: StreamKey, wanted: Sequence[Wanted], arrival: Arrival, pauses: Sequence[float]
    ) -> Receipt:
        """Import into a stream, or wait for the import that the same events have begun before."""
        work = partial(self._imported, key, wanted, arrival, pauses)
        if not all(each.event.event_id or each.event.timestamp for each in wanted):
            return await work()
        return await self._imports.ask((key, tuple(wanted)), work)

    async def _imported(
        self, key: StreamKey, wanted: Sequence[Wanted], arrival: Arrival, pauses: Sequence[float]
    ) -> Receipt:
        with self._tracer.span("import", arrival.trace, stream=key) as span:
            receipt = await self._import(key, wanted, pauses)
            span.note(failed=bool(receipt.refused))
        for _ in receipt.moved:
            self._meter.tag_moved(Cause.PUSH)
        if receipt.moved:
            self._meter.stored(asyncio.get_running_loop().time() - arrival.received)
        return receipt

    async def _import(self, key: StreamKey, wanted: Sequence[Wanted], pauses: Sequence[float]) -> Receipt:
        turn = self._turns.setdefault(key, asyncio.Lock())
        tags: list[_Tag] = []
        outcome: Outcome[ImportAnswer] = Outcome(End.GONE, message="it is gone")
        for pause in pauses:
            await asyncio.sleep(pause)
            async with turn:
                stream = self._streams.get(key)
                if stream is None:
                    break
                tags = tags or _tags(stream, wanted)
                early = [tag for tag in tags if tag.may_be_early]
                outcome = await self._cluster.import_images(stream, [tag.spec_tag for tag in early])
                if outcome.stored:
                    self._take_in(outcome.stored, early)
            if outcome.stored and not any(tag.may_be_early for tag in tags):
                break
            if not outcome.stored and outcome.end not in (End.STALE, End.GONE):
                break
        if outcome.end is End.APPLIED:
            return _receipt(key, tags)
        if outcome.end is End.GONE or (outcome.end is End.REFUSED and not outcome.may_pass):
            return Receipt(refused=(Remark(f"ImageStream {key}", outcome.message, is_internal=True),))
        why = f"OpenShift cannot import into ImageStream {key} now: {outcome.message}"
        raise ClusterUnavailable(why, retry_after_seconds=outcome.retry_after_seconds)

    def _take_in(self, answer: ImportAnswer, asked: Sequence[_Tag]) -> None:
        if answer.stream:
            self._streams.put(answer.stream)
        for tag, imported in zip(asked, answer.images, strict=True):
            tag.answer = imported


def _tags(stream: Stream, wanted: Sequence[Wanted]) -> list[_Tag]:
    """What is to be imported: each tag once, as the stream's owner wrote it."""
    events: dict[str, list[Wanted]] = defaultdict(list)
    for each in wanted:
        events[each.target.tag].append(each)
    return [
        _Tag(_spec_tag(stream, each[0]), frozenset(one.event.digest for one in each), _head(stream, tag))
        for tag, each in events.items()
    ]


def _spec_tag(stream: Stream, wanted: Wanted) -> SpecTag:
    found = stream.spec_tag(wanted.target.tag)
    if found and found.source():
        return found
    name = f"{wanted.target.name}:{wanted.source.tag}"
    # What the owner says of no tag, OpenShift's own settings decide.
    return SpecTag(wanted.target.tag, "DockerImage", "", name, insecure=stream.insecure_repository, import_mode="")


def _head(stream: Stream, tag: str) -> str:
    head = stream.history(tag).head
    return head.image if head else ""


def _receipt(key: StreamKey, tags: Sequence[_Tag]) -> Receipt:
    """What became of all. Raises ClusterUnavailable if one failed for a reason that may pass."""
    moved: list[Moved] = []
    unchanged: list[Moved] = []
    refused: list[Remark] = []
    for tag in tags:
        answer, name = tag.answer or Imported(), tag.spec_tag.name
        if answer.digest:
            (unchanged if answer.digest == tag.stood else moved).append(Moved(key, name, answer.digest))
            continue
        message = shortened(answer.message, _LONGEST_MESSAGE)
        log.info("hook.not_imported", stream=str(key), tag=name, reason=answer.reason, message=message)
        if answer.reason not in _FINAL:
            raise ClusterUnavailable(f"OpenShift cannot import tag {name} of ImageStream {key} now: {message}")
        refused.append(Remark(f"tag {name} of ImageStream {key}", message, is_internal=True))
    return Receipt(tuple(moved), tuple(unchanged), (), tuple(refused))
