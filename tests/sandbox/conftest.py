"""What tests of the embedded cluster start from: a cluster with one namespace, and a bare client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from listener.sandbox.cluster import Cluster
from tests.sandbox.api import DEFINITIONS, NAMESPACE, Api, definition, serving


@pytest.fixture
async def sandbox() -> AsyncIterator[Cluster]:
    async with Cluster(settle_seconds=0.02) as cluster:
        yield cluster


@pytest.fixture
async def api(sandbox: Cluster) -> AsyncIterator[Api]:
    headers = {"Authorization": f"Bearer {sandbox.token}", "User-Agent": "tests/1"}
    async with aiohttp.ClientSession(headers=headers) as session:
        api = Api(sandbox, session)
        await api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        yield api


@pytest.fixture
async def openshift() -> AsyncIterator[Api]:
    """The same client, of a cluster that serves what only OpenShift has."""
    async with serving(Cluster(settle_seconds=0.02, openshift=True)) as api:
        await api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        yield api


@pytest.fixture
async def gadgets(api: Api) -> Api:
    """The same client, where Gadgets are served."""
    await api.create(DEFINITIONS, definition())
    return api
