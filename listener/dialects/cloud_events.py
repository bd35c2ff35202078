"""CloudEvents over HTTP, in the three ways they are sent, for the dialects that are wrapped in them.

Binary: the attributes are `ce-*` headers, the body is the data. Structured: one JSON object holds both. Batch: a list
of such objects. The content type tells which; where a proxy rewrote it, the body does. What the data means is the
dialect's affair.

Header values are decoded by the rule of the HTTP binding: quotes taken off, then one round of percent-decoding.

Documented at https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote

from listener.core import events
from listener.core.events import Delivery
from listener.dialects import payload
from listener.dialects.payload import Findings, Unusable
from listener.errors import MalformedDelivery

_HEADER: Final = "ce-"
_STRUCTURED: Final = "application/cloudevents"
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event. A context attribute that is absent is "". `attributes` holds all of them, extensions too."""

    type: str
    source: str
    subject: str
    id: str | None
    time: datetime | None
    attributes: dict[str, Any]
    data: Any


def types(delivery: Delivery) -> tuple[str, ...]:
    """The types of the events in a delivery, empty if these are no CloudEvents. Never raises."""
    if _is_binary(delivery):
        return (_attributes(delivery).get("type", ""),)
    found = payload.peek(delivery)
    several = found if isinstance(found, list) else [found]
    return tuple(payload.text(each, "type") for each in several[: payload.MAX_EVENTS] if is_event(each))


def is_event(found: object) -> bool:
    """Whether this is a structured CloudEvent."""
    return isinstance(found, dict) and bool(payload.text(found, "specversion")) and bool(payload.text(found, "type"))


def read(delivery: Delivery, expected: str, findings: Findings) -> Iterator[CloudEvent]:
    """Return the events in a delivery, in order; what is none inside a batch is refused alone.

    Raises `MalformedDelivery`, which begins with what was `expected`, if these are no CloudEvents at all.
    """
    if _is_binary(delivery):
        # An event without data is legal.
        yield _event(_attributes(delivery), payload.decoded(delivery, expected) if delivery.body.strip() else None)
        return
    found = payload.decoded(delivery, expected)
    if not isinstance(found, list):
        if not is_event(found):
            raise MalformedDelivery(f'expected {expected}, the body has no "specversion" and "type"')
        found = [found]
    for position, each in enumerate(payload.bounded(found, "the batch")):
        try:
            yield structured(each)
        except Unusable as unusable:
            findings.refuse(f"events[{position}]", str(unusable))


def structured(found: object) -> CloudEvent:
    """Read one event from its JSON. Raises `Unusable`."""
    if not isinstance(found, dict) or not is_event(found):
        raise Unusable('a CloudEvent must be a JSON object with "specversion" and "type"')
    data = found.get("data")
    if data is None and (packed := payload.text(found, "data_base64")):
        data = payload.unpacked(payload.from_base64(packed, '"data_base64"'), '"data_base64"')
    return _event(found, data)


def _event(attributes: dict[str, Any], data: Any) -> CloudEvent:
    return CloudEvent(
        type=payload.text(attributes, "type"),
        source=payload.text(attributes, "source"),
        subject=payload.text(attributes, "subject"),
        id=payload.label(attributes, "id"),
        time=events.timestamp(payload.text(attributes, "time")),
        attributes=attributes,
        data=data,
    )


def _is_binary(delivery: Delivery) -> bool:
    content_type = delivery.headers.get("content-type", "").strip().lower()
    return "ce-type" in delivery.headers and not content_type.startswith(_STRUCTURED)


def _attributes(delivery: Delivery) -> dict[str, Any]:
    return {
        name.removeprefix(_HEADER): _decoded(value)
        for name, value in delivery.headers.items()
        if name.startswith(_HEADER)
    }


def _decoded(value: str) -> str:
    value = value.strip()
    if quoted := _QUOTED.fullmatch(value):
        value = _ESCAPED.sub(r"\1", quoted[1])
    return unquote(value)
