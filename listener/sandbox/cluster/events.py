"""Events in their two versions: `v1` as they are stored, `events.k8s.io/v1` as newer clients write and read them.

Pure. The field names are those of `k8s.io/kubernetes/pkg/apis/events/v1/conversion.go`; the rest has the same name in
both.
"""

from __future__ import annotations

from typing import Any

_RENAMED = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_BACK = {new: old for old, new in _RENAMED.items()}
_FIELDS_BACK = {"reportingController": "reportingComponent"}


def outward(stored: dict[str, Any]) -> dict[str, Any]:
    """Return a stored event as `events.k8s.io/v1` shows it."""
    return {_RENAMED.get(name, name): value for name, value in stored.items()}


def inward(shown: dict[str, Any]) -> dict[str, Any]:
    """Return an event written as `events.k8s.io/v1` as it is stored."""
    return {_BACK.get(name, name): value for name, value in shown.items()}


def stored_path(path: str) -> str:
    """Return where a field selector's path of `events.k8s.io/v1` is found in a stored event."""
    if path.startswith("regarding."):
        return "involvedObject." + path.removeprefix("regarding.")
    return _FIELDS_BACK.get(path, path)
