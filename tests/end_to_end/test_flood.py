"""One registry's hook is flooded with all that can be refused; another registry's pushes pass as if nothing were."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from yarl import URL

from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.parts import Api, Listener, eventually, push_event, registry, serve

HOST = "registry.example.com"
FLOODED = {"name": "flooded", "host": "flooded.example.com"}
SIGNED = {"hmac": {"secretEnv": "TEAM_SECRET", "header": "X-Signature"}}
PUSHES = 50


@asynccontextmanager
async def flood(listener: Listener, hook: str) -> AsyncIterator[None]:
    port = str(URL(listener.hooks).port)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.end_to_end.flood", port, hook)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("auth", "outcomes"),
    [(SIGNED, ("unauthenticated", "limited")), ({"none": True}, ("malformed", "limited", "ignored"))],
    ids=["signed", "open"],
)
async def test_under_a_flood_of_bad_requests_good_ones_of_another_registry_pass_within_a_second(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path, auth: Mapping[str, object], outcomes: Sequence[str]
) -> None:
    namespace = await cluster.namespace("flood")
    registries = [registry(HOST, integrated=True, verify=False), {**FLOODED, "auth": auth}]
    digests = [f"sha256:{number:064x}" for number in range(PUSHES)]
    async with serve(cluster, tmp_path, registries=registries, namespaces=[namespace]) as listener:
        await listener.ready()
        async with flood(listener, "flooded"):

            async def is_in_full_swing() -> bool:
                counts = [await answered(listener, outcome) for outcome in outcomes]
                return all(counts) and sum(counts) > 1000

            await eventually(is_in_full_swing, seconds=30, what="the flood is refused")
            took = []
            for number, digest in enumerate(digests):
                event = push_event(HOST, f"{namespace}/web", "latest", digest)
                event["timestamp"] = f"2026-01-01T00:00:{number:02}Z"
                started = time.monotonic()
                status, answer = await listener.deliver(event)
                took.append(time.monotonic() - started)
                assert status == 200, answer
                assert [moved["digest"] for moved in answer["moved"]] == [digest]
        assert max(took) < 1
        assert await api.history(namespace, "web", "latest") == digests[::-1]
        assert await listener.metric('listener_hooks_total{outcome="error"') == 0
        lines = len(listener.log.read_text().splitlines())
        assert lines < PUSHES + 400, "the flood filled the log"
        assert peak_mib(listener) < 300


async def answered(listener: Listener, outcome: str) -> float:
    return await listener.metric(f'listener_hooks_total{{outcome="{outcome}",registry="flooded"}}')


def peak_mib(listener: Listener) -> float:
    status = Path(f"/proc/{listener.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
