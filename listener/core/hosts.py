"""Which hosts may be called, and at which addresses: what a stream names is written by a user and not to be trusted.

A name that a user writes may belong to anybody, and may lead to any address: to the cloud's metadata service, to the
API server, to a database. So a host is called at a public address, or because the operator named it: as a registry in
the settings, or by a pattern in the list of allowed ones. Then it is called wherever it is.

This room judges names and addresses. It must not know how a name is resolved, nor what is asked of a host; addresses
are to be judged at the moment of connecting, as they then are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import translate
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from listener.core.references import canonical_registry

# Of the whole IPv6 space only this is given out for hosts on the Internet; `is_global` calls more of it so.
_GLOBAL_UNICAST: Final = ip_network("2000::/3")
_NAT64: Final = ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = ip_network("::/96")
# Not private by the letter, and yet on no machine of the Internet: IETF protocol assignments (Oracle Cloud's metadata
# service is in there), and the host agent that every virtual machine on Azure can reach.
_INFRASTRUCTURE: Final = (ip_network("192.0.0.0/24"), ip_network("168.63.129.16/32"))

_PORT: Final = re.compile(r":[0-9]+$")
_PORT_GLOB: Final = re.compile(r":[^\]:]+$")
_HUB: Final = ("docker.io", "registry-1.docker.io", "index.docker.io")


class _Pattern:
    """One allowed host. Without a port it stands for every port."""

    def __init__(self, glob: str) -> None:
        glob = glob.lower()
        if glob.startswith("["):
            glob = glob.replace("[", "[[]")  # an IPv6 address, not a choice of letters
        self._any_port = _PORT_GLOB.search(glob) is None
        self._fits = re.compile(translate(glob)).match

    def matches(self, host: str) -> bool:
        return self._fits(_PORT.sub("", host) if self._any_port else host) is not None


class HostPolicy:
    """Who may be called. Hosts are written as in pull specs, with a port where there is one, in any case."""

    def __init__(self, allowed: Sequence[str], trusted: Collection[str]) -> None:
        """Take patterns of hosts (`*.example.com`, `registry.*:5000`), and the registries of the settings.

        A pattern without a port stands for every port; `*` also matches dots. Without patterns every host is allowed.
        Docker Hub's three names are one.
        """
        self._open = not allowed
        self._allowed = [_Pattern(glob) for glob in allowed]
        self._trusted = frozenset(canonical_registry(host) for host in trusted)

    def trusts(self, host: str) -> bool:
        """Tell whether the operator named the host: as a registry, or by a pattern. Then it may be at any address."""
        if canonical_registry(host) in self._trusted:
            return True
        return any(pattern.matches(name) for name in _names(host) for pattern in self._allowed)

    def names(self, host: str) -> str | None:
        """Say in a sentence why a registry may not be called by this name; None if it may."""
        if self._open or self.trusts(host):
            return None
        return f"{host} is not on the list of allowed registries (imports.allowed)"

    def address(self, host: str, address: str) -> str | None:
        """Say in a sentence why this host may not be connected to at this address; None if it may."""
        if self.trusts(host) or is_public(address):
            return None
        found = address if host == address else f"{host} is at {address}, which"
        return f"{found} is no public address. If it is meant, add it to the allowed registries (imports.allowed)"


def is_public(address: str) -> bool:
    """Tell whether the text is an address on the Internet, looking into IPv6 addresses that stand for an IPv4 one."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        inner = _inner(found)
        if inner is None:
            return found in _GLOBAL_UNICAST and found.is_global
        found = inner
    if found.is_multicast or not found.is_global:
        return False
    return not any(found in network for network in _INFRASTRUCTURE)


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a packet to this one ends at: mapped, 6to4, NAT64, or the obsolete compatible form."""
    if inner := address.ipv4_mapped or address.sixtofour:
        return inner
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def _names(host: str) -> Iterable[str]:
    canonical = canonical_registry(host)
    return _HUB if canonical == _HUB[0] else (canonical,)
