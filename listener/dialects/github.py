"""GitHub packages: ghcr.io, the events `package` and `registry_package`.

One attempt within 10 s (30 s on Enterprise Server), no order, no retries: what failed can be delivered again by hand or
API for three days, under the same `X-GitHub-Delivery`. A hook that has both events delivers each push twice, under two
ids. The body is signed where a secret is set; sent as a form, the form is what is signed.

A package without a tag (a child of an index, an attestation) comes with the empty tag. Owners keep their capitals,
pull specs do not. `package_version.created_at` may be year 1, so the package's `updated_at` is the time. A hook may
carry any other event of the repository too.

Documented at https://docs.github.com/en/webhooks/webhook-events-and-payloads#package
"""

from __future__ import annotations

from typing import Any, Final

from listener.core import events
from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import payload
from listener.dialects.payload import Findings, Unusable
from listener.errors import MalformedDelivery

_EXPECTED: Final = 'GitHub\'s JSON object {"action": …, "package": {…}}'
_PACKAGES: Final = ("package", "registry_package")  # the event's name, and the member that holds it
_PUSHES: Final = frozenset({"published", "updated", "create"})  # the last is from before `package_type`
_CONTAINERS: Final = frozenset({"container", "docker"})
_HOST: Final = "ghcr.io"


def recognises(delivery: Delivery) -> bool:
    """Tell by GitHub's own header, which Gitea and Forgejo send as well: these are asked first."""
    return "x-github-event" in delivery.headers


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is not what GitHub sends."""
    body = payload.json_object(payload.form(delivery), _EXPECTED)
    findings = Findings()
    event = delivery.headers.get("x-github-event", "").strip().lower()
    if event and event not in _PACKAGES:
        findings.ignore(f"event {event}", "only events of packages move a tag")
        return findings.parsed()
    package = next((found for name in _PACKAGES if isinstance(found := body.get(name), dict)), None)
    if package is None:
        raise MalformedDelivery(f"expected {_EXPECTED}, the body has no package")
    _take(delivery, body, package, findings)
    return findings.parsed()


def _take(delivery: Delivery, body: dict[str, Any], package: dict[str, Any], findings: Findings) -> None:
    action = payload.text(body, "action")
    host, repository = _name(package)
    metadata = payload.child(package, "package_version", "container_metadata")
    tag = payload.child(metadata, "tag").get("name")
    what = payload.title(action, repository, tag if isinstance(tag, str) else "", _digest(package))
    try:
        if why := _reason_to_ignore(action, package, tag):
            findings.ignore(what, why)
        else:
            findings.push(_push(delivery, body, package, host, repository, tag))
    except Unusable as unusable:
        findings.refuse(what, str(unusable))


def _reason_to_ignore(action: str, package: dict[str, Any], tag: object) -> str | None:
    if action not in _PUSHES:
        return "only a published or updated package moves a tag"
    kind = payload.text(package, "package_type") or payload.text(package, "ecosystem")
    if kind.lower() not in _CONTAINERS:
        return f"a package of type {kind or 'unknown'} is no container"
    media_type = _media_type(package)
    if media_type and (why := payload.no_manifest(media_type.lower())):
        return why
    return payload.BY_DIGEST if not tag or payload.is_digest(tag) else None


def _push(
    delivery: Delivery, body: dict[str, Any], package: dict[str, Any], host: str, repository: str, tag: object
) -> PushEvent:
    return payload.push(
        registry=payload.host(host),
        repository=repository,
        tag=tag,
        digest=_digest(package),
        media_type=payload.shown(_media_type(package), lower=True),
        timestamp=events.timestamp(payload.text(package, "updated_at")),
        actor=payload.label(payload.child(body, "sender"), "login"),
        event_id=payload.shown(delivery.headers.get("x-github-delivery", "")),
    )


def _name(package: dict[str, Any]) -> tuple[str, str]:
    """Host and repository; `namespace` has been seen with and without the name of a source repository."""
    url = payload.text(payload.child(package, "package_version"), "package_url")
    host, _, path = url.partition("/")
    repository = path.partition("@")[0].partition(":")[0]
    if repository:
        return host, repository
    return _HOST, payload.joined(package, "namespace", "name")


def _digest(package: dict[str, Any]) -> str:
    """The first digest there is. One that is none is returned only where no other says better."""
    version = payload.child(package, "package_version")
    metadata = payload.child(version, "container_metadata")
    sent = [
        payload.text(payload.child(metadata, "manifest"), "digest"),
        payload.text(payload.child(metadata, "tag"), "digest"),
    ]
    if payload.is_digest(version.get("version")):
        sent.append(payload.text(version, "version"))
    found = [digest for digest in sent if digest]
    return next((digest for digest in found if payload.is_digest(digest)), found[0] if found else "")


def _media_type(package: dict[str, Any]) -> str:
    return payload.text(payload.child(package, "package_version", "container_metadata", "manifest"), "media_type")
