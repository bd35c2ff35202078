"""An embedded Kubernetes API: real HTTP for real clients, everything in memory. See `embedded.Cluster`."""

from __future__ import annotations

from listener.sandbox.cluster.embedded import Cluster
from listener.sandbox.cluster.faults import Fault, Faults

__all__ = ["Cluster", "Fault", "Faults"]
