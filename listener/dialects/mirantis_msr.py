"""Mirantis Secure Registry, formerly Docker Trusted Registry.

Time-out, retries and order are documented nowhere. It signs nothing and sends no header: the secret is in the URL.
`contents.imageName` begins with the host in some of its examples only; without it the host is that of the settings.
There is one event for every tag and, apart from it, one for every manifest. Never told: the media type, an id.

Documented at https://docs.mirantis.com/msr/ ("Manage webhooks")
"""

from __future__ import annotations

from typing import Final

from listener.core import events
from listener.core.events import Delivery, Parsed
from listener.dialects import payload
from listener.dialects.payload import Findings, Unusable
from listener.errors import MalformedDelivery

_EXPECTED: Final = 'MSR\'s JSON object {"type": "TAG_PUSH", "contents": {…}}'


def recognises(delivery: Delivery) -> bool:
    body = payload.peek_object(delivery)
    return "contents" in body and "type" in body


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is not what MSR sends."""
    body = payload.json_object(delivery, _EXPECTED)
    kind = payload.text(body, "type")
    if not kind:
        raise MalformedDelivery(f'expected {_EXPECTED}, the body has no "type"')
    findings = Findings()
    image = payload.child(body, "contents")
    repository, tag = payload.joined(image, "namespace", "repository"), image.get("tag")
    what = payload.title(kind, repository, payload.text(image, "tag"), payload.text(image, "digest"))
    if kind != "TAG_PUSH":
        findings.ignore(what, "only a TAG_PUSH moves a tag")
        return findings.parsed()
    try:
        findings.push(
            payload.push(
                registry=_host(payload.text(image, "imageName"), repository),
                repository=repository,
                tag=tag,
                digest=image.get("digest"),
                timestamp=events.timestamp(payload.text(image, "pushedAt") or payload.text(body, "createdAt")),
                actor=payload.label(image, "author"),
            )
        )
    except Unusable as unusable:
        findings.refuse(what, str(unusable))
    return findings.parsed()


def _host(image_name: str, repository: str) -> str | None:
    """What stands before the repository, if anything does."""
    host, _, rest = image_name.partition("/")
    name = rest.partition("@")[0].partition(":")[0]
    return payload.host(host) if name.lower() == repository.lower() else None
