"""An event as distribution writes it: in its own envelopes, and bare in what Azure sends.

Facts (measured on 2.8.2 unless said otherwise):
- A layer is a `push` too; only the media type tells it from a manifest. A manifest pushed by digest (the child of an
  index) has no tag. HEAD and GET both come as `pull`, our own look-ups included.
- `request.host` is whatever the pusher wrote into its Host header.
- `id` is the same on every retry; `timestamp` has 0 to 9 digits of fraction; `actor` is `{}` without authentication.
- The content type says v1; current source says v2, and sends "" and 0 where 2.8.2 left a key out. `{}` and
  `{"events": null}` are legal envelopes.

Documented at https://distribution.github.io/distribution/about/notifications/
"""

from __future__ import annotations

from typing import Any, Final

from listener.core import events
from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import payload
from listener.dialects.payload import Findings, Unusable
from listener.errors import MalformedDelivery

CONTENT_TYPE: Final = "application/vnd.docker.distribution.events."


def envelope(delivery: Delivery) -> Parsed:
    """Return what an envelope `{"events": [...]}` holds.

    Raises `MalformedDelivery` if the body is no envelope; a bad event inside one is refused alone.
    """
    body = payload.json_object(delivery, 'a JSON object {"events": [...]}')
    found = body.get("events")
    findings = Findings()
    if found is None:
        if body and "events" not in body:
            findings.ignore(
                "the delivery", 'it has no "events": it is another product\'s, or its dialect is set wrongly'
            )
        return findings.parsed()
    if not isinstance(found, list):
        raise MalformedDelivery('"events" must be a list of events')
    for position, event in enumerate(payload.bounded(found, "events")):
        if isinstance(event, dict):
            take(event, findings)
        else:
            findings.refuse(f"events[{position}]", "an event must be a JSON object")
    return findings.parsed()


def take(event: dict[str, Any], findings: Findings) -> None:
    """Add what one event says."""
    target = payload.child(event, "target")
    try:
        if why := _reason_to_ignore(event, target):
            findings.ignore(_title(event, target), why)
        else:
            findings.push(_push(event, target))
    except Unusable as unusable:
        findings.refuse(_title(event, target), str(unusable))


def _title(event: dict[str, Any], target: dict[str, Any]) -> str:
    return payload.title(
        payload.text(event, "action"),
        payload.text(target, "repository"),
        payload.text(target, "tag"),
        payload.text(target, "digest"),
    )


def _reason_to_ignore(event: dict[str, Any], target: dict[str, Any]) -> str | None:
    action = payload.text(event, "action")
    if not action:
        raise Unusable('"action" is missing')
    if action != "push":
        return "only a push moves a tag"
    media_type = payload.text(target, "mediaType").lower()
    tag = target.get("tag")
    if not media_type and tag:
        raise Unusable('"target.mediaType" is missing, so nothing tells a manifest from a blob')
    return payload.no_manifest(media_type) or (None if tag else payload.BY_DIGEST)


def _push(event: dict[str, Any], target: dict[str, Any]) -> PushEvent:
    return payload.push(
        registry=payload.label(payload.child(event, "request"), "host", lower=True),
        repository=payload.text(target, "repository"),
        tag=target.get("tag"),
        digest=target.get("digest"),
        media_type=payload.label(target, "mediaType", lower=True),
        timestamp=events.timestamp(payload.text(event, "timestamp")),
        actor=payload.label(payload.child(event, "actor"), "name"),
        event_id=payload.label(event, "id"),
    )
