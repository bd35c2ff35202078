"""Sonatype Nexus Repository 3, the capability "Webhook: Repository".

One attempt, no order: whatever is not below 300 is logged there and lost. With a secret the body is signed, by
HMAC-SHA1. Caches of remote registries raise the same events when they fill.

Never told: the registry's host (Docker connectors have ports or names of their own), so it is that of the settings;
the media type; and the digest, which asking the registry finds. Of the two types of event, `component` is one for a
tag, and `asset` one for every blob and manifest: with both subscribed each push comes twice.

Documented at https://help.sonatype.com/en/webhooks.html
"""

from __future__ import annotations

from typing import Any, Final

from listener.core import events
from listener.core.events import Delivery, Parsed
from listener.dialects import payload
from listener.dialects.payload import Findings, Unusable
from listener.errors import MalformedDelivery

_EXPECTED: Final = 'Nexus\' JSON object {"action": …, "component": {…}}'
_ID_HEADER: Final = "x-nexus-webhook-id"
_KINDS: Final = frozenset({"", "rm:repository:component", "rm:repository:asset"})
_PUSHES: Final = frozenset({"CREATED", "UPDATED"})


def recognises(delivery: Delivery) -> bool:
    return _ID_HEADER in delivery.headers


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is not what Nexus sends."""
    body = payload.json_object(delivery, _EXPECTED)
    findings = Findings()
    kind = delivery.headers.get(_ID_HEADER, "").strip().lower()
    if kind not in _KINDS:
        findings.ignore(f"event {kind}", "only components and assets of repositories move a tag")
        return findings.parsed()
    action = payload.text(body, "action").upper()
    if not action:
        raise MalformedDelivery(f'expected {_EXPECTED}, the body has no "action"')
    component, asset = payload.child(body, "component"), payload.child(body, "asset")
    subject = component or asset
    named = payload.text(subject, "name") or payload.text(body, "repositoryName")
    if action not in _PUSHES:
        findings.ignore(payload.title(action, named), "only what was created or updated moves a tag")
    elif not subject:
        findings.refuse(payload.title(action, named), 'neither "component" nor "asset" is there')
    elif (found := payload.text(subject, "format")).lower() != "docker":
        findings.ignore(payload.title(action, named), f"format {found or 'unknown'} is not docker")
    elif component:
        _take(delivery, body, named, component.get("version"), findings)
    else:
        repository, reference = _manifest(payload.text(asset, "name"))
        if reference:
            _take(delivery, body, repository, reference, findings)
        else:
            findings.ignore(payload.title(action, named), "no manifest, by its path")
    return findings.parsed()


def _take(delivery: Delivery, body: dict[str, Any], repository: str, reference: object, findings: Findings) -> None:
    shown = reference if isinstance(reference, str) else ""
    if payload.is_digest(reference):
        findings.ignore(payload.title("push", repository, digest=shown), payload.BY_DIGEST)
        return
    try:
        findings.push(
            payload.push(
                repository=repository,
                tag=reference,
                timestamp=events.timestamp(payload.text(body, "timestamp")),
                actor=payload.shown(payload.text(body, "initiator").partition("/")[0]),
                event_id=payload.shown(delivery.headers.get("x-nexus-webhook-delivery", "")),
            )
        )
    except Unusable as unusable:
        findings.refuse(payload.title("push", repository, shown), str(unusable))


def _manifest(path: str) -> tuple[str, str]:
    """Repository and reference of `…v2/REPOSITORY/manifests/REFERENCE`, both empty if it is no such path."""
    name, _, reference = path.rpartition("/manifests/")
    _, found, repository = f"/{name.lstrip('/')}".partition("/v2/")
    return (repository, reference) if found and name else ("", "")
