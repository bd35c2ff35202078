"""From a CustomResourceDefinition to the types it serves, and the status it gets.

Pure: the definition is a plain, validated object. Conversion between versions is by renaming only (strategy `None`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from listener.sandbox.cluster.field_errors import FieldError, not_supported
from listener.sandbox.cluster.resources import EVERY_TYPE, Column, Resource, ScalePaths
from listener.sandbox.cluster.schema import Schema

Object = dict[str, Any]


def storage(crd: Object) -> tuple[str, str]:
    """Return the group and plural under which the objects of this definition are kept."""
    return crd["spec"]["group"], crd["spec"]["names"]["plural"]


def resources(crd: Object) -> list[Resource]:
    """Return one type for each served version, in the order in which clients prefer them: GA before beta, then the
    newest.
    """
    spec = crd["spec"]
    names = spec["names"]
    found = []
    for version in sorted(spec["versions"], key=lambda each: _preference(each["name"]), reverse=True):
        if not version.get("served"):
            continue
        subresources = version.get("subresources") or {}
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {"type": "object"}
        found.append(
            Resource(
                group=spec["group"],
                version=version["name"],
                kind=names["kind"],
                plural=names["plural"],
                singular=names.get("singular") or names["kind"].lower(),
                namespaced=spec["scope"] == "Namespaced",
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                status="status" in subresources,
                scale=_scale(subresources.get("scale")),
                unconditional=False,
                fields=EVERY_TYPE | {each["jsonPath"].lstrip(".") for each in version.get("selectableFields") or ()},
                list_kind=names.get("listKind") or f"{names['kind']}List",
                storage=storage(crd),
                custom=True,
                columns=tuple(_column(each) for each in version.get("additionalPrinterColumns") or ()),
                schema=Schema.from_openapi(schema),
                openapi=schema,
            )
        )
    return found


def defaulted(crd: Object) -> Object:
    """Return the definition with what the server names itself: singular, list kind, conversion."""
    spec = crd.get("spec")
    names = spec.get("names") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(names, dict) or not isinstance(names.get("kind"), str):
        return crd
    kind = names["kind"]
    named = {
        **names,
        "singular": names.get("singular") or kind.lower(),
        "listKind": names.get("listKind") or f"{kind}List",
    }
    return {**crd, "spec": {"conversion": {"strategy": "None"}, **spec, "names": named}}


def faults(crd: Object) -> list[FieldError]:
    """Return what this server, unlike a real one, cannot do."""
    strategy = (crd["spec"].get("conversion") or {}).get("strategy", "None")
    if strategy != "None":
        return [not_supported("spec.conversion.strategy", strategy, ["None"])]
    return []


def accepted(crd: Object, now: str) -> Object:
    """Return the definition with the status of one whose objects are served from now on.

    A condition that holds keeps its time.
    """
    status = dict(crd.get("status") or {})
    status["acceptedNames"] = crd["spec"]["names"]
    stored = next(version["name"] for version in crd["spec"]["versions"] if version.get("storage"))
    before = status.get("storedVersions") or []
    status["storedVersions"] = before if stored in before else [*before, stored]
    held = {each["type"] for each in status.get("conditions") or () if each.get("status") == "True"}
    if not held >= {"NamesAccepted", "Established"}:
        status["conditions"] = [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found", now),
            _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", now),
        ]
    return {**crd, "status": status}


def age_seconds(crd: Object, now: datetime) -> float:
    """Return for how long its objects have been served."""
    conditions = {each["type"]: each for each in crd["status"]["conditions"]}
    return (now - datetime.fromisoformat(conditions["Established"]["lastTransitionTime"])).total_seconds()


def _condition(kind: str, reason: str, message: str, now: str) -> Object:
    return {"lastTransitionTime": now, "message": message, "reason": reason, "status": "True", "type": kind}


def _scale(declared: Object | None) -> ScalePaths | None:
    if declared is None:
        return None
    selector = declared.get("labelSelectorPath")
    return ScalePaths(
        replicas=declared["specReplicasPath"].lstrip("."),
        status_replicas=declared["statusReplicasPath"].lstrip("."),
        selector=selector.lstrip(".") if selector else None,
    )


def _column(declared: Object) -> Column:
    path = declared["jsonPath"]
    return Column(
        name=declared["name"],
        type=declared["type"],
        path=path,
        description=declared.get("description") or f"Custom resource definition column (in JSONPath format): {path}",
        priority=declared.get("priority", 0),
        format=declared.get("format", ""),
    )


def _preference(version: str) -> tuple[int, int, int, str]:
    """Order versions as `version.CompareKubeAwareVersionStrings` does: v2, v1, v1beta2, v1alpha1, then the rest by
    name.
    """
    head, _, minor = version.removeprefix("v").partition("beta")
    stage = 1
    if not minor:
        head, _, minor = head.partition("alpha")
        stage = 0 if minor else 2
    if version.startswith("v") and head.isdigit() and (stage == 2 or minor.isdigit()):
        return 1 + stage, int(head), int(minor or 0), ""
    return 0, 0, 0, version
