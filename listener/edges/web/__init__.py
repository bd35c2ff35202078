"""The doors: hooks for registries, and health and metrics for those who watch us. Bytes in, status codes out."""

from listener.edges.listening import Address, Server
from listener.edges.web.hooks import Gate, Hook, Hooks
from listener.edges.web.limits import Limits
from listener.edges.web.monitoring import Health, monitoring_app

__all__ = ["Address", "Gate", "Health", "Hook", "Hooks", "Limits", "Server", "monitoring_app"]
