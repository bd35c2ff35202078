"""Who the service is in these tests: an account with the rights that the chart gives for its settings, and no others.

The chart is rendered by helm. What it renders besides rights is tried in `test_installed.py`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests import real_parts
from tests.cluster_under_test import Account, ClusterUnderTest
from tests.test_chart import CHART, RIGHTS

# The service cannot know what it may do. It asks, is refused, goes on without, and says so. By the value of the chart
# that is off, below `rbac`: group, resource and verb.
ASKED_IN_VAIN = {
    "openshift": {
        ("apps.openshift.io", "deploymentconfigs", "list"),
        ("build.openshift.io", "buildconfigs", "list"),
    },
    "shipwright": {("shipwright.io", "builds", "list")},
    "tekton": {("tekton.dev", "pipelines", "list")},
    "pullSecrets": {("", "secrets", "list")},
}

_INTEGRATED = {"name": "any", "host": "any.example.com", "integrated": True, "auth": {"none": True}}
_WANTED = RIGHTS | {"ServiceAccount"}
# Renderings, as JSON, by their values. What differs from test to test, and is of no concern to rules, is put in later.
_rendered: dict[str, str] = {}
_HOME, _NAME = "the-home", "the-name"


async def as_installed(
    cluster: ClusterUnderTest, folder: Path, settings: Mapping[str, Any], rbac: Mapping[str, bool]
) -> ClusterUnderTest:
    """Return the cluster as the service reaches it if the chart is installed with these settings, and with these values
    of its `rbac`.

    Replicas and later runs with the same settings are the same account, whose home holds their Lease. Who brings an
    account along is left with it, as those do who test lookups: their rights are good for nothing without the webhook.
    """
    if cluster.account:
        return cluster
    values = _values(settings, rbac)
    key = json.dumps(values)
    if key not in cluster.made:
        cluster.made[key] = asyncio.create_task(_make(cluster, values), name="make an account")
    return cluster.let_in(await cluster.made[key], folder)


def refused(cluster: ClusterUnderTest, log: Path, rbac: Mapping[str, bool]) -> set[tuple[str, str, str]]:
    """Return what the service has asked for without a right to it: group, resource and verb.

    What it always asks for in vain is left out. The sandbox knows of all that it has refused; of a real server there is
    what the service has logged.
    """
    assert cluster.account is not None
    user = cluster.account.user
    found = {(group, resource, verb) for verb, resource, group in _refusals(user, log.read_text())}
    if cluster.sandbox:
        found |= {(group, resource, verb) for name, group, resource, verb in cluster.sandbox.refused if name == user}
    return found.difference(*(asked for value, asked in ASKED_IN_VAIN.items() if not rbac.get(value)))


def _refusals(user: str, log: str) -> list[tuple[str, str, str]]:
    """Verb, resource and group of each, in the words of API servers; in JSON there are more backslashes."""
    quoted = r'\\*"([^"\\]*)\\*"'
    who = rf'User \\*"{re.escape(user)}\\*"'
    return re.findall(rf"{who} cannot (\w+) resource {quoted} in API group {quoted}", log)


def _values(settings: Mapping[str, Any], rbac: Mapping[str, bool]) -> dict[str, Any]:
    """Return the chart's values, as far as its rules depend on them."""
    election = {"enabled": True, "lease": "imagestream-listener", **settings["leaderElection"]}
    return {
        "crd": {"install": False},
        "fullnameOverride": election["lease"],
        "replicas": 2 if election["enabled"] else 1,
        "leaderElection": {"enabled": election["enabled"]},
        "rbac": dict(rbac),
        "settings": {
            "registries": [_INTEGRATED] if any(each.get("integrated") for each in settings["registries"]) else [],
            "workloads": list(settings.get("workloads", ())),
            "namespaces": list(settings["namespaces"]),
        },
    }


async def _make(cluster: ClusterUnderTest, values: Mapping[str, Any]) -> Account:
    home = await cluster.namespace("home")
    objects = await _render(values, home, cluster.is_openshift)
    await cluster.grant(objects)
    (name,) = [each["metadata"]["name"] for each in objects if each["kind"] == "ServiceAccount"]
    return await cluster.issue(home, name)


async def _render(values: Mapping[str, Any], home: str, is_openshift: bool) -> list[dict[str, Any]]:
    """Return the account and what gives it rights, for a release in that namespace."""
    namespaces = {f"namespace-{number}": name for number, name in enumerate(values["settings"]["namespaces"])}
    settings = {**values["settings"], "namespaces": list(namespaces)}
    given = json.dumps({**values, "fullnameOverride": _NAME, "settings": settings})
    options = ("--api-versions", "image.openshift.io/v1/ImageStreamImport") if is_openshift else ()
    key = json.dumps([given, options])
    if key not in _rendered:
        command = ("template", "release", CHART, "--namespace", _HOME, "--values", "-", *options)
        text = await real_parts.run(_helm(), *command, stdin=given)
        _rendered[key] = json.dumps([found for found in yaml.safe_load_all(text) if found and found["kind"] in _WANTED])
    text = _rendered[key].replace(_HOME, home).replace(_NAME, values["fullnameOverride"])
    for placeholder, name in namespaces.items():
        text = text.replace(f'"{placeholder}"', f'"{name}"')
    objects: list[dict[str, Any]] = json.loads(text)
    return objects


@cache
def _helm() -> Path:
    return real_parts.helm()
