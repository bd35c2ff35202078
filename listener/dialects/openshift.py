"""OpenShift's integrated registry.

A build of distribution, so it delivers as that does: the same envelope for ever until it is taken, and nothing else
meanwhile. Its own configuration has no endpoints and no released documentation since 3.5 describes any: somebody has
to mount one. `request.host` is image-registry.openshift-image-registry.svc:5000 for pushes from inside, the repository
is NAMESPACE/STREAM, and the actor a service account.

Discussed at https://github.com/openshift/image-registry/issues/206
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
