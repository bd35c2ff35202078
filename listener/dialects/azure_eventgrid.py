"""Azure container registry through Event Grid: its own schema, or CloudEvents.

A list of events per request, one unless batches were switched on. `data` is what the registry's own webhook sends.
Before anything comes, the address is to be proved. Event Grid's schema does so by a first event whose code is sent
back as the answer; the CloudEvents schema by an OPTIONS request, which no dialect sees.

Facts:
- Nothing is signed: an Entra token, a custom header or a secret in the query.
- An answer is waited for 30 s. Then, and after most errors, the event comes again, after 10 s first and hours at last,
  for 24 hours. 400, 401, 403 and 413 end it at once: that event is lost, or goes to a dead letter.
- At least once, in any order. The outer `id` is the same on every retry.
- What is done stands in the event's type alone: the inner `action` of a deletion has been seen to say "push".

Documented at https://learn.microsoft.com/azure/event-grid/event-schema-container-registry and, about the proof, at
https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from listener.core.events import Delivery, Parsed
from listener.dialects import cloud_events, notifications, payload
from listener.dialects.payload import Findings, Unusable

_EXPECTED: Final = "a list of Event Grid events"
_REGISTRY: Final = "Microsoft.ContainerRegistry."
_PUSHED: Final = "Microsoft.ContainerRegistry.ImagePushed"
_VALIDATION: Final = "Microsoft.EventGrid.SubscriptionValidationEvent"
_MAX_CODE: Final = 256


def recognises(delivery: Delivery) -> bool:
    """Tell by its header, by the types of CloudEvents, or by the schema."""
    if "aeg-event-type" in delivery.headers:
        return True
    if types := cloud_events.types(delivery):
        return types[0].startswith(_REGISTRY)
    found = payload.peek(delivery)
    first = found[0] if isinstance(found, list) and found else found
    return isinstance(first, dict) and bool(payload.text(first, "eventType"))


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is no event and no list."""
    findings = Findings()
    code = None
    for where, kind, event_id, data in _events(delivery, findings):
        if kind == _VALIDATION:
            code = _taken_code(where, data, findings) or code
        elif kind == _PUSHED:
            _take(where, event_id, data, findings)
        else:
            findings.ignore(f"{where} {kind}", f"only {_PUSHED} moves a tag")
    parsed = findings.parsed()
    return parsed._replace(reply={"validationResponse": code}) if code else parsed


def _events(delivery: Delivery, findings: Findings) -> Iterator[tuple[str, str, str | None, Any]]:
    """Where each event is, its type, its id and its data, in either schema."""
    if "ce-type" in delivery.headers:
        for event in cloud_events.read(delivery, _EXPECTED, findings):
            yield "event", event.type, event.id, event.data
        return
    found = payload.decoded(delivery, _EXPECTED)
    several = found if isinstance(found, list) else [payload.json_object(delivery, _EXPECTED)]
    for position, each in enumerate(payload.bounded(several, "the list")):
        where = f"events[{position}]"
        if isinstance(each, dict) and (kind := payload.text(each, "eventType")):
            yield where, kind, payload.label(each, "id"), each.get("data")
            continue
        try:
            event = cloud_events.structured(each)
        except Unusable:
            findings.refuse(where, 'an event must be a JSON object with "eventType", or a CloudEvent')
            continue
        yield where, event.type, event.id, event.data


def _taken_code(where: str, data: Any, findings: Findings) -> str | None:
    code = payload.text(data, "validationCode") if isinstance(data, dict) else ""
    if not code or len(code) > _MAX_CODE or not code.isprintable():
        findings.refuse(f"{where} {_VALIDATION}", '"data.validationCode" is missing, or is none')
        return None
    findings.ignore(f"{where} {_VALIDATION}", "the code is sent back, which proves the address")
    return code


def _take(where: str, event_id: str | None, data: Any, findings: Findings) -> None:
    if not isinstance(data, dict):
        findings.refuse(f"{where} {_PUSHED}", '"data" must be a JSON object')
        return
    notifications.take({**data, "id": event_id or data.get("id")}, findings)
