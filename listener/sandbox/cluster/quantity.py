"""Kubernetes quantities (`500m`, `1.5Gi`, `2e3`) in the one spelling that the API server stores.

Rules of `k8s.io/apimachinery/pkg/api/resource`: no fraction, the largest suffix that keeps the number whole, the family
of suffixes as written, nothing finer than nano.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil, floor
from typing import Final

_QUANTITY: Final = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d{1,3})?"
)
_DECIMAL: Final = {-9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
_EXPONENT: Final = {suffix: exponent for exponent, suffix in _DECIMAL.items()}
_BINARY: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def amount(quantity: str) -> Fraction:
    """Return how much a well-formed quantity is, in units."""
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        raise ValueError(f"{quantity!r} is no quantity such as 500m or 1.5Gi")
    number, suffix = Fraction(match["number"]), match["suffix"] or ""
    if suffix in _BINARY[1:]:
        return number * Fraction(1024 ** _BINARY.index(suffix))
    exponent = _EXPONENT[suffix] if suffix in _EXPONENT else int(suffix[1:])
    return number * Fraction(10**exponent) if exponent >= 0 else number / Fraction(10**-exponent)


def canonical_quantity(value: object) -> str | None:
    """Return `value` (a string or a number) as the API server would store it, or `None` if it is no quantity."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    units, suffix = amount(str(value)), match["suffix"] or ""
    if suffix in _BINARY[1:]:
        return _decimal(units) if abs(units) < 1024 else _binary(units)
    if suffix in _EXPONENT:
        return _decimal(units)
    mantissa, exponent = _whole(units)
    return f"{mantissa}e{exponent}" if exponent else str(mantissa)


def _decimal(units: Fraction) -> str:
    mantissa, exponent = _whole(units)
    return f"{mantissa}{_DECIMAL[exponent]}"


def _binary(units: Fraction) -> str:
    whole, power = _away_from_zero(units), 0
    while whole % 1024 == 0 and power < len(_BINARY) - 1:
        whole, power = whole // 1024, power + 1
    return f"{whole}{_BINARY[power]}"


def _whole(units: Fraction) -> tuple[int, int]:
    mantissa, exponent = _away_from_zero(units * 10**9), -9
    if mantissa == 0:
        return 0, 0
    while mantissa % 1000 == 0 and exponent < 18:
        mantissa, exponent = mantissa // 1000, exponent + 3
    return mantissa, exponent


def _away_from_zero(units: Fraction) -> int:
    return ceil(units) if units > 0 else floor(units)
