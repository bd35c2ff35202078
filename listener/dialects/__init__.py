"""How registries say that something was pushed: one module per product, all of one shape, and the table naming them.

A dialect turns a raw delivery into what it holds. Whether the sender may say so was decided before; whether it is
true is decided later. A dialect must not know another one, a web framework, or the clock. What several share is in
`payload` and `notifications`. The guide for a registry's people stands beside its dialect, under the dialect's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from listener.core.authentication import Signature
from listener.core.events import Delivery, Parsed
from listener.dialects import distribution


@dataclass(frozen=True, slots=True)
class Dialect:
    """One product's way to say it.

    `recognises` never raises. `parse` raises `MalformedDelivery` if the body is not what the product sends, and
    nothing else. `signature` is how the product signs, if it does by a shared secret. `has_digests` tells that its
    pushes name the digest; the others' are resolved. `patience_seconds` is how long its sender waits for an answer.
    """

    name: str
    title: str
    recognises: Callable[[Delivery], bool]
    parse: Callable[[Delivery], Parsed]
    signature: Signature | None = None
    has_digests: bool = True
    patience_seconds: float = 10


_ALL: Final = (
    # In the order in which `detect` asks: the surer signs first, headers before bodies.
    Dialect(
        "distribution",
        "CNCF Distribution (registry:2, registry:3)",
        distribution.recognises,
        distribution.parse,
        patience_seconds=2,
    ),
)

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType({dialect.name: dialect for dialect in _ALL})


def detect(delivery: Delivery) -> Dialect | None:
    """Return the dialect a delivery is written in, None if it is none we know. For the setting `auto`."""
    return next((dialect for dialect in DIALECTS.values() if dialect.recognises(delivery)), None)
