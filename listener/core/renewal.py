"""When our CA and our serving certificate are made anew, and in which order.

All of it stands in one Secret, and every replica may write it: the first write wins, the others take what it wrote.
`ca.crt` is the bundle that API servers are given, `ca.key` the key of the one CA in it that signs, the signer. An API
server believes the bundle that it last saw in the webhook configuration, so a change of CA goes in this order:

1. STAGE: a new CA joins the bundle and becomes the signer; the certificate in use stays, and so does who signed it.
2. The bundle is put into the webhook configuration, and has been there for `SETTLED`: every API server has seen it.
3. SIGN: the certificate is signed by the new CA. Replicas take it one after another, and both kinds are believed.
4. FORGET: after `OVERLAP` nobody serves the old kind any more, and the old CA leaves the bundle.

Where there is no certificate that anybody would believe there is none to wait for: BEGIN makes everything at once.

It knows what certificates say. It must not know how they are made, nor what time it is.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

AUTHORITY_LIFE: Final = timedelta(days=3650)
LEAF_LIFE: Final = timedelta(days=90)
BACKDATED: Final = timedelta(hours=1)
"""A new certificate is valid from this long ago: an API server's clock may be behind ours."""

SETTLED: Final = timedelta(minutes=5)
OVERLAP: Final = timedelta(days=1)

BUNDLE, SIGNER_KEY, LEAF, LEAF_KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"

_LABEL: Final = re.compile(r"[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?")


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret as it was read, without base64. Absent data and none are the same."""

    namespace: str
    name: str
    resource_version: str
    data: Mapping[str, bytes] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Webhooks:
    """A webhook configuration: the names of its webhooks, and the CA bundle of each."""

    name: str
    bundles: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA certificate, in PEM."""

    certificate: bytes = field(repr=False)
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Leaf:
    """A serving certificate and the key that fits it, in PEM. Without `authority` it is not signed by a CA of ours."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    hosts: frozenset[str]
    begins: datetime
    ends: datetime
    authority: Authority | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What there is, of what can be read. `key` is the signer's; the signer is one of the authorities."""

    authorities: tuple[Authority, ...] = ()
    signer: Authority | None = None
    key: bytes = field(default=b"", repr=False)
    leaf: Leaf | None = None

    @property
    def bundle(self) -> bytes:
        """What API servers are given to believe in."""
        return b"".join(authority.certificate for authority in self.authorities)

    def data(self) -> dict[str, bytes]:
        """How it stands in the Secret."""
        leaf = self.leaf
        return {
            BUNDLE: self.bundle,
            SIGNER_KEY: self.key,
            LEAF: leaf.certificate if leaf else b"",
            LEAF_KEY: leaf.key if leaf else b"",
        }


class Step(StrEnum):
    KEEP = "keep"
    BEGIN = "begin"
    """A new CA and a certificate by it. What there was counts for nothing."""
    STAGE = "stage"
    """A new CA, beside the one that the certificate in use is by; that one stays in use."""
    SIGN = "sign"
    """A new certificate by the signer."""
    FORGET = "forget"
    """Of the CAs only the signer is left."""


def next_step(held: Held, hosts: Collection[str], now: datetime, *, published_for: timedelta | None) -> Step:
    """Say what is to be done now; there may be another step after it.

    `hosts` are canonical. `published_for` is how long the bundle has been in the webhook configuration, None: it is
    not. A certificate for more hosts than these is kept: replicas of two releases would else sign against each other.
    """
    signer, leaf = held.signer, held.leaf
    can_sign = signer is not None and _is_valid(signer, now)
    if leaf is None or not is_believed(leaf, now):
        return Step.SIGN if can_sign else Step.BEGIN
    if signer is None or not can_sign or _is_due(signer, now):
        return Step.STAGE
    if leaf.authority != signer:
        return Step.SIGN if published_for is not None and published_for >= SETTLED else Step.KEEP
    if _is_due(leaf, now) or not leaf.hosts.issuperset(hosts):
        return Step.SIGN
    if len(held.authorities) > 1 and now - leaf.begins >= BACKDATED + OVERLAP:
        return Step.FORGET
    return Step.KEEP


def is_believed(leaf: Leaf, now: datetime) -> bool:
    """Tell whether who has the bundle believes the certificate now."""
    return leaf.authority is not None and _is_valid(leaf, now) and _is_valid(leaf.authority, now)


def recovered(held: Held, in_use: Leaf | None, now: datetime) -> Held:
    """Fill a Secret that lost everything with the certificate in use.

    So its CA stays in the bundle until another has taken over, and no API server is refused meanwhile.
    """
    is_lost = held.signer is None and not (held.leaf and is_believed(held.leaf, now))
    if not is_lost or in_use is None or in_use.authority is None or not is_believed(in_use, now):
        return held
    return Held((in_use.authority,), leaf=in_use)


def canonical_host(host: str) -> str:
    """A DNS name or an IP address as certificates are compared by it. Raises ValueError for what is neither.

    An address with a zone (fe80::1%eth0) is neither: a certificate cannot name it.
    """
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host if "%" not in host else ""))
    name = host.lower().removesuffix(".")
    labels = name.removeprefix("*.").split(".")
    if len(name) > 253 or not all(len(label) <= 63 and _LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{host!r} is neither a DNS name nor an IP address")
    return name


def _is_valid(certificate: Authority | Leaf, now: datetime) -> bool:
    return certificate.begins <= now < certificate.ends


def _is_due(certificate: Authority | Leaf, now: datetime) -> bool:
    """Two thirds of its life are over: the last third is for whatever keeps us from renewing it."""
    return now >= certificate.begins + (certificate.ends - certificate.begins) * 2 / 3
