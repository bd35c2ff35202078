"""Scheduled imports of many tags from one registry: how fast, whether on time, and what they cost at rest.

Aim: at least 0.7 times as many tags a second as bare HEADs with the same concurrency, of Debian's docker-registry. Five
tags a repository; `--workloads` is how many tags. Whether all are asked for on time, a registry of our own tells, which
notes when; that is measured at an interval of a minute, the rest at the quarter of an hour that is usual.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import aiohttp

from listener.core.history import TagHistory, TagItem
from listener.core.streams import StreamKey
from listener.edges.cluster import STREAMS_PATH
from listener.flow.importer import LANE_WIDTH
from listener.sandbox.images import make_image, push
from tests.bench.world import World, many, service
from tests.real_parts import docker_registry

_TAGS = 5
_THROUGHPUT_SECONDS = 10
_REST_SECONDS = 60
_INTERVAL_SECONDS = 60
_ROUNDS = 3
_CHECKED = 'listener_imports_total.*outcome="unchanged"'
IMAGE = make_image("bench")
_UNBOUNDED = {"rate": 10_000, "burst": 10_000}


async def run(world: World, tags: int) -> dict[str, object]:
    folder = world.folder / "docker-registry"
    folder.mkdir()
    async with aiohttp.ClientSession() as session, _clocked_registry() as clocked:
        with docker_registry(folder) as real:
            await _push(session, real.url, tags)
            await _create_streams(world, "real", real.host, tags)
            bare = await _bare(session, real.url, tags)
            ours = await _ours(world, real.host)
            bare = max(bare, await _bare(session, real.url, tags))
            rest = await _rest(world, real.host)
        await _delete_streams(world, "real", tags)
        await _create_streams(world, "clocked", clocked, tags)
        gaps, asked = await _schedule(world, session, clocked)
    return {
        "bench": "imports",
        "tags": tags,
        "ratio": round(ours / bare, 3),
        "tags_a_second": round(ours),
        "bare_heads_a_second": round(bare),
        "in_flight": LANE_WIDTH,
        "schedule_seconds": _INTERVAL_SECONDS,
        "schedule_longest_gap": round(gaps[-1], 1),
        "schedule_shortest_gap": round(gaps[0], 1),
        "schedule_tags_asked": asked,
        **rest,
    }


async def _ours(world: World, host: str) -> float:
    """Tags a second when all of them are always due."""
    settings = {"interval": "1s", "minInterval": "1s", "maxInterval": "1s", "perHost": _UNBOUNDED}
    async with service(world, host=host, imports=settings) as running:
        await asyncio.sleep(5)  # until the first second's spread is over, and the questions queue up
        before, started = await running.metric(_CHECKED), time.monotonic()
        await asyncio.sleep(_THROUGHPUT_SECONDS)
        checked = await running.metric(_CHECKED) - before
        return checked / (time.monotonic() - started)


async def _bare(session: aiohttp.ClientSession, url: str, tags: int) -> float:
    """HEADs a second of the same tags and as many at once: the best of some rounds, for it is the limit."""
    best = 0.0
    urls = [f"{url}/v2/team/r{n // _TAGS}/manifests/t{n % _TAGS}" for n in range(tags)]

    async def head(url: str) -> None:
        async with session.head(url, headers={"Accept": IMAGE.media_type}) as response:
            if response.headers.get("Docker-Content-Digest") != IMAGE.digest:
                raise RuntimeError(f"HEAD {url}: {response.status}")

    for _ in range(_ROUNDS):
        started = time.monotonic()
        await many([partial(head, url) for url in urls], LANE_WIDTH)
        best = max(best, tags / (time.monotonic() - started))
    return best


async def _schedule(world: World, session: aiohttp.ClientSession, host: str) -> tuple[list[float], int]:
    """The gaps between two questions for the same tag, and how many tags were asked for."""
    settings = {"interval": f"{_INTERVAL_SECONDS}s", "minInterval": "1s", "perHost": _UNBOUNDED}
    async with service(world, host=host, imports=settings):
        await _seen(session, host)
        await asyncio.sleep(2.4 * _INTERVAL_SECONDS)
        seen = await _seen(session, host)
    return seen["gaps"], seen["tags"]


async def _rest(world: World, host: str) -> Mapping[str, object]:
    """What the process takes while it polls at the usual interval."""
    async with service(world, host=host, imports={"perHost": {"rate": 20}}) as running:
        await asyncio.sleep(5)
        before, started = _cpu_seconds(running.pid), time.monotonic()
        await asyncio.sleep(_REST_SECONDS)
        used = (_cpu_seconds(running.pid) - before) / (time.monotonic() - started)
        return {"rest_mib": round(running.memory_mib(), 1), "rest_cpu_percent": round(used * 100, 2)}


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel's
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _seen(session: aiohttp.ClientSession, host: str) -> dict[str, Any]:
    async with session.get(f"http://{host}/seen") as response:
        found: dict[str, Any] = await response.json()
        return found


async def _push(session: aiohttp.ClientSession, url: str, tags: int) -> None:
    """The same image to every tag."""

    async def fill(number: int) -> None:
        repository = f"team/r{number}"
        await push(session, url, repository, "t0", IMAGE)
        for n in range(1, _TAGS):
            await push(session, url, repository, f"t{n}", replace(IMAGE, blobs={}))

    await many([partial(fill, number) for number in range(tags // _TAGS)], LANE_WIDTH)


async def _delete_streams(world: World, prefix: str, tags: int) -> None:
    async def delete(number: int) -> None:
        path = f"{STREAMS_PATH}/namespaces/{world.namespace}/imagestreams/{prefix}{number}"
        outcome = await world.client.delete(path)
        if outcome.end != "applied":
            raise RuntimeError(f"DELETE {path}: {outcome.message}")

    await many([partial(delete, number) for number in range(tags // _TAGS)])


async def _create_streams(world: World, prefix: str, host: str, tags: int) -> None:
    """Streams whose tags are all imported already: what is measured is only the looking."""

    async def create(number: int) -> None:
        key = StreamKey(world.namespace, f"{prefix}{number}")
        name = f"{host}/team/r{number}"
        spec = {
            "tags": [
                {
                    "name": f"t{n}",
                    "from": {"kind": "DockerImage", "name": f"{name}:t{n}"},
                    "generation": 1,
                    "importPolicy": {"scheduled": True},
                }
                for n in range(_TAGS)
            ]
        }
        while True:
            made = await world.client.create_stream(key, spec)
            if made.stored:
                break
            await asyncio.sleep(0.1)  # the definition may not be served yet
        item = TagItem("2026-01-01T00:00:00Z", f"{name}@{IMAGE.digest}", IMAGE.digest, 1)
        histories = tuple(TagHistory(f"t{n}", (item,)) for n in range(_TAGS))
        stored = await world.client.store_status(replace(made.stored, tags=histories))
        if stored.end != "applied":
            raise RuntimeError(f"the status of {key} cannot be stored: {stored.message}")

    await many([partial(create, number) for number in range(tags // _TAGS)])


@asynccontextmanager
async def _clocked_registry() -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.registry", IMAGE.digest), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port = (await process.stdout.readline()).decode().strip()
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()
