from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from listener.edges.cluster import Cluster
from tests.cli.world import World
from tests.cluster_under_test import ClusterUnderTest


@pytest.fixture
async def world(cluster: ClusterUnderTest) -> AsyncIterator[World]:
    """An empty namespace of the sandbox, or of the cluster that `--kubeconfig` names."""
    async with await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as client:
        yield World(client, cluster, await cluster.namespace("cli"))
