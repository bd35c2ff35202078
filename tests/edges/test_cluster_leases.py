"""Leases on an API server, and writes that are held back in time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from listener.core import leases
from listener.core.changes import Gone, Seen
from listener.core.leases import Lease
from listener.core.outcomes import End
from listener.core.streams import StreamKey
from listener.edges.cluster import Cluster
from tests.cluster_under_test import ClusterUnderTest

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def ours(cluster: ClusterUnderTest) -> AsyncIterator[Cluster]:
    async with await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as ours:
        yield ours


@pytest.fixture
async def lease(cluster: ClusterUnderTest, ours: Cluster) -> Lease:
    """One that `a` has taken."""
    made = await ours.create_lease(leases.taken(Lease(await cluster.namespace(), "ours"), "a", NOW))
    assert made.stored is not None
    return made.stored


async def test_a_lease_is_created_once_and_reads_as_it_was_written(ours: Cluster, lease: Lease) -> None:
    moment = "2026-01-01T00:00:00.000000Z"
    written = Lease(lease.namespace, "ours", lease.resource_version, "a", leases.LIFE_SECONDS, moment, moment, 1)
    assert lease == written
    assert await ours.get_lease(lease.namespace, "ours") == written
    assert (await ours.create_lease(lease)).end is not End.APPLIED
    assert (await ours.create_lease(replace(lease, resource_version=""))).end is End.STALE
    assert await ours.get_lease(lease.namespace, "other") is None


async def test_it_is_written_only_over_what_was_read(ours: Cluster, lease: Lease) -> None:
    renewed = await ours.store_lease(leases.renewed(lease, NOW + timedelta(seconds=2)))
    assert renewed.stored is not None
    assert (await ours.store_lease(leases.taken(lease, "b", NOW))).end is End.STALE
    released = await ours.store_lease(leases.released(renewed.stored, NOW))
    assert released.stored is not None
    assert (released.stored.holder, released.stored.transitions) == ("", 1)
    assert await ours.get_lease(lease.namespace, "ours") == released.stored
    assert (await ours.store_lease(replace(lease, name="other"))).end is End.GONE


async def test_only_that_one_is_followed(ours: Cluster, lease: Lease) -> None:
    followed = ours.lease(lease.namespace, "ours")
    await ours.create_lease(leases.taken(Lease(lease.namespace, "other"), "b", NOW))
    (page,) = [page async for page in followed.pages()]
    assert page.objects == (lease,)

    await ours.create_lease(leases.taken(Lease(lease.namespace, "another"), "b", NOW))
    taken = await ours.store_lease(leases.taken(lease, "c", NOW))
    assert taken.stored is not None
    async with asyncio.timeout(10):
        async for change in followed.changes(page.resource_version):
            if isinstance(change, Gone):
                assert change.key == (lease.namespace, "ours")
                return
            assert change == Seen(taken.stored, taken.stored.resource_version)
            await ours.delete(f"/apis/coordination.k8s.io/v1/namespaces/{lease.namespace}/leases/ours")
    pytest.fail("the watch ended before the deletion was seen")


async def test_what_may_not_be_written_any_more_is_not(ours: Cluster, cluster: ClusterUnderTest) -> None:
    may_write = False
    fenced = ours.fenced(lambda: may_write)
    key = StreamKey(await cluster.namespace(), "web")
    held_back = await fenced.create_stream(key)
    assert held_back.end is End.UNREACHABLE
    assert "not sent, for another replica may lead by now" in held_back.message
    assert await fenced.get_stream(key) is None  # to read is harmless
    may_write = True
    assert (await fenced.create_stream(key)).end is End.APPLIED


async def test_what_waited_for_a_connection_is_held_back_too(cluster: ClusterUnderTest) -> None:
    may_write = True
    namespace = await cluster.namespace()
    async with await Cluster.connect(kubeconfig=str(cluster.kubeconfig), max_connections=1) as only:
        fenced = only.fenced(lambda: may_write)
        key = StreamKey(namespace, f"web-{secrets.token_hex(4)}")
        (page,) = [page async for page in only.streams(namespace).pages()]
        watch = only.streams(namespace).changes(page.resource_version)
        watching = asyncio.ensure_future(anext(watch))  # it has the only connection
        await asyncio.sleep(0.1)
        writing = asyncio.create_task(fenced.create_stream(key))
        await asyncio.sleep(0.1)
        assert not writing.done()
        may_write = False
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        assert (await writing).end is End.UNREACHABLE
        assert await only.get_stream(key) is None
