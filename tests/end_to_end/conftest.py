"""What end-to-end tests may ask for besides the real parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from listener.edges.cluster import Cluster
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.parts import Api


@pytest.fixture
async def cluster(cluster: ClusterUnderTest, helm: Path) -> ClusterUnderTest:  # noqa: ARG001 - looked for only once
    """As everywhere; but what the service may do there is for helm to render."""
    return cluster


@pytest.fixture
async def api(cluster: ClusterUnderTest) -> AsyncIterator[Api]:
    async with await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as client:
        yield Api(client, cluster)
