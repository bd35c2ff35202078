"""Watches: where they begin, what they show, how they end."""

from __future__ import annotations

import pytest

from listener.sandbox.cluster import Cluster
from tests.sandbox.api import (
    CONFIG_MAPS,
    CORE,
    DEPLOYMENTS,
    PARTIAL,
    TABLE,
    Api,
    Object,
    config_map,
    deployment,
    serving,
)

INITIAL = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan"


async def changed(api: Api) -> None:
    """Leave the log of the config maps: a added, b added, a modified, b deleted."""
    for name in "ab":
        await api.create(CONFIG_MAPS, config_map(name))
    await api.patch(f"{CONFIG_MAPS}/a", {"data": {"key": "new"}})
    await api("DELETE", f"{CONFIG_MAPS}/b")


async def test_replays_what_happened_after_a_version(api: Api) -> None:
    start = (await api.get(CONFIG_MAPS)).revision
    await changed(api)
    async with api.watch(f"{CONFIG_MAPS}?resourceVersion={start}") as watch:
        assert await watch.told(4) == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
        await api.create(CONFIG_MAPS, config_map("c"))
        assert await watch.told(1) == [("ADDED", "c")]


async def test_each_event_carries_its_own_version_a_deletion_too(api: Api) -> None:
    start = (await api.get(CONFIG_MAPS)).revision
    await changed(api)
    async with api.watch(f"{CONFIG_MAPS}?resourceVersion={start}") as watch:
        revisions = [int((await watch.event())["object"]["metadata"]["resourceVersion"]) for _ in range(4)]
    assert revisions == sorted(set(revisions))
    async with api.watch(f"{CONFIG_MAPS}?resourceVersion={revisions[2]}") as watch:
        assert await watch.told(1) == [("DELETED", "b")]


@pytest.mark.parametrize("query", ["", "?resourceVersion=0", "?resourceVersion="], ids=["left out", "any", "empty"])
async def test_begins_with_what_is_there_where_no_version_is_named(api: Api, query: str) -> None:
    await changed(api)
    async with api.watch(CONFIG_MAPS + query) as watch:
        assert await watch.told(1) == [("ADDED", "a")]


@pytest.mark.parametrize("spelling", ["true", "True", "1", "yes"])
async def test_every_spelling_of_true_is_a_watch(api: Api, spelling: str) -> None:
    await api.create(CONFIG_MAPS, config_map("x"))
    async with api.watch(f"{CONFIG_MAPS}?watch={spelling}") as watch:
        assert await watch.told(1) == [("ADDED", "x")]


@pytest.mark.parametrize("spelling", ["false", "0", ""])
async def test_every_spelling_of_false_is_a_list(api: Api, spelling: str) -> None:
    assert (await api.get(f"{CONFIG_MAPS}?watch={spelling}")).body["kind"] == "ConfigMapList"


async def test_initial_events_end_with_a_marked_bookmark(api: Api) -> None:
    await changed(api)
    current = (await api.get(CONFIG_MAPS)).revision
    async with api.watch(f"{CONFIG_MAPS}?{INITIAL}&allowWatchBookmarks=true") as watch:
        assert await watch.told(1) == [("ADDED", "a")]
        mark = await watch.event()
    assert mark["type"] == "BOOKMARK"
    assert (mark["object"]["kind"], mark["object"]["apiVersion"]) == ("ConfigMap", "v1")
    metadata = mark["object"]["metadata"]
    assert metadata == {"resourceVersion": current, "annotations": {"k8s.io/initial-events-end": "true"}}


async def test_initial_events_come_without_a_bookmark_where_none_is_allowed(api: Api) -> None:
    await changed(api)
    async with api.watch(f"{CONFIG_MAPS}?{INITIAL}&timeoutSeconds=1") as watch:
        assert [event["type"] for event in await watch.rest()] == ["ADDED"]


async def test_ends_after_its_time_with_a_bookmark(api: Api) -> None:
    async with api.watch(f"{CONFIG_MAPS}?timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=1") as watch:
        await api.create(f"{CORE}/secrets", {"metadata": {"name": "elsewhere"}})
        current = (await api.get(CONFIG_MAPS)).revision
        events = await watch.rest()
    assert [(event["type"], event["object"]["metadata"]["resourceVersion"]) for event in events] == [
        ("BOOKMARK", current)
    ]


async def test_bookmarks_follow_the_whole_store() -> None:
    """A watch of a quiet type must be able to go on from where the store is, or its version expires unseen."""
    path = "/api/v1/configmaps?resourceVersion=1&allowWatchBookmarks=true"
    async with serving(Cluster(bookmark_seconds=0.01)) as api, api.watch(path) as watch:
        created = await api.create("/api/v1/namespaces", {"metadata": {"name": "elsewhere"}})
        seen = 0
        while seen < int(created["metadata"]["resourceVersion"]):
            event = await watch.event()
            assert event["type"] == "BOOKMARK"
            seen = int(event["object"]["metadata"]["resourceVersion"])


async def test_a_version_that_is_forgotten_is_an_error_event(api: Api, sandbox: Cluster) -> None:
    start = (await api.get(CONFIG_MAPS)).revision
    await changed(api)
    sandbox.compact()
    async with api.watch(f"{CONFIG_MAPS}?resourceVersion={start}") as watch:
        (event,) = await watch.rest()
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert event["object"]["message"].startswith(f"too old resource version: {start} (")


async def test_a_version_from_the_future_is_waited_for(api: Api) -> None:
    await api.create(CONFIG_MAPS, config_map("before"))
    soon = int((await api.get(CONFIG_MAPS)).revision) + 2
    async with api.watch(f"{CONFIG_MAPS}?resourceVersion={soon}") as watch:
        for name in ("one", "two", "three"):
            await api.create(CONFIG_MAPS, config_map(name))
        event = await watch.event()
    assert int(event["object"]["metadata"]["resourceVersion"]) > soon


async def test_until_a_version_from_the_future_has_come_there_are_no_bookmarks_either() -> None:
    """So it is when a cluster was restored from a backup, and clients go on from what they had come to."""
    async with serving(Cluster(bookmark_seconds=0.02)) as api:
        soon = int((await api.get(CONFIG_MAPS)).revision) + 2
        async with api.watch(f"{CONFIG_MAPS}?allowWatchBookmarks=1&resourceVersion={soon}") as watch:
            with pytest.raises(TimeoutError):
                await watch.event(seconds=0.2)
        async with api.watch(f"{CONFIG_MAPS}?allowWatchBookmarks=1&resourceVersion={soon - 2}") as watch:
            assert (await watch.event())["type"] == "BOOKMARK"


SELECTIONS = {
    "label": (
        "labelSelector=app%3Dweb",
        {"metadata": {"labels": {"app": "web"}}},
        {"metadata": {"labels": {"app": "db"}}},
    ),
    "label gone": ("labelSelector=app", {"metadata": {"labels": {"app": "web"}}}, {"metadata": {"labels": None}}),
}


@pytest.mark.parametrize(("selector", "enter", "leave"), SELECTIONS.values(), ids=SELECTIONS)
async def test_what_begins_and_ceases_to_fit_is_added_and_deleted(
    api: Api, selector: str, enter: Object, leave: Object
) -> None:
    await api.create(CONFIG_MAPS, config_map("x"))
    async with api.watch(f"{CONFIG_MAPS}?{selector}&resourceVersion=1") as watch:
        await api.patch(f"{CONFIG_MAPS}/x", enter)
        await api.patch(f"{CONFIG_MAPS}/x", {"data": {"key": "new"}})
        left = await api.patch(f"{CONFIG_MAPS}/x", leave)
        await api("DELETE", f"{CONFIG_MAPS}/x")
        assert await watch.told(2) == [("ADDED", "x"), ("MODIFIED", "x")]
        gone = await watch.event()
        assert gone["type"] == "DELETED"
        # The last state that fitted, under the version at which it ceased to.
        assert gone["object"]["metadata"]["labels"] == enter["metadata"]["labels"]
        assert gone["object"]["metadata"]["resourceVersion"] == left.revision
        await api.create(CONFIG_MAPS, config_map("end", labels={"app": "web"}))
        assert await watch.told(1) == [("ADDED", "end")]


async def test_selects_by_field(api: Api) -> None:
    async with api.watch(f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Db&resourceVersion=1") as watch:
        await changed(api)
        assert await watch.told(2) == [("ADDED", "b"), ("DELETED", "b")]


async def test_watches_one_namespace_or_all(api: Api) -> None:
    await api.create("/api/v1/namespaces", {"metadata": {"name": "other"}})
    start = (await api.get(CONFIG_MAPS)).revision
    await api.create("/api/v1/namespaces/other/configmaps", config_map("theirs"))
    await api.create(CONFIG_MAPS, config_map("ours"))
    async with api.watch(f"{CONFIG_MAPS}?resourceVersion={start}") as watch:
        assert await watch.told(1) == [("ADDED", "ours")]
    async with api.watch(f"/api/v1/configmaps?resourceVersion={start}") as watch:
        assert await watch.told(2) == [("ADDED", "theirs"), ("ADDED", "ours")]


async def test_watches_as_table_with_columns_once(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("one", replicas=0))
    await api.create(DEPLOYMENTS, deployment("two", replicas=0))
    async with api.watch(DEPLOYMENTS, accept=TABLE) as watch:
        first, second = await watch.event(), await watch.event()
    assert first["object"]["kind"] == "Table"
    assert first["object"]["columnDefinitions"][0]["name"] == "Name"
    assert first["object"]["rows"][0]["cells"][:2] == ["one", "0/0"]
    assert second["object"]["columnDefinitions"] is None
    assert second["object"]["rows"][0]["object"]["metadata"]["name"] == "two"


async def test_watches_metadata_only(api: Api) -> None:
    await api.create(CONFIG_MAPS, config_map("x"))
    async with api.watch(CONFIG_MAPS, accept=PARTIAL) as watch:
        event = await watch.event()
    assert (event["object"]["kind"], "data" in event["object"]) == ("PartialObjectMetadata", False)


REFUSED = {
    "version that is none": ("resourceVersion=abc", 500),
    "initial events without match": ("sendInitialEvents=true", 422),
    "match without initial events": ("resourceVersionMatch=NotOlderThan&resourceVersion=1", 422),
    "field": ("fieldSelector=foo%3Dbar", 400),
}


@pytest.mark.parametrize(("query", "code"), REFUSED.values(), ids=REFUSED)
async def test_refuses_before_it_begins(api: Api, query: str, code: int) -> None:
    assert (await api.get(f"{CONFIG_MAPS}?watch=1&{query}")).code == code


async def test_one_object_is_got_not_watched(api: Api) -> None:
    await api.create(CONFIG_MAPS, config_map("x"))
    assert (await api.get(f"{CONFIG_MAPS}/x?watch=true")).body["kind"] == "ConfigMap"


async def test_many_watchers_see_the_same(api: Api) -> None:
    async with api.watch(CONFIG_MAPS) as one, api.watch(CONFIG_MAPS) as two:
        await changed(api)
        assert await one.told(4) == await two.told(4)
