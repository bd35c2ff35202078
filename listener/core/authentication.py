"""Whether a delivery carries the secret its registry was given. Compared in constant time, and never shown."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest


@dataclass(frozen=True, slots=True)
class Bearer:
    """`Authorization: Bearer SECRET`."""


@dataclass(frozen=True, slots=True)
class Basic:
    """`Authorization: Basic base64(USERNAME:SECRET)`."""

    username: str


@dataclass(frozen=True, slots=True)
class Header:
    """The whole value of a header is the secret. `name` is in lower case."""

    name: str


@dataclass(frozen=True, slots=True)
class Open:
    """No secret at all; somebody wrote that out in the settings."""


Scheme = Bearer | Basic | Header | Open


def admits(scheme: Scheme, secret: bytes, headers: Mapping[str, str]) -> bool:
    """Tell whether the headers (names in lower case) carry the secret. An empty secret admits nobody."""
    if isinstance(scheme, Open):
        return True
    sent = _sent(scheme, headers)
    return bool(secret) and sent is not None and compare_digest(sent, _expected(scheme, secret))


def _expected(scheme: Bearer | Basic | Header, secret: bytes) -> bytes:
    return scheme.username.encode() + b":" + secret if isinstance(scheme, Basic) else secret


def _sent(scheme: Bearer | Basic | Header, headers: Mapping[str, str]) -> bytes | None:
    if isinstance(scheme, Header):
        value = headers.get(scheme.name)
        return None if value is None else _raw(value)
    kind, _, credentials = headers.get("authorization", "").partition(" ")
    if kind.lower() != ("basic" if isinstance(scheme, Basic) else "bearer"):
        return None
    if isinstance(scheme, Bearer):
        return _raw(credentials.strip())
    try:
        return base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None


def _raw(value: str) -> bytes:
    """The bytes that were on the wire: HTTP servers hand out header values decoded, with what is no UTF-8 escaped."""
    return value.encode(errors="surrogateescape")
