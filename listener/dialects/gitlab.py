"""The GitLab container registry.

A fork of distribution with the same events, but it gives up: after `maxretries` attempts (10, with growing pauses) an
event is dropped, and so is what exceeds a queue of 3,000. One event at a time, in order; the queue dies with the
process after some 5 s. As in distribution the event leaves before the tag moves. `request.host` is the registry's
host, not GitLab's, and the repository is GROUP/…/PROJECT or has one name more.

Documented at https://docs.gitlab.com/administration/packages/container_registry/
"""

from __future__ import annotations

from listener.core.events import Delivery, Parsed
from listener.dialects import notifications


def recognises(_: Delivery) -> bool:
    """Never: nothing in a delivery tells it from distribution's, which reads it as well."""
    return False


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is no envelope."""
    return notifications.envelope(delivery)
