"""Gitea's own container registry. What it sends, and how, is told in `packages`."""

from __future__ import annotations

from listener.core.events import Delivery, Parsed
from listener.dialects import packages


def recognises(delivery: Delivery) -> bool:
    """Tell by its header; to be asked before GitHub, whose headers it sends as well."""
    return "x-gitea-event" in delivery.headers


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is none of the event "package"."""
    return packages.parse(delivery, "gitea")
