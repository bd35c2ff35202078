"""Quay: quay.io and Red Hat Quay, the notification "Push to Repository".

Up to five attempts, 30 s apart, each with a time-out of 10 s; only 2xx counts, and after three failures in a row Quay
disables the notification until somebody resets it. So whatever Quay can send is answered well, and pushes that nobody
follows are too. It leaves after the tag is written. Quay signs nothing and sends no header: the secret is in the URL.

Never told: digest, media type, time, actor, id. Nor are pushes by digest, and tags that were changed in the UI. There
is no type of event either: only a push has `updated_tags`, and those of 2013 were a map to the ids of images. "Test"
sends the tags `latest` and `foo`, which may not exist.

Documented at https://docs.quay.io/guides/notifications.html
"""

from __future__ import annotations

from typing import Any, Final

from listener.core.events import Delivery, Parsed
from listener.dialects import payload
from listener.dialects.payload import Findings, Unusable

_EXPECTED: Final = 'Quay\'s JSON object {"repository": …, "docker_url": …, "updated_tags": […]}'


def recognises(delivery: Delivery) -> bool:
    return "docker_url" in payload.peek_object(delivery)


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is no JSON object."""
    body = payload.json_object(delivery, _EXPECTED)
    findings = Findings()
    repository = payload.text(body, "repository") or payload.joined(body, "namespace", "name")
    tags = _tags(body)
    if not tags:
        findings.ignore(payload.title("notification", repository), 'without "updated_tags" it is no push')
    for tag in tags:
        try:
            findings.push(
                payload.push(registry=payload.host(payload.text(body, "docker_url")), repository=repository, tag=tag)
            )
        except Unusable as unusable:
            what = payload.title("push", repository, tag if isinstance(tag, str) else "")
            findings.refuse(what, str(unusable))
    return findings.parsed()


def _tags(body: dict[str, Any]) -> list[Any]:
    found = body.get("updated_tags")
    if isinstance(found, dict):
        return payload.bounded(list(found), "updated_tags")
    return payload.members(body, "updated_tags")
