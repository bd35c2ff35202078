"""The cluster that end-to-end tests run on: the sandbox, or a real one.

A test that takes its namespaces from here leaves nothing behind on a real cluster but the ImageStream CRD, which is
installed when it is missing and stays: other tests may be using it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from kubernetes_asyncio import client, config

if TYPE_CHECKING:
    from listener.sandbox.cluster import Cluster


@dataclass(frozen=True, slots=True)
class ClusterUnderTest:
    """`kubeconfig` is a file that kubectl, helm and our own service take. `sandbox` is None on a real cluster."""

    kubeconfig: Path
    sandbox: Cluster | None
    _api: client.ApiClient
    _namespaces: list[str] = field(default_factory=list)

    async def namespace(self, hint: str = "test") -> str:
        """Make a namespace that only this test uses, `HINT-` and six random characters; return its name."""
        name = f"{hint}-{secrets.token_hex(3)}"
        await client.CoreV1Api(self._api).create_namespace({"metadata": {"name": name}})
        self._namespaces.append(name)
        return name

    async def _remove_namespaces(self) -> None:
        """Ask for their removal. Emptying them is the cluster's work, and goes on after us."""
        for name in self._namespaces:
            await client.CoreV1Api(self._api).delete_namespace(name)


@asynccontextmanager
async def sandbox_cluster(
    folder: Path, *, openshift: bool = False, imports: bool = False
) -> AsyncIterator[ClusterUnderTest]:
    """Run a fresh sandbox whose kubeconfig is written to `folder`; `openshift` adds types that only OpenShift has,
    `imports` its ImageStreamImports.
    """
    from listener.sandbox.cluster import Cluster  # noqa: PLC0415 - a run on a real cluster does without

    async with Cluster(port=0, openshift=openshift, imports=imports) as sandbox:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(sandbox.kubeconfig())
        async with running_cluster(kubeconfig, sandbox) as cluster:
            yield cluster


@asynccontextmanager
async def running_cluster(kubeconfig: Path, sandbox: Cluster | None = None) -> AsyncIterator[ClusterUnderTest]:
    """Use the cluster that `kubeconfig` names: make it serve ImageStreams; remove this test's namespaces at the end."""
    async with await config.new_client_from_config(str(kubeconfig)) as api:
        await _install_image_streams(api)
        cluster = ClusterUnderTest(kubeconfig, sandbox, api)
        try:
            yield cluster
        finally:
            await cluster._remove_namespaces()


async def _install_image_streams(api: client.ApiClient, timeout_seconds: float = 30.0) -> None:
    """Create the CRD unless somebody has, and wait until it is served."""
    definition = yaml.safe_load(files("listener.sandbox").joinpath("imagestreams.yaml").read_text())
    definitions = client.ApiextensionsV1Api(api)
    try:
        await definitions.create_custom_resource_definition(definition)
    except client.ApiException as error:
        if error.status != HTTPStatus.CONFLICT:
            raise
    async with asyncio.timeout(timeout_seconds):
        while True:
            current = await definitions.read_custom_resource_definition(definition["metadata"]["name"])
            conditions = {condition.type: condition.status for condition in current.status.conditions or ()}
            if conditions.get("Established") == "True":
                return
            await asyncio.sleep(0.05)
