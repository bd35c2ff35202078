"""Whether an object has its images looked up as names of stream tags: what says so, what stands against it, and the
JSON Patch (RFC 6902) that changes it.

`oc set image-lookup` annotates the pod template, and so restarts every Pod, also where no image is a name. Here the
object itself is annotated, which counts as much: its Pods are replaced if an image changes, and only then. This room
must not know how a patch is sent, nor which streams there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from listener.core import lookups
from listener.core.actions import Operation, annotate, pointer
from listener.core.edits import EditRefused
from listener.core.kinds import JOB, POD, Kind
from listener.core.lookups import EVERY_NAME, RESOLVE_NAMES
from listener.core.trigger_edits import Found

_ENDS: Final = ("Complete", "Failed")
_PHASES: Final = ("Succeeded", "Failed")


def template_path(kind: Kind) -> tuple[str, ...]:
    """Where the pod template has its annotations; () for a kind without one."""
    *path, last = kind.pod_spec_path or ("",)
    return (*path, "metadata", "annotations") if path and last == "spec" else ()


def is_forced(found: Found) -> bool:
    """Tell whether all names of an object are looked up, whatever their streams say."""
    return lookups.is_forced(found.annotations.get(RESOLVE_NAMES), _template(found).get(RESOLVE_NAMES))


def owner(found: Found) -> str:
    """Who made it and says what it is like, as `Kind NAME`; "" for what a person made."""
    owners = found.document["metadata"].get("ownerReferences") or ()
    return next((f"{each.get('kind')} {each.get('name')}" for each in owners if each.get("controller")), "")


def is_over(found: Found) -> bool:
    """Tell whether a Job or a Pod has run to its end."""
    status = found.document.get("status") or {}
    if found.kind.label == POD.label:
        return status.get("phase") in _PHASES
    return found.kind.label == JOB.label and any(
        each.get("type") in _ENDS and each.get("status") == "True" for each in status.get("conditions") or ()
    )


def hindrance(found: Found) -> str:
    """Tell why names of an object are not looked up, or not any more; "" if nothing stands against it."""
    if not lookups.concerns(found.kind):
        return f"a {found.kind.name} has no pod spec whose images could be names"
    if made_by := owner(found):
        return f"it was made by {made_by}, which says what its images are"
    if found.document["metadata"].get("deletionTimestamp"):
        return "it is being deleted"
    if is_over(found):
        return "it has run to its end"
    if found.document["metadata"].get("uid") and lookups.is_fixed(found.kind):
        return f"a {found.kind.name} stays as it was created"
    return ""


def force(found: Found, *, on: bool) -> tuple[Operation, ...]:
    """Plan the patch that has all names of an object looked up, or leaves that to their streams; nothing if it is so.

    Off takes the annotation from the pod template too, where `oc` puts it. Raises EditRefused.
    """
    if on and (why := hindrance(found)):
        advice = "; annotate its manifest and create it anew" if lookups.is_fixed(found.kind) else ""
        raise EditRefused(f"its names cannot be looked up: {why}{advice}")
    operations = _on(found) if on else _off(found)
    if not operations:
        return ()
    version = found.document["metadata"]["resourceVersion"]
    return ({"op": "test", "path": "/metadata/resourceVersion", "value": version}, *operations)


def restarts(found: Found) -> bool:
    """Tell whether switching it off changes the pod template."""
    return _template(found).get(RESOLVE_NAMES) == EVERY_NAME


def _on(found: Found) -> tuple[Operation, ...]:
    if is_forced(found):
        return ()
    if found.annotations:
        return (annotate(RESOLVE_NAMES, EVERY_NAME),)
    return ({"op": "add", "path": "/metadata/annotations", "value": {RESOLVE_NAMES: EVERY_NAME}},)


def _off(found: Found) -> tuple[Operation, ...]:
    places = [(("metadata", "annotations"), found.annotations), (template_path(found.kind), _template(found))]
    return tuple(
        {"op": "remove", "path": pointer(*path, RESOLVE_NAMES)}
        for path, annotations in places
        if annotations.get(RESOLVE_NAMES) == EVERY_NAME
    )


def _template(found: Found) -> Mapping[str, str]:
    """The annotations of its pod template."""
    path = template_path(found.kind)
    at: Any = found.document if path else {}
    for part in path:
        at = at.get(part) or {}
    return at if isinstance(at, Mapping) else {}
