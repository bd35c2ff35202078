"""Who manages which fields of an object (`metadata.managedFields`), as far as a fight over an image asks.

The API server notes for each field who set it last. (https://kubernetes.io/docs/reference/using-api/server-side-apply/)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from listener.core.kinds import Kind


@dataclass(frozen=True, slots=True)
class Manager:
    """One writer of an object. `operation` is Apply or Update, `time` RFC 3339, `fields` a set in its FieldsV1 form."""

    name: str
    operation: str
    time: str
    fields: Mapping[str, Any]


def of_image(managers: Iterable[Manager], pod_spec_path: tuple[str, ...], container: str) -> Manager | None:
    """Return who set a container's image; of several who agree on it, the one that wrote last."""
    owners = [manager for manager in managers if _owns_image(manager.fields, pod_spec_path, container)]
    return max(owners, key=lambda manager: manager.time, default=None)


def _owns_image(fields: Mapping[str, Any], pod_spec_path: tuple[str, ...], container: str) -> bool:
    found: Any = fields
    for part in pod_spec_path:
        found = found.get(f"f:{part}") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        return False
    for section in ("containers", "initContainers"):
        containers = found.get(f"f:{section}")
        if not isinstance(containers, Mapping):
            continue
        # A list without a key has one owner as a whole, as in many custom resources.
        if not containers or "f:image" in (containers.get(f'k:{{"name":"{container}"}}') or {}):
            return True
    return False


def advice(manager: str, kind: Kind, container: str, path: str) -> str:
    """Say what to write where, so that this manager leaves the image of a container, a JSON Pointer, alone."""
    if manager.startswith("argocd"):
        group = kind.api_version.rpartition("/")[0] or '""'
        section = path.split("/")[-3]
        found = f'.{".".join(kind.pod_spec_path)}.{section}[]? | select(.name == "{container}") | .image'
        return (
            f"add {{group: {group}, kind: {kind.name}, jqPathExpressions: ['{found}']}} to spec.ignoreDifferences"
            " of the Application, and RespectIgnoreDifferences=true to its syncOptions"
        )
    if manager == "helm-controller":
        entry = f"{{paths: [{path}], target: {{kind: {kind.name}}}}}"
        return f"add {entry} to spec.driftDetection.ignore of the HelmRelease"
    if manager == "kustomize-controller":
        return f"take `image` of container {container} out of the manifest in Git: what is not applied is not set back"
    return f"take `image` of container {container} out of what it applies, or pause the trigger"
