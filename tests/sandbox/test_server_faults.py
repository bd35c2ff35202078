"""Faults switched on over HTTP and in process: each does to a client what it says, and to chosen requests only."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from listener.sandbox.cluster import Cluster, Fault
from tests.sandbox.api import CONFIG_MAPS, DEPLOYMENTS, Api, config_map, deployment

FAULTS = "/sandbox/faults"


async def switch_on(api: Api, *faults: dict[str, Any], **plan: Any) -> None:
    reply = await api("PUT", FAULTS, {"faults": list(faults), **plan})
    assert reply.code == 200, reply


REFUSALS: dict[str, tuple[dict[str, Any], int, str, str | None]] = {
    "conflict": ({"fault": "conflict"}, 409, "Conflict", None),
    "throttle": ({"fault": "throttle", "retryAfter": 7}, 429, "TooManyRequests", "7"),
    "error": ({"fault": "error"}, 500, "InternalError", None),
    "deny": ({"fault": "deny"}, 403, "Forbidden", None),
}


@pytest.mark.parametrize(("fault", "code", "reason", "retry_after"), REFUSALS.values(), ids=REFUSALS)
async def test_refuses_as_told(
    api: Api, fault: dict[str, Any], code: int, reason: str, retry_after: str | None
) -> None:
    await switch_on(api, fault)
    reply = await api.get(CONFIG_MAPS)
    assert (reply.code, reply.body["reason"], reply.headers.get("Retry-After")) == (code, reason, retry_after)
    await api("DELETE", FAULTS)
    assert (await api.get(CONFIG_MAPS)).code == 200


FILTERS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "verb": ({"verbs": ["list"]}, {"list", "list deployments"}),
    "resource": ({"resources": ["deployments"]}, {"list deployments", "status"}),
    "subresource": ({"subresources": ["status"]}, {"status"}),
    "the object itself": ({"subresources": [""]}, {"get", "list", "list deployments"}),
    "name": ({"names": ["x"]}, {"get"}),
    "namespace": ({"namespaces": ["elsewhere"]}, set()),
    "all at once": ({"verbs": ["get"], "resources": ["deployments"], "subresources": ["status"]}, {"status"}),
}


@pytest.mark.parametrize(("chosen", "struck"), FILTERS.values(), ids=FILTERS)
async def test_strikes_chosen_requests_only(api: Api, chosen: dict[str, Any], struck: set[str]) -> None:
    await api.create(CONFIG_MAPS, config_map("x"))
    await api.create(DEPLOYMENTS, deployment("web"))
    await switch_on(api, {"fault": "error", **chosen})
    requests = {
        "get": f"{CONFIG_MAPS}/x",
        "list": CONFIG_MAPS,
        "list deployments": DEPLOYMENTS,
        "status": f"{DEPLOYMENTS}/web/status",
    }
    assert {name for name, path in requests.items() if (await api.get(path)).code == 500} == struck


async def test_is_spent_after_its_count_and_tells_its_hits(api: Api) -> None:
    await switch_on(api, {"fault": "error", "count": 2})
    assert [(await api.get(CONFIG_MAPS)).code for _ in range(3)] == [500, 500, 200]
    assert (await api.get(FAULTS)).body == {"faults": [{"fault": "error", "count": 2, "hits": 2}]}


async def test_chance_is_repeatable(api: Api) -> None:
    async def run(seed: int) -> list[int]:
        await switch_on(api, {"fault": "error", "probability": 0.5}, seed=seed)
        return [(await api.get(CONFIG_MAPS)).code for _ in range(20)]

    first = await run(1)
    assert set(first) == {200, 500}
    assert await run(1) == first
    assert await run(2) != first


async def test_answers_late(api: Api) -> None:
    await switch_on(api, {"fault": "latency", "seconds": 0.05})
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert (await api.get(CONFIG_MAPS)).code == 200
    assert loop.time() - started >= 0.05


async def test_resets_the_connection(api: Api) -> None:
    await switch_on(api, {"fault": "reset", "count": 1})
    with pytest.raises(aiohttp.ClientConnectionError):
        await api("POST", CONFIG_MAPS, config_map("x"))
    assert (await api.get(f"{CONFIG_MAPS}/x")).code == 404


PLANS_REFUSED: dict[str, tuple[Any, str]] = {
    "unknown key": ({"faults": [{"fault": "error", "verb": "get"}]}, "`verb` - at `$.faults[0]`"),
    "unknown fault": ({"faults": [{"fault": "earthquake"}]}, "'earthquake' - at `$.faults[0].fault`"),
    "no fault": ({"faults": [{}]}, "`fault` - at `$.faults[0]`"),
    "unlikely": ({"faults": [{"fault": "error", "probability": 2}]}, "`$.faults[0].probability`"),
    "unknown top": ({"fault": []}, "`fault`"),
    "no JSON": ("{", "truncated"),
}


@pytest.mark.parametrize(("plan", "named"), PLANS_REFUSED.values(), ids=PLANS_REFUSED)
async def test_refuses_a_plan_and_names_the_key(api: Api, plan: Any, named: str) -> None:
    await switch_on(api, {"fault": "latency", "seconds": 0})
    reply = await api("PUT", FAULTS, plan)
    assert reply.code == 400
    assert named in reply.message
    assert [fault["fault"] for fault in (await api.get(FAULTS)).body["faults"]] == ["latency"]


async def test_a_new_watch_is_refused_with_410(api: Api) -> None:
    await switch_on(api, {"fault": "expired"})
    reply = await api.get(f"{CONFIG_MAPS}?watch=1")
    assert (reply.code, reply.body["reason"]) == (410, "Expired")
    assert (await api.get(CONFIG_MAPS)).code == 200


async def test_a_running_watch_is_told_410_though_nothing_happens(api: Api) -> None:
    await api.create(CONFIG_MAPS, config_map("x"))
    async with api.watch(CONFIG_MAPS) as watch:
        assert await watch.told(1) == [("ADDED", "x")]
        await switch_on(api, {"fault": "expired-event"})
        (event,) = await watch.rest()
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_a_watch_is_cut_within_a_line(api: Api) -> None:
    await switch_on(api, {"fault": "cut", "count": 1})
    async with api.watch(CONFIG_MAPS) as watch:
        await api.create(CONFIG_MAPS, config_map("x"))
        half = await watch.response.content.readany()
        with pytest.raises(aiohttp.ClientPayloadError):
            await watch.response.content.read()
    with pytest.raises(json.JSONDecodeError):
        json.loads(half)
    assert half.startswith(b'{"type":"ADDED"')


async def test_a_running_watch_is_reset(api: Api) -> None:
    await api.create(CONFIG_MAPS, config_map("x"))
    async with api.watch(CONFIG_MAPS) as watch:
        assert await watch.told(1) == [("ADDED", "x")]
        await switch_on(api, {"fault": "reset", "verbs": ["watch"]})
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)):
            await watch.event()


async def test_a_stalled_watch_stays_open_and_silent(api: Api, sandbox: Cluster) -> None:
    async with api.watch(CONFIG_MAPS) as watch:
        sandbox.faults.add(Fault("stall", verbs=("watch",)))
        await api.create(CONFIG_MAPS, config_map("x"))
        async with api.watch(f"{DEPLOYMENTS}?timeoutSeconds=1") as other:
            await api.create(DEPLOYMENTS, deployment("web"))
            for silent in (watch, other):
                with pytest.raises(TimeoutError):
                    await silent.event(seconds=0.05)
        assert sandbox.faults.hits == 2
        sandbox.faults.clear()
        async with api.watch(CONFIG_MAPS) as fresh:
            assert await fresh.told(1) == [("ADDED", "x")]


async def test_faults_set_in_process_are_seen_over_http(api: Api, sandbox: Cluster) -> None:
    sandbox.faults.set([Fault("throttle", verbs=("patch",), retry_after=3, count=1)])
    shown = (await api.get(FAULTS)).body
    assert shown == {"faults": [{"fault": "throttle", "verbs": ["patch"], "retryAfter": 3, "count": 1, "hits": 0}]}
