"""A package that Gitea or Forgejo tells of. Both send the same; each has headers of its own besides the other's.

Facts (read in Gitea's source):
- One attempt, 5 s by default (`webhook.DELIVER_TIMEOUT`), no retry but the button of the delivery's page. What was not
  sent before a restart is sent after it.
- The signature is an HMAC-SHA256 of the JSON. Sent as a form, it is that of the JSON inside still, so a form cannot be
  checked. Without a secret the signature is there and empty.
- `created` for an overwritten tag too. The children of an index are versions that are digests. A version is stored in
  lower case: RC1 arrives as rc1. No digest of a tag, no media type.
- It is sent when all is stored. Private addresses are refused as targets unless `webhook.ALLOWED_HOST_LIST` names them.
- The host is that of the web pages; a registry with a host of its own must be set.

Documented at https://docs.gitea.com/usage/webhooks and https://forgejo.org/docs/latest/user/webhooks/
"""

from __future__ import annotations

from typing import Any, Final

from listener.core import events
from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import payload
from listener.dialects.payload import Findings, Unusable
from listener.errors import MalformedDelivery

_EXPECTED: Final = 'a JSON object with "action" and "package"'


def parse(delivery: Delivery, product: str) -> Parsed:
    """Return what the delivery of a product, in whose headers this name stands, says.

    Raises `MalformedDelivery` if the body is none of the event "package".
    """
    findings = Findings()
    event = delivery.headers.get(f"x-{product}-event", "package").strip().lower()
    if event != "package":
        findings.ignore(f"event {event}", 'only the event "package" tells of images')
        return findings.parsed()
    found = payload.json_object(payload.form(delivery), _EXPECTED)
    package = found.get("package")
    if not isinstance(package, dict):
        raise MalformedDelivery(f'expected {_EXPECTED}, the body has no "package"')
    _take(found, package, payload.shown(delivery.headers.get(f"x-{product}-delivery", "")), findings)
    return findings.parsed()


def _take(found: dict[str, Any], package: dict[str, Any], event_id: str | None, findings: Findings) -> None:
    action, kind, version = payload.text(found, "action"), payload.text(package, "type"), package.get("version")
    owner = payload.child(package, "owner")
    names = (payload.text(owner, "login") or payload.text(owner, "username"), payload.text(package, "name"))
    repository = "/".join(names) if all(names) else ""
    by_digest = payload.is_digest(version)
    shown = payload.text(package, "version")
    what = payload.title(action, repository, "" if by_digest else shown, shown)
    try:
        if not action or not kind:
            raise Unusable('"action" or "package.type" is missing')
        if kind.lower() != "container":
            findings.ignore(what, f"a package of type {kind} is no image")
        elif action != "created":
            findings.ignore(what, 'only "created" moves a tag')
        elif by_digest:
            findings.ignore(what, payload.BY_DIGEST)
        else:
            findings.push(_push(found, package, repository, event_id))
    except Unusable as unusable:
        findings.refuse(what, str(unusable))


def _push(found: dict[str, Any], package: dict[str, Any], repository: str, event_id: str | None) -> PushEvent:
    return payload.push(
        registry=payload.host(payload.text(package, "html_url")),
        repository=repository,
        tag=package.get("version"),
        timestamp=events.timestamp(payload.text(package, "created_at")),
        actor=payload.label(payload.child(found, "sender"), "login"),
        event_id=event_id,
    )
