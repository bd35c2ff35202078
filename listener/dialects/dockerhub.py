"""Docker Hub.

Time-out, retries and order are documented nowhere; what failed shows in the repository's "Webhooks" tab. Identical
deliveries for one tag are ordinary: a push for five platforms may raise six. Hub signs nothing and sends no header:
the secret is in the URL. The host is always docker.io.

Never told: the digest, the id, the manifest's media type. `push_data.media_type`, where it is sent, is the *config's*
(a chart's or an image's), and `images` is empty. The time is in Unix seconds, in older payloads as a float.
`callback_url` is a relic of chained webhooks; we call no address that a payload names.

Documented at https://docs.docker.com/docker-hub/repos/manage/webhooks/
"""

from __future__ import annotations

from typing import Any, Final

from listener.core import references
from listener.core.events import Delivery, Parsed
from listener.dialects import payload
from listener.dialects.payload import Findings, Unusable
from listener.errors import MalformedDelivery

_EXPECTED: Final = 'Docker Hub\'s JSON object {"push_data": {…}, "repository": {…}}'


def recognises(delivery: Delivery) -> bool:
    """Tell by `push_data`, which Alibaba sends too, together with a region."""
    body = payload.peek_object(delivery)
    return "push_data" in body and not payload.text(payload.child(body, "repository"), "region")


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is not what Docker Hub sends."""
    body = payload.json_object(delivery, _EXPECTED)
    pushed = body.get("push_data")
    if not isinstance(pushed, dict):
        raise MalformedDelivery(f'expected {_EXPECTED}, the body has no "push_data"')
    findings = Findings()
    repository = _repository(payload.child(body, "repository"))
    try:
        findings.push(
            payload.push(
                registry=references.DOCKER_HUB,
                repository=repository,
                tag=pushed.get("tag"),
                timestamp=payload.unix_time(pushed.get("pushed_at")),
                actor=payload.label(pushed, "pusher"),
            )
        )
    except Unusable as unusable:
        findings.refuse(payload.title("push", repository, payload.text(pushed, "tag")), str(unusable))
    return findings.parsed()


def _repository(found: dict[str, Any]) -> str:
    """The name as pull specs have it: official images stand below `library/`, which nobody writes."""
    name = payload.text(found, "repo_name") or payload.joined(found, "namespace", "name")
    return f"library/{name}" if name and "/" not in name else name
