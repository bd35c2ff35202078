"""The doors: hooks for registries, and health and metrics for those who watch us. Bytes in, status codes out."""

from listener.edges.web.bodies import BODY_LIMIT
from listener.edges.web.hooks import Gate, Hook, Hooks
from listener.edges.web.limits import Limits
from listener.edges.web.monitoring import Health, monitoring_app
from listener.edges.web.server import Address, Server

__all__ = ["BODY_LIMIT", "Address", "Gate", "Health", "Hook", "Hooks", "Limits", "Server", "monitoring_app"]
