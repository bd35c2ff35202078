"""Container registries: digests, indexes and tags of images that streams name. The only package that knows registries.

    client         the three questions, with each login in turn, over the schemes that may be used
    door           challenges, redirects, and what a registry is remembered for
    tokens         the token servers
    transport      one request: pace, limits, addresses
    certificates   whose certificate is believed at which host
    failures       every way not to get an answer, and the words for it
    links          the Link header

What a stream names was written by a user of the cluster, and what a registry answers by whoever runs it: both are
bounded, and neither leads this service to an address that `core.hosts` does not let through. No message, log line or
chained error holds a credential, a token, or the query of a URL.
"""

from listener.edges.registry.certificates import HostSettings
from listener.edges.registry.client import Registries

__all__ = ["HostSettings", "Registries"]
