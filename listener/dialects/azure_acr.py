"""Azure container registry, its own webhooks.

One bare event per request, of the kind that distribution writes, without an actor. Azure also sends through Event
Grid, which is another dialect.

Facts:
- Nothing is signed: the secret is a custom header.
- When it is sent again, and how long an answer is waited for, is not documented; `az acr webhook list-events` shows
  the attempts. Order is not promised.
- With geo-replication the receiving region sends the event, and each replica one more as it catches up, under ids of
  their own.
- A tag that is deleted (and its manifest is not) raises nothing. `chart_push` and `chart_delete` are of the old chart
  repositories, `ping` is the button.

Documented at https://learn.microsoft.com/azure/container-registry/container-registry-webhook-reference
"""

from __future__ import annotations

from typing import Final

from listener.core.events import Delivery, Parsed
from listener.dialects import notifications, payload
from listener.dialects.payload import Findings
from listener.errors import MalformedDelivery

_EXPECTED: Final = 'a JSON object with "action" and "target"'


def recognises(delivery: Delivery) -> bool:
    """Tell by a bare event: an action, and what it was done to or by whose request."""
    found = payload.peek_object(delivery)
    about = payload.child(found, "target") or payload.child(found, "request")
    return bool(payload.text(found, "action") and about)


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is no event. An empty one is a ping."""
    findings = Findings()
    if not delivery.body.strip():
        findings.ignore("ping", "an empty body")
        return findings.parsed()
    event = payload.json_object(delivery, _EXPECTED)
    if not payload.text(event, "action"):
        raise MalformedDelivery(f'expected {_EXPECTED}, the body has no "action"')
    notifications.take(event, findings)
    return findings.parsed()
