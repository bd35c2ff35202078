"""Amazon ECR through an API destination of EventBridge.

The body is the event, a list of events where the target batches, or what an input transformer makes of it, of which
one is known (`ecr_events`).

Facts:
- Nothing is signed: the connection adds Basic, a header ("API key") or an OAuth token.
- An answer is waited for 5 s. After 429, 5xx and silence the event comes again, for up to 24 hours and 185 times, then
  it goes to a dead letter queue if there is one. Another 4xx ends it.
- At least once, in any order, and some never.

Documented at https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-api-destinations.html
"""

from __future__ import annotations

from typing import Any, Final

from listener.core.events import Delivery, Parsed
from listener.dialects import cloud_events, ecr_events, payload
from listener.dialects.payload import Findings
from listener.errors import MalformedDelivery

_EXPECTED: Final = "an event of EventBridge or a list of them"


def recognises(delivery: Delivery) -> bool:
    """Tell by the source of the first event, or by the type of a CloudEvent."""
    if types := cloud_events.types(delivery):
        return types[0].startswith(ecr_events.TRANSFORMED)
    found = payload.peek(delivery)
    return ecr_events.is_event(found[0] if isinstance(found, list) and found else found)


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is no event and no list."""
    findings = Findings()
    found = payload.decoded(delivery, _EXPECTED)
    if isinstance(found, list):
        for position, event in enumerate(payload.bounded(found, "the list")):
            if not _take(event, findings):
                findings.refuse(f"events[{position}]", 'an event must be a JSON object with "detail-type"')
    elif not _take(found, findings):
        raise MalformedDelivery(f'expected {_EXPECTED}, the body has no "detail-type"')
    return findings.parsed()


def _take(found: Any, findings: Findings) -> bool:
    """Return whether this is an event at all."""
    if ecr_events.is_event(found):
        ecr_events.take(found, findings)
        return True
    if not isinstance(found, dict):
        return False
    title = payload.text(found, "detail-type") or (payload.text(found, "type") if cloud_events.is_event(found) else "")
    if title:
        findings.ignore(f"event {title}", f"of {payload.text(found, 'source') or 'nobody'}, not of aws.ecr")
    return bool(title)
