"""Which stream tags the pushes of a delivery concern; and what of the delivery concerns nobody, or can never be taken.

A push is to the registry whose hook it came to: the host in its event is a hint, and believed by nobody.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from listener.core.events import Parsed, PushEvent, Remark
from listener.core.index import StreamIndex
from listener.core.origins import Origin
from listener.core.references import Reference
from listener.core.streams import Repository, Source, StreamKey


class Target(NamedTuple):
    """A stream tag that a push concerns. `name` is its repository as the stream's owner wrote it."""

    stream: StreamKey
    tag: str
    name: str
    create: bool = False


class Wanted(NamedTuple):
    """What one event asks of one stream tag."""

    event: PushEvent
    source: Source
    target: Target


@dataclass(slots=True)
class Concerned:
    """What a delivery asks, in its order, and what it says besides."""

    wanted: list[Wanted] = field(default_factory=list)
    ignored: list[Remark] = field(default_factory=list)
    refused: list[Remark] = field(default_factory=list)


def concerned(origin: Origin, parsed: Parsed, streams: StreamIndex, namespaces: Collection[str] = ()) -> Concerned:
    """Sort a delivery by the streams as last seen. `namespaces` are those of the settings, empty for all."""
    found = Concerned(ignored=list(parsed.ignored), refused=list(parsed.refused))
    believed, left_out = origin.believed(parsed.pushes)
    if left_out:
        found.refused.append(left_out)
    for event in believed:
        if why := origin.complaint(event):
            found.refused.append(Remark(_what(event), why))
            continue
        source = Source.of(Reference(origin.host, event.repository, event.tag))
        targets, remark = _targets(origin, event, source, streams, namespaces)
        if remark:
            found.refused.append(remark)
        elif not targets:
            found.ignored.append(Remark(_what(event), f"no ImageStream takes images from {source}"))
        found.wanted += [Wanted(event, source, target) for target in targets]
    return found


def _targets(
    origin: Origin, event: PushEvent, source: Source, streams: StreamIndex, namespaces: Collection[str]
) -> tuple[list[Target], Remark | None]:
    """The stream tags that a push moves, and whether the stream may be created for it; or why there can be none."""
    repository = Repository(source.registry, source.repository)
    targets = {
        (key, tag): Target(key, tag, name)
        for key in streams.fed_by(repository)
        if (stream := streams.get(key))
        for tag, name in stream.fed_by(repository, event.tag).items()
    }
    remark = None
    if origin.integrated:
        own = origin.own_stream(event, namespaces)
        if isinstance(own, str):
            remark = Remark(_what(event), own)
        else:
            known = targets.get((own, event.tag))
            name = known.name if known else f"{origin.host}/{event.repository}"
            targets[own, event.tag] = Target(own, event.tag, name, True)
    return sorted(targets.values()), None if targets else remark


def _what(event: PushEvent) -> str:
    """What a remark is about."""
    return f"push of {event.repository}:{event.tag}"
