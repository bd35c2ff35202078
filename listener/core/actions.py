"""What a plan is made from and what it consists of: the nouns of planning, and the pieces that plans share.

This room must not know how a patch is sent or what time it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from listener.core.spans import trace_id
from listener.core.streams import Resolved, Stream, StreamKey
from listener.core.workloads import Workload

LAST_TRIGGERED: Final = "imagestreams.dev/last-triggered"
CHANGE_CAUSE: Final = "kubernetes.io/change-cause"

_compact = json.JSONEncoder(separators=(",", ":")).encode

Operation = Mapping[str, object]
"""One operation of a JSON Patch (RFC 6902)."""


def _no_stream(_: StreamKey) -> Stream | None:
    return None


def _no_trace(_: StreamKey, __: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class View:
    """What tags point at, and which delivery brought them there, where that is known.

    `stream` is asked where an image names a tag; without it none is looked up. `trace` is that of the delivery, "" if
    there is none. `namespaces` are those that are looked at, none means all: elsewhere no tag may resolve.
    """

    resolve: Callable[[StreamKey, str], Resolved | None]
    delivery: Callable[[StreamKey, str], str | None]
    change_cause: bool = True
    stream: Callable[[StreamKey], Stream | None] = _no_stream
    trace: Callable[[StreamKey, str], str] = _no_trace
    namespaces: Collection[str] = ()


class ImageChange(NamedTuple):
    """One target gets another image, because of that tag.

    `target` is the name of a container, or of a run's parameter ("" if it has none). `digest` is "" for a reference
    tag. `is_lookup` tells that no trigger named the tag, but the image itself.
    """

    target: str
    before: str
    after: str
    stream: StreamKey
    tag: str
    digest: str
    is_lookup: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """An object to create: a run under its own `name`, or `subresource` of the object `name`, which makes a build."""

    api_version: str
    plural: str
    name: str
    subresource: str
    body: Mapping[str, object]


class Plan(NamedTuple):
    """What to do for a workload: start something, then patch it. Nothing, if there are no changes.

    `problems` keep triggers from acting. `waits` tells that a trigger's tag points at nothing yet, `left` are the
    targets that were left to somebody else. `why` is what triggered the last of the changes.
    """

    changes: tuple[ImageChange, ...] = ()
    operations: tuple[Operation, ...] = ()
    start: Start | None = None
    problems: tuple[str, ...] = ()
    waits: bool = False
    left: tuple[str, ...] = ()
    why: Why | None = None


@lru_cache(maxsize=1024)  # a fan-out asks for the same few thousands of times
def pointer(*parts: str) -> str:
    """Write a JSON Pointer (RFC 6901)."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def set_image(path: str, name: str, before: str, after: str) -> tuple[Operation, ...]:
    """Set the image of the container at `path`, if it is still the one of that name and has the image that we saw: a
    failed test means look again. So a patch that was long on its way undoes nothing that was done meanwhile; only where
    no image was, none can be tested.
    """
    image = f"{path}/image"
    named = ({"op": "test", "path": f"{path}/name", "value": name},) if name else ()
    if not before:
        return (*named, {"op": "add", "path": image, "value": after})  # RFC 6902 refuses to replace what is not there
    return (
        *named,
        {"op": "test", "path": image, "value": before},
        {"op": "replace", "path": image, "value": after},
    )


def annotate(name: str, value: str) -> Operation:
    """Set an annotation of an object that has some."""
    return {"op": "add", "path": pointer("metadata", "annotations", name), "value": value}


def because(changes: Sequence[ImageChange], last: Why, view: View) -> Mapping[str, str]:
    """The annotations that explain changes: what triggered the last of them, and all moves for `rollout history`."""
    found = {LAST_TRIGGERED: last.text}
    if view.change_cause:
        # Each move once, however many containers follow it.
        moves = dict.fromkeys([f"{change.stream}:{change.tag} -> {change.after}" for change in changes])
        found[CHANGE_CAUSE] = ", ".join(moves)
    return found


def explain(workload: Workload, annotations: Mapping[str, str]) -> list[Operation]:
    """Set annotations. Where there is no map yet, make one, unless somebody did meanwhile."""
    if workload.has_annotations:
        return [annotate(name, value) for name, value in annotations.items()]
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": workload.resource_version},
        {"op": "add", "path": "/metadata/annotations", "value": dict(annotations)},
    ]


class Why(NamedTuple):
    """What triggered a change. `at` is in UTC, to the second; `delivery` and `trace` are "" where there is none."""

    stream: StreamKey
    tag: str
    generation: int
    digest: str
    at: datetime
    delivery: str
    trace: str

    @property
    def fields(self) -> Mapping[str, object]:
        """What `last-triggered` holds."""
        found: dict[str, object] = {
            "stream": str(self.stream),
            "tag": self.tag,
            "generation": self.generation,
            "digest": self.digest,
            "time": f"{self.at.replace(tzinfo=None).isoformat()}Z",
        }
        if self.delivery:
            found["delivery"] = self.delivery
        if self.trace:
            found["trace"] = trace_id(self.trace)
        return found

    @property
    def text(self) -> str:
        """The same, as the annotation has it."""
        return _written(self)


@lru_cache(maxsize=256)  # a fan-out says the same to all that it reaches within a second
def _written(why: Why) -> str:
    return _compact(why.fields)


def why(stream: StreamKey, tag: str, resolved: Resolved, now: datetime, view: View) -> Why:
    """Say what triggered a change. `now` must know its zone."""
    at = now.astimezone(UTC).replace(microsecond=0)
    delivery, trace = view.delivery(stream, tag) or "", view.trace(stream, tag)
    return Why(stream, tag, resolved.generation, resolved.digest, at, delivery, trace)
