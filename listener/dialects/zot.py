"""zot, its extension `events` with an HTTP sink.

CloudEvents in the binary mode, each from a goroutine of its own: no order, one attempt within `timeout` (30 s), and
whatever is not 2xx is lost. It leaves after the tag is written. A push that changes nothing raises no event; one with
several tags raises one for each. Never told: the registry's host, so it is that of the settings.

The manifest comes along as text, so a digest that is not its own is found here. `reference` is a digest where no tag
was pushed. A push that a lint refused has an event with a tag and a digest as well.

Documented at https://zotregistry.dev/latest/articles/events/
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from listener.core.events import Delivery, Parsed
from listener.dialects import cloud_events, payload
from listener.dialects.cloud_events import CloudEvent
from listener.dialects.payload import Findings, Unusable

_EXPECTED: Final = 'zot\'s CloudEvent: Ce-* headers, and a JSON object {"name": …, "reference": …}'
_ANY: Final = "zotregistry."
_PUSH: Final = ".image.updated"  # what stands before it can be set in zot, as `typePrefix`


def recognises(delivery: Delivery) -> bool:
    return any(each.startswith(_ANY) for each in cloud_events.types(delivery))


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if this is no CloudEvent."""
    findings = Findings()
    for event in cloud_events.read(delivery, _EXPECTED, findings):
        _take(event, findings)
    return findings.parsed()


def _take(event: CloudEvent, findings: Findings) -> None:
    image = event.data if isinstance(event.data, dict) else {}
    repository, reference, digest = (payload.text(image, key) for key in ("name", "reference", "digest"))
    media_type = payload.text(image, "mediaType").lower()
    if not event.type.endswith(_PUSH):
        what = payload.title(event.type or "event", repository, "" if payload.is_digest(reference) else reference)
        findings.ignore(what, "only an updated image moves a tag")
    elif why := (media_type and payload.no_manifest(media_type)):
        findings.ignore(payload.title("push", repository, reference), why)
    elif not image.get("reference") or payload.is_digest(reference):
        findings.ignore(payload.title("push", repository, digest=digest or reference), payload.BY_DIGEST)
    else:
        try:
            _check(image)
            findings.push(
                payload.push(
                    repository=repository,
                    tag=image.get("reference"),
                    digest=image.get("digest"),
                    media_type=payload.shown(media_type),
                    timestamp=event.time,
                    actor=payload.label(payload.child(image, "actor"), "name"),
                    event_id=event.id,
                )
            )
        except Unusable as unusable:
            findings.refuse(payload.title("push", repository, reference), str(unusable))


def _check(image: dict[str, Any]) -> None:
    """Raises `Unusable` if the digest is not that of the manifest beside it."""
    manifest, digest = payload.text(image, "manifest"), payload.text(image, "digest")
    if manifest and payload.is_digest(digest):
        algorithm, _, sent = digest.partition(":")
        if hashlib.new(algorithm, manifest.encode(errors="replace")).hexdigest() != sent:
            raise Unusable("the digest is not that of the manifest that was sent with it")
