"""JFrog Artifactory, the predefined webhook of the domain `docker`.

It retries what is not answered 2xx; how often, how long it waits, and in which order it sends are documented nowhere.
The one header `X-JFrog-Event-Auth` holds the secret itself or, with "use secret for payload signing", the HMAC of the
body: which of the two is for the settings to say. Custom webhooks have whatever body somebody wrote.

`repo_key` is the repository in Artifactory, and the first name of the image where images are named by the repository
path. It is the local one, also where people pull from a virtual one. Caches of remote registries raise `pushed` too.
`sha256` is that of the manifest file, which is the digest. Without a base URL there is no host, and it is that of the
settings. Never told: the time, an id, the media type.

Documented at https://jfrog.com/help/r/jfrog-platform-administration-documentation/webhooks
"""

from __future__ import annotations

from typing import Any, Final

from listener.core.events import Delivery, Parsed
from listener.dialects import payload
from listener.dialects.payload import Findings, Unusable
from listener.errors import MalformedDelivery

_EXPECTED: Final = 'JFrog\'s JSON object {"domain": "docker", "event_type": …, "data": {…}}'
_MANIFESTS: Final = frozenset({"", "manifest.json", "list.manifest.json"})


def recognises(delivery: Delivery) -> bool:
    return "x-jfrog-event-auth" in delivery.headers or (
        payload.peek_object(delivery).keys() >= {"domain", "event_type", "data"}
    )


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is not what JFrog sends."""
    body = payload.json_object(delivery, _EXPECTED)
    domain, kind = payload.text(body, "domain"), payload.text(body, "event_type")
    if not domain or not kind:
        raise MalformedDelivery(f'expected {_EXPECTED}, the body has no "domain" or no "event_type"')
    findings = Findings()
    image = payload.child(body, "data")
    repository, tag = payload.joined(image, "repo_key", "image_name"), image.get("tag")
    what = payload.title(f"{domain} {kind}", repository, payload.text(image, "tag"))
    if domain != "docker" or kind != "pushed":
        findings.ignore(what, "only an image that was pushed moves a tag")
        return findings.parsed()
    if payload.is_digest(tag):
        findings.ignore(what, payload.BY_DIGEST)
        return findings.parsed()
    try:
        findings.push(
            payload.push(
                registry=payload.host(payload.text(body, "jpd_origin")),
                repository=repository,
                tag=tag,
                digest=_digest(image),
                actor=payload.label(body, "source"),
            )
        )
    except Unusable as unusable:
        findings.refuse(what, str(unusable))
    return findings.parsed()


def _digest(image: dict[str, Any]) -> object:
    """The manifest's digest, None if the checksum is that of another file."""
    found = image.get("sha256")
    if payload.text(image, "name") not in _MANIFESTS:
        return None
    return f"sha256:{found}" if isinstance(found, str) and found and ":" not in found else found
