"""The Kubernetes API: on a cluster that works, and on servers that do not."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from kubernetes_asyncio import client, config
from structlog.testing import capture_logs

from listener.core import imports, plans, references
from listener.core.actions import Plan, View
from listener.core.changes import Gone, Mark, Page, Seen
from listener.core.history import Condition, TagHistory, TagItem
from listener.core.kinds import CRON_JOB, DEPLOYMENT
from listener.core.notices import Notice, Reason, about_stream
from listener.core.outcomes import End
from listener.core.streams import REPOSITORY_CHECK, Resolved, Stream, StreamKey
from listener.core.triggers import ANNOTATION
from listener.core.workloads import Container, Workload, WorkloadKey
from listener.edges.cluster import STREAMS_PATH, Cluster
from listener.errors import ClusterRefused, ClusterUnavailable, SettingsError, WatchExpired
from listener.sandbox.cluster import Fault
from tests.cluster_under_test import ClusterUnderTest
from tests.edges.api_server import api_server, hangs, kubeconfig_for, refuses, says, streams
from tests.sandbox.webhook import Answering, remote, rule, webhooks

WEB = StreamKey("shop", "web")
APP = WorkloadKey("Deployment", "shop", "app")
BARE = Stream(WEB, "u1", "42", 1, "", "", (), ())
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAILED_TEST: dict[str, Any] = {"reason": "Invalid", "details": {}}


def history(tag: str, letter: str) -> TagHistory:
    image = "sha256:" + letter * 64
    return TagHistory(tag, (TagItem("2026-01-01T00:00:00Z", f"r.example/shop/web@{image}", image, 1),))


def stream_json(name: str = "web", version: str = "1", **rest: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop", "uid": "u1", "resourceVersion": version}, **rest}


def event(kind: str, body: Any) -> bytes:
    """As API servers write it."""
    return json.dumps({"type": kind, "object": body}, separators=(",", ":")).encode() + b"\n"


async def collect(found: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in found]


# On a cluster that works


@pytest.fixture
async def ours(cluster: ClusterUnderTest) -> AsyncIterator[Cluster]:
    """Our client, on the cluster under test."""
    async with await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as ours:
        yield ours


@pytest.fixture
async def web(cluster: ClusterUnderTest, ours: Cluster) -> Stream:
    """An empty stream, in a namespace of its own."""
    made = await ours.create_stream(StreamKey(await cluster.namespace(), "web"))
    assert made.stored is not None
    return made.stored


async def deployment(cluster: ClusterUnderTest, namespace: str, *containers: str) -> WorkloadKey:
    """Create one with a trigger annotation that says nothing."""
    async with await config.new_client_from_config(str(cluster.kubeconfig)) as api:
        labels = {"app": "app"}
        await client.AppsV1Api(api).create_namespaced_deployment(
            namespace,
            {
                "metadata": {"name": "app", "annotations": {ANNOTATION: "[{}]"}},
                "spec": {
                    "replicas": 0,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [{"name": name, "image": "old:1"} for name in containers]},
                    },
                },
            },
        )
    return WorkloadKey("Deployment", namespace, "app")


def set_image(name: str, image: str, index: int = 0) -> list[dict[str, Any]]:
    path = f"/spec/template/spec/containers/{index}"
    return [
        {"op": "test", "path": f"{path}/name", "value": name},
        {"op": "replace", "path": f"{path}/image", "value": image},
    ]


async def test_a_stream_is_created_once(ours: Cluster, web: Stream) -> None:
    assert (web.uid != "", web.tags) == (True, ())
    assert (await ours.create_stream(web.key)).end is End.STALE
    assert await ours.get_stream(web.key) == web
    assert await ours.get_stream(replace_name(web, "other").key) is None


def with_tags(stream: Stream, *histories: TagHistory) -> Stream:
    return replace(stream, tags=histories)


def replace_name(stream: Stream, name: str) -> Stream:
    return replace(stream, key=StreamKey(stream.key.namespace, name))


async def test_a_stream_in_a_missing_namespace_is_gone_and_the_namespace_is_named(ours: Cluster) -> None:
    outcome = await ours.create_stream(StreamKey("not-there", "web"))
    assert outcome.end is End.GONE
    assert "not-there" in outcome.message


async def test_tags_are_stored_and_the_answer_holds_them(ours: Cluster, web: Stream) -> None:
    outcome = await ours.store_status(with_tags(web, history("latest", "a")))
    assert outcome.end is End.APPLIED
    assert outcome.stored is not None
    assert outcome.stored.tags == (history("latest", "a"),)
    assert outcome.stored == await ours.get_stream(web.key)


async def test_tags_are_not_stored_over_somebody_elses_write(ours: Cluster, web: Stream) -> None:
    await ours.store_status(with_tags(web, history("latest", "a")))
    assert (await ours.store_status(with_tags(web, history("latest", "b")))).end is End.STALE
    now = await ours.get_stream(web.key)
    assert now is not None
    assert now.tags == (history("latest", "a"),)


async def test_tags_of_a_stream_that_is_not_there_are_gone(ours: Cluster, web: Stream) -> None:
    assert (await ours.store_status(with_tags(replace_name(web, "other")))).end is End.GONE


async def test_tags_that_are_no_tags_are_refused_with_the_field(ours: Cluster, web: Stream) -> None:
    outcome = await ours.store_status(with_tags(web, history("latest", "a"), history("latest", "b")))
    assert (outcome.end, outcome.may_pass) == (End.REFUSED, False)
    assert "status.tags[1]" in outcome.message


async def test_the_whole_status_is_stored_and_what_is_said_no_more_goes(ours: Cluster, web: Stream) -> None:
    problem = Condition("ImportSuccess", "False", "2026-01-01T00:00:00Z", "NotFound", "no such image", 1)
    full = replace(web, status_repository="r.example/shop/web", public_repository="p/web", conditions=(problem,))
    stored = (await ours.store_status(full)).stored
    assert stored is not None
    assert (stored.status_repository, stored.public_repository) == ("r.example/shop/web", "p/web")
    assert stored.conditions == (problem,)
    less = (await ours.store_status(replace(web, resource_version=stored.resource_version))).stored
    assert less is not None
    assert (less.status_repository, less.public_repository, less.conditions) == ("", "", ())


async def test_a_spec_is_written_only_over_what_was_read(ours: Cluster, web: Stream) -> None:
    """The generation that the cluster gives is the one that was written ahead of it."""
    spec = {"tags": [{"name": "a", "from": {"kind": "DockerImage", "name": "r.example/a:1"}}, {"name": "b"}]}
    made = (await ours.create_stream(StreamKey(web.key.namespace, "tagged"), spec)).stored
    assert made is not None
    operations = imports.number_generations(made)
    numbered = (await ours.patch_stream(made.key, operations)).stored
    assert numbered is not None
    assert [tag.generation for tag in numbered.spec_tags] == [2, 2]
    assert numbered.generation == 2
    assert (await ours.patch_stream(made.key, operations)).end is End.STALE
    added = (
        await ours.patch_stream(made.key, imports.add_tags(numbered, ["c"], references.parse("r.example/a")))
    ).stored
    assert added is not None
    assert (added.spec_tags[2].name, added.spec_tags[2].generation, added.generation) == ("c", 3, 3)
    assert added.spec_tags[:2] == numbered.spec_tags


async def test_an_annotation_is_set_only_over_what_was_read(ours: Cluster, web: Stream) -> None:
    now = (await ours.store_status(with_tags(web, history("latest", "a")))).stored
    assert now is not None
    mark = {REPOSITORY_CHECK: "2026-01-01T00:00:00Z"}
    assert (await ours.annotate_stream(web, mark)).end is End.STALE
    marked = (await ours.annotate_stream(now, mark)).stored
    assert marked is not None
    assert marked.is_checked
    assert marked.generation == web.generation
    assert marked.tags == (history("latest", "a"),)


async def test_pull_secrets_of_both_types_are_read_but_for_those_kept_from_imports(
    cluster: ClusterUnderTest, ours: Cluster
) -> None:
    namespace = await cluster.namespace("secrets")
    login = base64.b64encode(b"robot:hunter2").decode()
    modern = {"auths": {"r.example": {"auth": login}}}
    secrets = [
        ("modern", "kubernetes.io/dockerconfigjson", {".dockerconfigjson": json.dumps(modern)}, {}),
        ("old", "kubernetes.io/dockercfg", {".dockercfg": json.dumps({"old.example": {"auth": login}})}, {}),
        ("kept", "kubernetes.io/dockercfg", {".dockercfg": "{}"}, {"openshift.io/image.excludeSecret": "true"}),
        ("opaque", "Opaque", {"password": "hunter2"}, {}),
    ]
    async with await config.new_client_from_config(str(cluster.kubeconfig)) as api:
        for name, kind, data, annotations in secrets:
            body = {"metadata": {"name": name, "annotations": annotations}, "type": kind, "stringData": data}
            await client.CoreV1Api(api).create_namespaced_secret(namespace, body)
    found = await ours.pull_secrets(namespace)
    assert [secret.name for secret in found] == ["modern", "old"]
    assert json.loads(found[0].data[".dockerconfigjson"]) == modern
    assert "hunter2" not in repr(found)
    assert login not in repr(found)
    assert await ours.pull_secrets("not-there") == []


async def test_of_pull_secrets_only_so_much_is_read_as_a_namespace_may_need(
    cluster: ClusterUnderTest, ours: Cluster
) -> None:
    async def found(size: int) -> list[str]:
        namespace = await cluster.namespace("secrets")
        async with await config.new_client_from_config(str(cluster.kubeconfig)) as api:
            for number in range(45):
                body = {
                    "metadata": {"name": f"s{number:02}"},
                    "type": "kubernetes.io/dockercfg",
                    "stringData": {".dockercfg": "{}", "large": "x" * size},
                }
                await client.CoreV1Api(api).create_namespaced_secret(namespace, body)
        return [secret.name for secret in await ours.pull_secrets(namespace)]

    assert len(await found(100)) == 45
    # A thousand of the largest would be 1.4 GB of JSON, and everybody who may write Secrets could send us that.
    with capture_logs() as logs:
        assert await found(200_000) == [f"s{number:02}" for number in range(20)]
    assert [(line["event"], line["read"]) for line in logs] == [("pull_secrets.too_many", 20)]


async def test_a_patch_sets_the_image_and_the_answer_holds_it(
    cluster: ClusterUnderTest, ours: Cluster, web: Stream
) -> None:
    key = await deployment(cluster, web.key.namespace, "app", "side")
    outcome = await ours.patch_workload(DEPLOYMENT, key, set_image("side", "new:2", 1))
    assert outcome.end is End.APPLIED
    assert outcome.stored is not None
    assert outcome.stored.containers == (Container("app", "old:1"), Container("side", "new:2"))
    found = await ours.get_workload(DEPLOYMENT, key)
    assert found is not None
    assert found.containers == outcome.stored.containers


@pytest.mark.parametrize(
    "operations",
    [
        pytest.param(set_image("somebody-else", "new:2"), id="another container is there"),
        pytest.param(set_image("app", "new:2", 7), id="the container is not there any more"),
    ],
)
async def test_a_patch_that_does_not_fit_any_more_is_stale_and_changes_nothing(
    cluster: ClusterUnderTest, ours: Cluster, web: Stream, operations: list[dict[str, Any]]
) -> None:
    key = await deployment(cluster, web.key.namespace, "app")
    assert (await ours.patch_workload(DEPLOYMENT, key, operations)).end is End.STALE
    found = await ours.get_workload(DEPLOYMENT, key)
    assert found is not None
    assert found.containers == (Container("app", "old:1"),)


async def test_a_patch_that_makes_the_workload_invalid_is_refused(
    cluster: ClusterUnderTest, ours: Cluster, web: Stream
) -> None:
    key = await deployment(cluster, web.key.namespace, "app")
    outcome = await ours.patch_workload(DEPLOYMENT, key, set_image("app", ""))
    assert (outcome.end, outcome.may_pass) == (End.REFUSED, False)
    assert "image" in outcome.message


async def test_a_patch_of_a_workload_that_is_not_there_is_gone(ours: Cluster, web: Stream) -> None:
    key = WorkloadKey("Deployment", web.key.namespace, "none")
    assert (await ours.patch_workload(DEPLOYMENT, key, set_image("app", "x"))).end is End.GONE
    assert await ours.get_workload(DEPLOYMENT, key) is None


async def test_a_plan_of_ours_fits(cluster: ClusterUnderTest, ours: Cluster, web: Stream) -> None:
    """The whole way: the annotation is read, planned, patched, and then there is nothing left to do."""
    namespace = web.key.namespace
    key = await deployment(cluster, namespace, "app")
    trigger = {
        "from": {"kind": "ImageStreamTag", "name": "web:latest"},
        "fieldPath": 'spec.template.spec.containers[?(@.name=="app")].image',
    }
    annotate = [{"op": "replace", "path": "/metadata/annotations/" + ANNOTATION.replace("/", "~1")}]
    annotate[0]["value"] = json.dumps([trigger])
    annotated = await ours.patch_workload(DEPLOYMENT, key, annotate)
    assert annotated.stored is not None

    def plan(workload: Workload) -> Plan:
        resolved = Resolved("r.example/shop/web@sha256:" + "a" * 64, "sha256:" + "a" * 64, 1)
        return plans.plan(workload, DEPLOYMENT, View(lambda *_: resolved, lambda *_: None), now=NOW)

    outcome = await ours.patch_workload(DEPLOYMENT, key, plan(annotated.stored).operations)
    assert outcome.stored is not None
    assert outcome.stored.containers == (Container("app", "r.example/shop/web@sha256:" + "a" * 64),)
    assert plan(outcome.stored).operations == ()


async def test_an_event_is_written_repeated_and_missed(cluster: ClusterUnderTest, ours: Cluster, web: Stream) -> None:
    notice = Notice(about_stream(web.key, web.uid), Reason.TAG_MOVED, "it moved")
    moment = "2026-01-01T00:00:00Z"
    assert (await ours.create_event("web.1", notice, count=1, first=moment, last=moment)).end is End.APPLIED
    assert (await ours.repeat_event("web.1", notice, count=4, last="2026-01-01T01:00:00Z")).end is End.APPLIED
    assert (await ours.repeat_event("web.2", notice, count=4, last=moment)).end is End.GONE
    async with await config.new_client_from_config(str(cluster.kubeconfig)) as api:
        found = await client.CoreV1Api(api).list_namespaced_event(web.key.namespace)
    assert [(e.involved_object.name, e.reason, e.count) for e in found.items] == [("web", "TagMoved", 4)]


async def test_a_watch_tells_what_happened_since_the_list(
    cluster: ClusterUnderTest, ours: Cluster, web: Stream
) -> None:
    namespace = web.key.namespace
    collection = ours.streams(namespace)
    [page] = await collect(collection.pages())
    assert (page.objects, page.keys) == ((web,), {web.key})
    stored = await ours.store_status(with_tags(web, history("latest", "a")))
    other = await ours.create_stream(StreamKey(namespace, "other"))
    async with await config.new_client_from_config(str(cluster.kubeconfig)) as api:
        await client.CustomObjectsApi(api).delete_namespaced_custom_object(
            "image.openshift.io", "v1", namespace, "imagestreams", "web"
        )
    seen: list[object] = []
    async with asyncio.timeout(10):
        async for change in collection.changes(page.resource_version):
            if not isinstance(change, Mark):
                seen.append(change)
            if len(seen) == 3:
                break
    assert stored.stored is not None
    assert other.stored is not None
    assert seen[:2] == [
        Seen(stored.stored, stored.stored.resource_version),
        Seen(other.stored, other.stored.resource_version),
    ]
    assert isinstance(seen[2], Gone)
    assert seen[2].key == web.key


async def test_a_list_of_one_namespace_names_no_other(ours: Cluster, cluster: ClusterUnderTest, web: Stream) -> None:
    await ours.create_stream(StreamKey(await cluster.namespace(), "web"))
    [page] = await collect(ours.streams(web.key.namespace).pages())
    assert page.keys == {web.key}


async def test_what_a_webhook_denies_is_refused_whatever_code_it_gives(
    cluster: ClusterUnderTest, ours: Cluster, ca: trustme.CA
) -> None:
    def deny(code: int) -> Answering:
        return lambda _: {"allowed": False, "status": {"code": code, "message": "no way"}}

    async with remote(cluster.kubeconfig) as api, webhooks(api, ca) as hooks:
        key = await deployment(cluster, api.namespace, "app")
        await hooks.register(hooks.webhook(rules=[rule("deployments", operations=("UPDATE",))]))
        for code in (404, 409, 429, 500):
            hooks.answers["/a"] = deny(code)
            outcome = await ours.patch_workload(DEPLOYMENT, key, set_image("app", "new:1"))
            assert (outcome.end, outcome.may_pass, outcome.retry_after_seconds) == (End.REFUSED, True, None), code
            assert outcome.message == 'admission webhook "a.example.com" denied the request: no way'


# On a cluster that is switched to a bad day


@pytest.fixture
async def bad_day(cluster: ClusterUnderTest, web: Stream, request: pytest.FixtureRequest) -> AsyncIterator[Stream]:
    """The fault that the test's parameter names; yields a stream as it was before."""
    assert cluster.sandbox is not None
    cluster.sandbox.faults.set([request.param])
    yield web
    cluster.sandbox.faults.clear()


only_the_sandbox = pytest.mark.sandbox_only(reason="faults are switched on")


@only_the_sandbox
@pytest.mark.parametrize(
    ("bad_day", "end", "seconds"),
    [
        pytest.param(Fault("throttle", retry_after=7), End.THROTTLED, 7, id="429"),
        pytest.param(Fault("error"), End.UNREACHABLE, None, id="500"),
        pytest.param(Fault("conflict"), End.STALE, None, id="409"),
        pytest.param(Fault("reset"), End.UNREACHABLE, None, id="reset"),
    ],
    indirect=["bad_day"],
)
async def test_how_a_write_ends_on_a_bad_day(ours: Cluster, bad_day: Stream, end: End, seconds: float | None) -> None:
    outcome = await ours.store_status(with_tags(bad_day, history("latest", "a")))
    assert (outcome.end, outcome.stored, outcome.retry_after_seconds) == (end, None, seconds)
    assert outcome.message


@only_the_sandbox
@pytest.mark.parametrize(
    ("bad_day", "seconds"),
    [
        pytest.param(Fault("throttle", retry_after=7), 7, id="429"),
        pytest.param(Fault("error"), None, id="500"),
        pytest.param(Fault("reset"), None, id="reset"),
    ],
    indirect=["bad_day"],
)
async def test_how_a_read_ends_on_a_bad_day(ours: Cluster, bad_day: Stream, seconds: float | None) -> None:
    with pytest.raises(ClusterUnavailable) as got:
        await ours.get_stream(bad_day.key)
    assert got.value.retry_after_seconds == seconds
    with pytest.raises(ClusterUnavailable):
        await collect(ours.streams().pages())


@only_the_sandbox
@pytest.mark.parametrize(
    ("bad_day", "error"),
    [
        pytest.param(Fault("expired"), WatchExpired, id="410"),
        pytest.param(Fault("expired-event"), WatchExpired, id="410 as an event"),
        pytest.param(Fault("reset", verbs=("watch",)), ClusterUnavailable, id="reset"),
        pytest.param(Fault("cut"), ClusterUnavailable, id="half a line, then cut"),
        pytest.param(Fault("throttle", verbs=("watch",)), ClusterUnavailable, id="429"),
    ],
    indirect=["bad_day"],
)
async def test_how_a_watch_ends_on_a_bad_day(ours: Cluster, bad_day: Stream, error: type[Exception]) -> None:
    await ours.store_status(with_tags(bad_day, history("latest", "a")))
    async with asyncio.timeout(10):
        with pytest.raises(error):
            await collect(ours.streams(bad_day.key.namespace).changes(bad_day.resource_version))


@only_the_sandbox
async def test_a_watch_from_a_forgotten_version_has_expired(
    cluster: ClusterUnderTest, ours: Cluster, web: Stream
) -> None:
    assert cluster.sandbox is not None
    await ours.store_status(with_tags(web, history("latest", "a")))
    cluster.sandbox.compact()
    with pytest.raises(WatchExpired):
        async with asyncio.timeout(10):
            await collect(ours.streams(web.key.namespace).changes(web.resource_version))


# On servers that say odd things


async def test_a_list_comes_in_pages(tmp_path: Path) -> None:
    def page(*names: str, go_on: str = "") -> Any:
        items = [stream_json(name) for name in names]
        return says(200, {"metadata": {"resourceVersion": "77", "continue": go_on}, "items": items})

    async with api_server(tmp_path, page("a", "b", go_on="tok/en="), page("c", go_on="2"), page()) as server:
        pages: list[Page[StreamKey, Stream]] = await collect(server.cluster.streams().pages())
    assert [sorted(key.name for key in page.keys) for page in pages] == [["a", "b"], ["c"], []]
    assert {page.resource_version for page in pages} == {"77"}
    assert [asked.query.get("continue") for asked in server.asked] == [None, "tok/en=", "2"]
    assert all(int(asked.query["limit"]) >= 100 for asked in server.asked)
    assert server.asked[0].path == f"{STREAMS_PATH}/imagestreams"


async def test_every_request_says_who_we_are(tmp_path: Path) -> None:
    async with api_server(tmp_path, says(200, stream_json())) as server:
        await server.cluster.get_stream(WEB)
        await server.cluster.store_status(with_tags(BARE))
        await server.cluster.patch_workload(CRON_JOB, WorkloadKey("CronJob", "shop", "x"), [])
    assert {asked.headers["Authorization"] for asked in server.asked} == {"Bearer the-token"}
    assert {asked.headers["User-Agent"] for asked in server.asked} == {"imagestream-listener"}
    assert [(asked.method, asked.path, asked.query, asked.headers.get("Content-Type")) for asked in server.asked] == [
        ("GET", f"{STREAMS_PATH}/namespaces/shop/imagestreams/web", {}, None),
        (
            "PATCH",
            f"{STREAMS_PATH}/namespaces/shop/imagestreams/web/status",
            {"fieldManager": "imagestream-listener"},
            "application/merge-patch+json",
        ),
        (
            "PATCH",
            "/apis/batch/v1/namespaces/shop/cronjobs/x",
            {"fieldManager": "imagestream-listener"},
            "application/json-patch+json",
        ),
    ]


async def test_no_name_climbs_out_of_its_place(tmp_path: Path) -> None:
    async with api_server(tmp_path, refuses(404, "not found")) as server:
        await server.cluster.store_status(replace(BARE, key=StreamKey("../..", "a/b?c#d")))
    assert server.asked[0].path == f"{STREAMS_PATH}/namespaces/..%2F../imagestreams/a%2Fb%3Fc%23d/status"


async def test_a_list_without_items_is_an_empty_one(tmp_path: Path) -> None:
    async with api_server(tmp_path, says(200, {"metadata": {"resourceVersion": "5"}, "items": None})) as server:
        assert await collect(server.cluster.streams().pages()) == [Page((), frozenset(), "5")]


ODD = stream_json("odd", spec={"tags": "no list"})


async def test_an_object_that_cannot_be_read_is_named_in_the_page_and_in_the_log(tmp_path: Path) -> None:
    body = {"metadata": {"resourceVersion": "5"}, "items": [stream_json("a"), ODD]}
    with capture_logs() as logs:
        async with api_server(tmp_path, says(200, body)) as server:
            [page] = await collect(server.cluster.streams().pages())
    assert [found.key.name for found in page.objects] == ["a"]
    assert page.keys == {("shop", "a"), ("shop", "odd")}
    assert [(line["event"], line["object"]) for line in logs] == [("cluster.object_unreadable", "shop/odd")]


async def test_an_object_that_cannot_be_read_is_a_mark_in_a_watch(tmp_path: Path) -> None:
    async with api_server(tmp_path, streams(event("MODIFIED", ODD))) as server:
        assert await collect(server.cluster.streams().changes("0")) == [Mark("1")]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>hello</html>", id="no JSON"),
        pytest.param([], id="another shape"),
        pytest.param({"metadata": {}, "items": [{}]}, id="an item without a name"),
        pytest.param({"metadata": {}, "items": [None]}, id="an item that is none"),
        pytest.param(b'{"metadata": {}, "items": [{"metadata": {"name": "\xff"}}]}', id="no text"),
    ],
)
async def test_an_answer_that_is_no_list_is_a_server_that_is_not_there(tmp_path: Path, body: Any) -> None:
    async with api_server(tmp_path, says(200, body)) as server:
        with pytest.raises(ClusterUnavailable, match="/imagestreams"):
            await collect(server.cluster.streams().pages())


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"", b'{"metadata": {"name": "\xff"}}'])
async def test_an_answer_that_is_no_object_is_a_server_that_is_not_there(tmp_path: Path, body: bytes) -> None:
    async with api_server(tmp_path, says(200, body)) as server:
        with pytest.raises(ClusterUnavailable, match="/imagestreams/web"):
            await server.cluster.get_stream(WEB)
        assert (await server.cluster.store_status(with_tags(BARE))).end is End.UNREACHABLE
        assert (await server.cluster.patch_workload(DEPLOYMENT, APP, [])).end is End.UNREACHABLE


NOT_FOUND: dict[str, Any] = {"reason": "NotFound", "details": {"name": "web", "kind": "imagestreams"}}


async def test_a_server_that_does_not_serve_the_resource_is_told_from_an_object_that_is_not_there(
    tmp_path: Path,
) -> None:
    async with api_server(
        tmp_path, refuses(404, "not found", **NOT_FOUND), says(404, b"404 page not found\n")
    ) as server:
        assert await server.cluster.get_stream(WEB) is None
        with pytest.raises(ClusterRefused, match="page not found"):
            await server.cluster.get_stream(WEB)
        outcome = await server.cluster.create_stream(WEB)
    assert (outcome.end, outcome.may_pass) == (End.REFUSED, True)


@pytest.mark.parametrize(
    ("answer", "end", "may_pass"),
    [
        pytest.param(refuses(404, "not found", **NOT_FOUND), End.GONE, False, id="404"),
        pytest.param(refuses(409, "modified", reason="Conflict"), End.STALE, False, id="409"),
        pytest.param(refuses(422, "the server rejected our request", **FAILED_TEST), End.STALE, False, id="422 test"),
        pytest.param(
            refuses(422, "invalid", reason="Invalid", details={"name": "app", "causes": [{"field": "spec"}]}),
            End.REFUSED,
            False,
            id="422 validation",
        ),
        pytest.param(
            refuses(422, 'admission webhook "x" denied the request: no', reason="Invalid"),
            End.REFUSED,
            False,
            id="422 webhook",
        ),
        *(
            pytest.param(
                refuses(code, 'admission webhook "x" denied the request: no', {"Retry-After": "3"}, details=details),
                End.REFUSED,
                code != 400,
                id=f"{code} webhook",
            )
            for code, details in [(400, {}), (404, NOT_FOUND["details"]), (409, {}), (429, {}), (500, {}), (503, {})]
        ),
        pytest.param(refuses(403, "forbidden", reason="Forbidden"), End.REFUSED, True, id="403"),
        pytest.param(refuses(401, "Unauthorized", reason="Unauthorized"), End.REFUSED, True, id="401"),
        pytest.param(refuses(400, "bad request", reason="BadRequest"), End.REFUSED, False, id="400"),
        pytest.param(refuses(413, "limit is 3145728"), End.REFUSED, False, id="413"),
        pytest.param(refuses(500, "etcdserver: request is too large"), End.REFUSED, False, id="too large for etcd"),
        pytest.param(
            refuses(500, "rpc error: code = ResourceExhausted desc = trying to send message larger than max (3 vs. 2)"),
            End.REFUSED,
            False,
            id="too large for its client",
        ),
        pytest.param(refuses(500, "etcdserver: leader changed"), End.UNREACHABLE, False, id="500"),
        pytest.param(says(502, b"<html>Bad Gateway</html>"), End.UNREACHABLE, False, id="502, no JSON"),
        pytest.param(refuses(504, "timeout", reason="Timeout"), End.UNREACHABLE, False, id="504"),
    ],
)
async def test_how_a_write_ends(tmp_path: Path, answer: Any, end: End, may_pass: bool) -> None:
    async with api_server(tmp_path, answer) as server:
        outcome = await server.cluster.patch_workload(DEPLOYMENT, APP, set_image("app", "x"))
    assert (outcome.end, outcome.may_pass, outcome.retry_after_seconds) == (end, may_pass, None)
    assert outcome.message


@pytest.mark.parametrize(
    ("value", "seconds"), [("12", 12), ("0", 0), ("", None), ("soon", None), ("1.5", None), ("-1", None)]
)
async def test_advice_to_come_later_is_read_where_it_is_seconds(
    tmp_path: Path, value: str, seconds: float | None
) -> None:
    async with api_server(tmp_path, refuses(429, "slow down", {"Retry-After": value})) as server:
        outcome = await server.cluster.patch_workload(DEPLOYMENT, APP, [])
    assert (outcome.end, outcome.retry_after_seconds) == (End.THROTTLED, seconds)


async def test_a_message_is_cut_to_what_a_log_line_bears(tmp_path: Path) -> None:
    async with api_server(tmp_path, refuses(400, "x" * 100_000)) as server:
        outcome = await server.cluster.patch_workload(DEPLOYMENT, APP, [])
    assert len(outcome.message) == 1000


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(refuses(403, "forbidden"), ClusterRefused, id="403"),
        pytest.param(refuses(410, "gone"), WatchExpired, id="410"),
        pytest.param(refuses(429, "slow down", {"Retry-After": "3"}), ClusterUnavailable, id="429"),
        pytest.param(refuses(503, "later"), ClusterUnavailable, id="503"),
        pytest.param(streams(event("ERROR", {"code": 410, "message": "too old"})), WatchExpired, id="410 as event"),
        pytest.param(streams(event("ERROR", {"code": 500})), ClusterUnavailable, id="500 as event"),
        pytest.param(streams(event("ERROR", {"code": 403})), ClusterRefused, id="403 as event"),
        pytest.param(streams(b"not an event\n"), ClusterUnavailable, id="no JSON"),
        pytest.param(streams(event("ADDED", {})), ClusterUnavailable, id="no object"),
        pytest.param(streams(event("ADDED", None)), ClusterUnavailable, id="null"),
        pytest.param(streams(b'{"type": "ADDED", "obj', then="cut"), ClusterUnavailable, id="cut in a line"),
        pytest.param(streams(then="cut"), ClusterUnavailable, id="cut at once"),
    ],
)
async def test_how_a_watch_ends(tmp_path: Path, answer: Any, error: type[Exception]) -> None:
    async with api_server(tmp_path, answer) as server:
        with pytest.raises(error, match="/imagestreams"):
            await collect(server.cluster.streams().changes("5"))


async def test_a_watch_asks_for_bookmarks_and_for_an_end(tmp_path: Path) -> None:
    async with api_server(tmp_path, streams()) as server:
        assert await collect(server.cluster.streams("shop").changes("5")) == []
    [asked] = server.asked
    assert asked.path == f"{STREAMS_PATH}/namespaces/shop/imagestreams"
    assert 60 <= int(asked.query.pop("timeoutSeconds")) <= 600  # type: ignore[attr-defined]
    assert asked.query == {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "5"}


async def test_a_watch_is_read_line_by_line_however_the_bytes_come(tmp_path: Path) -> None:
    lines = event("ADDED", stream_json("a", "1")) + b"\n" + event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
    for size in (1, 7, 100, len(lines)):
        chunks = [lines[start : start + size] for start in range(0, len(lines), size)]
        async with api_server(tmp_path, streams(*chunks)) as server:
            found = await collect(server.cluster.streams().changes("0"))
        assert [type(change) for change in found] == [Seen, Mark]
        assert [change.resource_version for change in found] == ["1", "9"]


@pytest.mark.parametrize(
    "line", ['{"type": "ADDED", "object": %s}', '{"object":%s,"type":"ADDED"}', '{"type":"ADDED","object":%s,"more":1}']
)
async def test_a_watch_event_may_be_written_otherwise(tmp_path: Path, line: str) -> None:
    async with api_server(tmp_path, streams((line % json.dumps(stream_json("a", "1"))).encode() + b"\n")) as server:
        [change] = await collect(server.cluster.streams().changes("0"))
    assert isinstance(change, Seen)


async def test_what_came_before_the_cut_is_not_lost(tmp_path: Path) -> None:
    answer = streams(event("ADDED", stream_json("a", "1")), event("DELETED", stream_json("b", "2")), then="cut")
    async with api_server(tmp_path, answer) as server:
        changes = server.cluster.streams().changes("0")
        found = [await anext(changes), await anext(changes)]
        with pytest.raises(ClusterUnavailable):
            await anext(changes)
    assert [type(change) for change in found] == [Seen, Gone]


async def test_a_watch_event_of_megabytes_is_read(tmp_path: Path) -> None:
    big = stream_json("a", "1", data="x" * 3_000_000)
    async with api_server(tmp_path, streams(event("ADDED", big))) as server:
        [change] = await collect(server.cluster.streams().changes("0"))
    assert isinstance(change, Seen)


async def test_a_server_that_never_answers_is_not_waited_for_longer_than_asked(tmp_path: Path) -> None:
    async with api_server(tmp_path, hangs()) as server:
        with pytest.raises(ClusterUnavailable, match="no answer"):
            await server.cluster.read("/x", {}, limits=aiohttp.ClientTimeout(total=0.1))


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    async with api_server(tmp_path, says(200, {})) as server:
        pass
    async with await Cluster.connect(kubeconfig=str(tmp_path / "kubeconfig")) as cluster:
        with pytest.raises(ClusterUnavailable, match="no answer"):
            await cluster.get_stream(WEB)
        assert (await cluster.store_status(with_tags(BARE))).end is End.UNREACHABLE
    assert server.asked == []


async def test_an_error_names_the_host_and_no_path_of_it(tmp_path: Path) -> None:
    """Proxies, and our sandbox, take credentials in the path of the server's address."""
    (tmp_path / "kubeconfig").write_text(kubeconfig_for("http://127.0.0.1:1/a-secret"))
    async with await Cluster.connect(kubeconfig=str(tmp_path / "kubeconfig")) as cluster:
        with pytest.raises(ClusterUnavailable, match=r"no answer from http://127\.0\.0\.1:1: ") as caught:
            await cluster.get("/version")
    assert "a-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text", [None, "", "no: kubeconfig", ": not yaml :"], ids=["missing", "empty", "odd", "broken"]
)
async def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match=str(file)):
        await Cluster.connect(kubeconfig=str(file))
