"""Harbor: its default payload, and its CloudEvents.

Three tries within its time-out of 3 s, then the event is lost; only 2xx counts, so an error for what is merely not for
us would burn a try. It leaves after the tag is in Harbor's database. No order, and several policies deliver one push
several times; the default payload has no id. Never told: the media type (charts look like images), and a tag that was
added to an image in the UI or by API.

A push without a tag (each child of an index) has its digest where the tag belongs. What replication brought comes as a
push by `harbor-jobservice`. The host is that of Harbor's external URL.

Documented at https://goharbor.io/docs/main/working-with-projects/project-configuration/configure-webhooks/
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from listener.core.events import Delivery, Parsed
from listener.dialects import cloud_events, payload
from listener.dialects.payload import Findings, Unusable
from listener.errors import MalformedDelivery

_EXPECTED: Final = 'Harbor\'s JSON object {"type": …, "event_data": …}, or its CloudEvent'
_CLOUD_EVENTS: Final = "harbor."
_PUSHES: Final = frozenset({"PUSH_ARTIFACT", "harbor.artifact.pushed", "pushImage"})  # the last is Harbor 1's


@dataclass(frozen=True, slots=True)
class _Event:
    """What both payloads say, each in its own place."""

    type: str
    data: dict[str, Any]
    timestamp: datetime | None
    actor: str | None
    event_id: str | None


def recognises(delivery: Delivery) -> bool:
    """Tell by the type of the CloudEvent, or by the default payload's `event_data`."""
    return any(each.startswith(_CLOUD_EVENTS) for each in cloud_events.types(delivery)) or (
        "event_data" in payload.peek_object(delivery)
    )


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is neither of Harbor's payloads."""
    findings = Findings()
    if cloud_events.types(delivery):
        for event in cloud_events.read(delivery, _EXPECTED, findings):
            data = event.data if isinstance(event.data, dict) else {}
            _take(_Event(event.type, data, event.time, payload.label(event.attributes, "operator"), event.id), findings)
    else:
        body = payload.json_object(delivery, _EXPECTED)
        kind = payload.text(body, "type")
        if not kind:
            raise MalformedDelivery(f'expected {_EXPECTED}, the body has no "type"')
        moment = payload.unix_time(body.get("occur_at"))
        _take(_Event(kind, payload.child(body, "event_data"), moment, payload.label(body, "operator"), None), findings)
    return findings.parsed()


def _take(event: _Event, findings: Findings) -> None:
    repository = _repository(event.data)
    if event.type not in _PUSHES:
        findings.ignore(payload.title(event.type, repository), "only a pushed artifact moves a tag")
        return
    resources = payload.members(event.data, "resources")
    if not resources:
        findings.refuse(payload.title("push", repository), '"resources" are missing')
    for position, resource in enumerate(resources):
        if isinstance(resource, dict):
            _take_resource(event, repository, resource, findings)
        else:
            findings.refuse(f"resources[{position}]", "a resource must be a JSON object")


def _take_resource(event: _Event, repository: str, resource: dict[str, Any], findings: Findings) -> None:
    tag, digest = resource.get("tag"), resource.get("digest")
    if not tag or payload.is_digest(tag):
        what = payload.title("push", repository, digest=payload.text(resource, "digest"))
        findings.ignore(what, payload.BY_DIGEST)
        return
    try:
        findings.push(
            payload.push(
                registry=payload.host(payload.text(resource, "resource_url")),
                repository=repository,
                tag=tag,
                digest=digest,
                timestamp=event.timestamp,
                actor=event.actor,
                event_id=event.event_id,
            )
        )
    except Unusable as unusable:
        findings.refuse(payload.title("push", repository, payload.text(resource, "tag")), str(unusable))


def _repository(data: dict[str, Any]) -> str:
    found = payload.child(data, "repository")
    return payload.text(found, "repo_full_name") or payload.joined(found, "namespace", "name")
