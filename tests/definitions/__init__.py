"""Kinds that not every cluster has, for tests that follow them: small definitions of our own, under their real names.

Each file is called as the definition is. What our service reads and writes is spelled out, and a value of the wrong
type is refused; everything else may stand there.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from importlib.resources import files
from typing import Any

import yaml
from kubernetes_asyncio import client, config

from tests.cluster_under_test import ClusterUnderTest

NAMES = (
    "buildconfigs.build.openshift.io",
    "buildruns.shipwright.io",
    "builds.shipwright.io",
    "clonesets.apps.kruise.io",
    "deploymentconfigs.apps.openshift.io",
    "pipelineruns.tekton.dev",
    "pipelines.tekton.dev",
    "rollouts.argoproj.io",
    "services.serving.knative.dev",
    "statefulsets.apps.kruise.io",
)


def read(name: str) -> dict[str, Any]:
    """Return the definition of that name, such as `rollouts.argoproj.io`."""
    found: dict[str, Any] = yaml.safe_load(files(__name__).joinpath(f"{name}.yaml").read_text())
    return found


async def define(cluster: ClusterUnderTest, *names: str, timeout_seconds: float = 30.0) -> None:
    """Make the cluster serve these kinds, and wait until it does. One that it serves already is left as it is.

    On a real cluster the definitions stay behind: other tests may be using them.
    """
    async with await config.new_client_from_config(str(cluster.kubeconfig)) as api:
        definitions = client.ApiextensionsV1Api(api)
        for name in names:
            definition = read(name)
            if not await _is_served(api, definition):
                try:
                    await definitions.create_custom_resource_definition(definition)
                except client.ApiException as error:
                    if error.status != HTTPStatus.CONFLICT:
                        raise
        async with asyncio.timeout(timeout_seconds):
            for name in names:
                await _until_served(api, read(name))


async def _until_served(api: client.ApiClient, definition: dict[str, Any]) -> None:
    while True:
        if await _is_served(api, definition):
            return
        await asyncio.sleep(0.05)


async def _is_served(api: client.ApiClient, definition: dict[str, Any]) -> bool:
    """Whether it is told by discovery and can be listed: a real server has these ready one after the other."""
    spec = definition["spec"]
    version, plural = f"/apis/{spec['group']}/{spec['versions'][0]['name']}", spec["names"]["plural"]
    told = await _get(api, version)
    if told is None or plural not in {each["name"] for each in told["resources"]}:
        return False
    return await _get(api, f"{version}/{plural}?limit=1") is not None


async def _get(api: client.ApiClient, path: str) -> dict[str, Any] | None:
    try:
        answer = await api.call_api(
            path, "GET", response_types_map={}, auth_settings=["BearerToken"], _preload_content=False
        )
    except client.ApiException as error:
        if error.status in (HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE):
            return None
        raise
    async with answer:
        if answer.status != HTTPStatus.OK:
            return None
        found: dict[str, Any] = await answer.json(content_type=None)
        return found
