"""Resource versions of the cluster's objects, as far as they can be compared."""

from __future__ import annotations


def is_newer(a: str, b: str) -> bool:
    """Tell whether resource version `a` is newer than `b`, of the same object or of another of the same resource.

    Compared as integers: documented to be comparable since Kubernetes 1.35, and true of every version before. What is
    no integer is treated as newer, for to take a state twice is harmless and to miss one is not.
    """
    if not (a.isdecimal() and b.isdecimal()):
        return True
    return int(a) > int(b)


def is_surely_older(a: str, b: str) -> bool:
    """Tell whether resource version `a` is older than `b`. What is no integer is not known to be."""
    return a.isdecimal() and b.isdecimal() and int(a) < int(b)
