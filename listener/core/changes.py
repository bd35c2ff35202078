"""What a list and a watch of the cluster tell: the nouns between the cluster's edge and the one who follows it.

A watch promises that each change comes once and in order per object, from the resource version that a list ended with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Page(Generic[K, V]):
    """One page of a list.

    `keys` names every object on it, those too that could not be read: what is not named by any page is gone.
    `resource_version` is where a watch goes on.
    """

    objects: tuple[V, ...]
    keys: frozenset[K]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Seen(Generic[V]):
    """An object was created or changed."""

    value: V
    resource_version: str


@dataclass(frozen=True, slots=True)
class Gone(Generic[K]):
    """An object was deleted."""

    key: K
    resource_version: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Nothing changed up to here (a bookmark, or an object that could not be read)."""

    resource_version: str
