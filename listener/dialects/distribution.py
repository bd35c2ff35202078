"""CNCF Distribution ("registry:2", "registry:3").

An envelope `{"events": [...]}` per request, one event per envelope today and any number by its format. A non-2xx
answer makes the sender repeat that envelope for ever and send nothing else meanwhile, so one unusable event never
fails the others.
"""

from __future__ import annotations

from listener.core.events import Delivery, Parsed
from listener.dialects import notifications, payload


def recognises(delivery: Delivery) -> bool:
    """Tell by the content type, or by the envelope where a proxy rewrote that."""
    if delivery.headers.get("content-type", "").strip().lower().startswith(notifications.CONTENT_TYPE):
        return True
    return "events" in payload.peek_object(delivery)


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is no envelope."""
    return notifications.envelope(delivery)
