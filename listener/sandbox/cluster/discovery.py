"""What clients read to learn what is served: versions, groups, types, and all of it at once in the aggregated form.

Pure functions of the catalogue.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from listener.sandbox.cluster.resources import SUBRESOURCE_VERBS, Catalog, Resource

Object = dict[str, Any]

VERSION: Object = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.0-sandbox",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "",
    "goVersion": "",
    "compiler": "",
    "platform": "",
}


def versions(address: str) -> Object:
    """Return the document at /api. `address` is host and port, as clients reach this server."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def groups(catalog: Catalog) -> Object:
    found = [_group(name, offered) for name, offered in catalog.groups().items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(catalog: Catalog, name: str) -> Object | None:
    offered = catalog.groups().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, offered)} if name and offered else None


def _group(name: str, offered: list[str]) -> Object:
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in offered]
    return {"name": name, "versions": found, "preferredVersion": found[0]}


def resources(catalog: Catalog, group_name: str, version: str) -> Object | None:
    """Return the APIResourceList of one version, or None where it is not served."""
    served = sorted(catalog.of(group_name, version), key=lambda each: each.plural)
    if not served:
        return None
    found = [entry for each in served for entry in _entries(each)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": served[0].api_version,
        "resources": found,
    }


def _entries(resource: Resource) -> list[Object]:
    main: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        main["shortNames"] = list(resource.short_names)
    if resource.categories:
        main["categories"] = list(resource.categories)
    if "get" in resource.verbs:
        # Clients compare it and never read it: it only has to differ where the stored type differs.
        digest = hashlib.sha256("/".join((*resource.storage, resource.kind)).encode()).digest()
        main["storageVersionHash"] = base64.b64encode(digest[:8]).decode()
    found = [main]
    for name in sorted(resource.subresources):
        entry: Object = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
        if name == "scale":
            entry |= {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        else:
            entry["kind"] = resource.kind
        found.append({**entry, "verbs": list(SUBRESOURCE_VERBS)})
    for name, _ in resource.actions:
        entry = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
        posted = resource.posted(name)
        if posted.group != resource.group:
            entry |= {"group": posted.group, "version": posted.version}
        found.append({**entry, "kind": posted.kind, "verbs": ["create"]})
    return found


def aggregated(catalog: Catalog, *, core: bool) -> Object:
    """Return the APIGroupDiscoveryList of /api (`core`) or of /apis, in the form of `apidiscovery.k8s.io/v2`."""
    items = []
    for name, offered in catalog.groups().items():
        if core == (name == ""):
            found = [_aggregated_version(catalog, name, version) for version in offered]
            items.append({"metadata": {"name": name} if name else {}, "versions": found})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _aggregated_version(catalog: Catalog, name: str, version: str) -> Object:
    served = sorted(catalog.of(name, version), key=lambda each: each.plural)
    return {"version": version, "resources": [_aggregated(each) for each in served], "freshness": "Current"}


def _aggregated(resource: Resource) -> Object:
    scope = "Namespaced" if resource.namespaced else "Cluster"
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    found: Object = {
        "resource": resource.plural,
        "responseKind": kind,
        "scope": scope,
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if resource.categories:
        found["categories"] = list(resource.categories)
    scale = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    subresources = [
        {"subresource": name, "responseKind": scale if name == "scale" else kind, "verbs": list(SUBRESOURCE_VERBS)}
        for name in sorted(resource.subresources)
    ]
    for name, _ in resource.actions:
        posted = resource.posted(name)
        kind = {"group": posted.group, "version": posted.version, "kind": posted.kind}
        subresources.append({"subresource": name, "responseKind": kind, "verbs": ["create"]})
    if subresources:
        found["subresources"] = subresources
    return found
