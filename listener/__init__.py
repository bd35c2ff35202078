"""Image streams for every Kubernetes cluster, fed by the webhooks of any registry."""

__version__ = "0.1.0"
