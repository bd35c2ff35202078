"""Whether a delivery carries the secret its registry was given. Compared in constant time, and never shown.

What is signed with somebody's private key (Google's tokens, Amazon's messages) is checked at the edge that fetches
the keys.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from listener.core.events import Delivery

ALGORITHMS: Final = ("sha1", "sha256", "sha512")

# GitHub signs the form, Gitea and Forgejo the JSON inside. Only the raw body is checked, whoever sent it.
_FORM: Final = "application/x-www-form-urlencoded"
_OF_A_FORM: Final = (
    ". It came as a form, and the signature may be that of the JSON inside: set the content type to JSON at its sender"
)


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
class Query:
    """The value of a parameter in the URL is the secret, for senders that can do nothing else."""

    name: str


@dataclass(frozen=True, slots=True)
class Signature:
    """A header holds the HMAC of the raw body, as hexadecimal digits after `prefix`, both in any case.

    `header` is in lower case.
    """

    header: str
    algorithm: str = "sha256"
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Open:
    """No secret at all; somebody wrote that out in the settings."""


Scheme = Bearer | Basic | Header | Query | Signature | Open


def needs_body(scheme: Scheme) -> bool:
    """Whether nothing can be said before the body was read."""
    return isinstance(scheme, Signature)


def admits(scheme: Scheme, secrets: Sequence[bytes], delivery: Delivery) -> bool:
    """Tell whether the delivery carries one of the secrets. An empty secret admits nobody."""
    if isinstance(scheme, Open):
        return True
    sent = _sent(scheme, delivery)
    if sent is None:
        return False
    # All are compared, whichever fits: the time tells nothing.
    fits = [hmac.compare_digest(sent, _expected(scheme, secret, delivery)) for secret in secrets if secret]
    return any(fits)


def complaint(scheme: Scheme, delivery: Delivery) -> str:
    """Say what was expected of a delivery that was not admitted, and whether anything of the kind was there."""
    match scheme:
        case Bearer():
            expected = "the header Authorization with a bearer token"
        case Basic():
            expected = "the header Authorization with user name and password (Basic)"
        case Header(name=name):
            expected = f"the secret in the header {name}"
        case Query(name=name):
            expected = f"the secret in the URL, as ?{name}="
        case Signature(header=header, algorithm=algorithm, prefix=prefix):
            hint = f", after {prefix}" if prefix else ""
            expected = f"the HMAC-{algorithm.upper()} of the raw body in the header {header}{hint}"
        case Open():
            return "expected nothing"
    if not _sent(scheme, delivery):
        return f"expected {expected}; found none"
    if isinstance(scheme, Signature):
        told = f"expected {expected}; found another: the secrets differ, or something on the way changed the body"
        is_form = delivery.headers.get("content-type", "").strip().lower().startswith(_FORM)
        return told + (_OF_A_FORM if is_form else "")
    return f"expected {expected}; found another"


def credentials(scheme: Scheme, secret: bytes, body: bytes) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the headers and the query that carry a secret: what a sender has to add."""
    shown = secret.decode(errors="surrogateescape")
    match scheme:
        case Bearer():
            return {"authorization": f"Bearer {shown}"}, {}
        case Basic(username=username):
            return {"authorization": "Basic " + base64.b64encode(username.encode() + b":" + secret).decode()}, {}
        case Header(name=name):
            return {name: shown}, {}
        case Query(name=name):
            return {}, {name: shown}
        case Signature():
            return {scheme.header: scheme.prefix + _mac(scheme, secret, body)}, {}
        case Open():
            return {}, {}


def _expected(scheme: Bearer | Basic | Header | Query | Signature, secret: bytes, delivery: Delivery) -> bytes:
    match scheme:
        case Basic(username=username):
            return username.encode() + b":" + secret
        case Signature():
            return _mac(scheme, secret, delivery.body).encode()
        case _:
            return secret


def _sent(scheme: Bearer | Basic | Header | Query | Signature, delivery: Delivery) -> bytes | None:
    match scheme:
        case Header(name=name):
            value = delivery.headers.get(name)
            return None if value is None else _raw(value)
        case Query(name=name):
            value = delivery.query.get(name)
            return None if value is None else _raw(value)
        case Signature(header=header, prefix=prefix):
            value = delivery.headers.get(header, "").strip().lower()
            return _raw(value[len(prefix) :]) if value.startswith(prefix.lower()) else None
    kind, _, rest = delivery.headers.get("authorization", "").partition(" ")
    if kind.lower() != ("basic" if isinstance(scheme, Basic) else "bearer"):
        return None
    if isinstance(scheme, Bearer):
        return _raw(rest.strip())
    try:
        return base64.b64decode(rest.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None


def _mac(scheme: Signature, secret: bytes, body: bytes) -> str:
    return hmac.new(secret, body, getattr(hashlib, scheme.algorithm)).hexdigest()


def _raw(value: str) -> bytes | None:
    """The bytes that were on the wire: HTTP servers hand out header values decoded, with what is no UTF-8 escaped.

    None for what can have been on no wire.
    """
    try:
        return value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return None
