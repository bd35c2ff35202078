"""Reading, changing and waiting: on servers that say no, on one whose streams others change, without a service."""

from __future__ import annotations

import asyncio
import json
import os
import pty
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from listener.cli.streams import CommandFailed, StreamMissing, Streams
from listener.core import edits
from listener.core.edits import EditRefused, Found, Operation
from listener.core.fanouts import Failure, FanOutRecord, Phase
from listener.core.history import TagHistory, TagItem
from listener.core.outcomes import End
from listener.core.streams import Stream, StreamKey
from listener.edges.cluster import STREAMS_PATH, Cluster
from listener.sandbox.cluster import Fault
from tests.cli.parts import Done, run
from tests.cluster_under_test import ClusterUnderTest
from tests.edges.api_server import ApiServer, api_server, kubeconfig_for, refuses, says

WEB = StreamKey("shop", "web")
A, B = ("sha256:" + letter * 64 for letter in "ab")

FORBIDDEN = refuses(403, 'imagestreams "web" is forbidden: User "eve" cannot', reason="Forbidden")
NOT_SERVED = says(404, b"404 page not found\n")
NOT_THERE = refuses(404, 'imagestreams "web" not found', reason="NotFound", details={"name": "web"})
CONFLICT = refuses(409, "the object has been modified", reason="Conflict")


def stream_json(version: str, *tags: Mapping[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "web", "namespace": "shop", "resourceVersion": version}, "spec": {"tags": tags}}


def hold(found: Found) -> tuple[Operation, ...]:
    return edits.put(found, edits.hold(found.spec_tag("prod"), "prod"))


# Servers that say what a test wrote down


async def test_a_change_that_came_too_late_is_planned_anew(tmp_path: Path) -> None:
    answers = [says(200, stream_json("1")), CONFLICT, says(200, stream_json("2", {"name": "latest"}))]
    async with api_server(tmp_path, *answers, says(200, stream_json("3"))) as server:
        change = await Streams(server.cluster, timeout_seconds=1).change(WEB, hold)
    assert (change.before.resource_version, change.after.resource_version) == ("2", "3")
    first, second = (json.loads(asked.body) for asked in server.asked if asked.method == "PATCH")
    assert [first[0]["value"], second[0]["value"]] == ["1", "2"]
    assert [first[1]["path"], second[1]["path"]] == ["/spec", "/spec/tags/-"]


async def test_a_stream_that_others_keep_changing_is_given_up(tmp_path: Path) -> None:
    answers = [answer for _ in range(10) for answer in (says(200, stream_json("1")), CONFLICT)]
    async with api_server(tmp_path, *answers) as server:
        with pytest.raises(CommandFailed, match="changed by others 10 times in a row; try again"):
            await Streams(server.cluster, timeout_seconds=1).change(WEB, hold)
    assert len(server.asked) == 20


async def test_a_busy_server_is_given_the_time_it_asks_for(tmp_path: Path) -> None:
    stream = says(200, stream_json("1"))
    busy = refuses(429, "too many requests", {"Retry-After": "1"})
    async with api_server(tmp_path, stream, busy, stream, stream) as server:
        started = asyncio.get_running_loop().time()
        await Streams(server.cluster, timeout_seconds=1).change(WEB, hold)
        assert asyncio.get_running_loop().time() - started >= 1


async def test_nothing_to_change_sends_nothing(tmp_path: Path) -> None:
    held = {"name": "prod", "annotations": {"imagestreams.dev/hold": "true"}}
    async with api_server(tmp_path, says(200, stream_json("1", held))) as server:
        change = await Streams(server.cluster, timeout_seconds=1).change(WEB, hold)
    assert change.before == change.after
    assert [asked.method for asked in server.asked] == ["GET"]


async def test_a_stream_that_somebody_else_makes_first_is_changed(tmp_path: Path) -> None:
    answers = [NOT_THERE, CONFLICT, says(200, stream_json("1"))]
    async with api_server(tmp_path, *answers, says(200, stream_json("2"))) as server:
        await Streams(server.cluster, timeout_seconds=1).change(WEB, hold, spec_if_missing={"tags": []})
    assert [asked.method for asked in server.asked] == ["GET", "POST", "GET", "PATCH"]


async def test_a_stream_that_is_missing_is_not_made_unasked(tmp_path: Path) -> None:
    async with api_server(tmp_path, NOT_THERE) as server:
        with pytest.raises(StreamMissing, match="there is no ImageStream web in namespace shop"):
            await Streams(server.cluster, timeout_seconds=1).change(WEB, hold)


async def test_what_a_plan_refuses_is_not_sent(tmp_path: Path) -> None:
    def refuse(found: Found) -> tuple[Operation, ...]:
        found.must_have("prod")
        return ()

    async with api_server(tmp_path, says(200, stream_json("1", {"name": "b"}, {"name": "a"}))) as server:
        with pytest.raises(EditRefused, match="no tag prod in ImageStream shop/web; there are: a, b"):
            await Streams(server.cluster, timeout_seconds=1).change(WEB, refuse)
    assert [asked.method for asked in server.asked] == ["GET"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(FORBIDDEN, "ask for the right to get, create and patch imagestreams", id="no right"),
        pytest.param(refuses(422, "is invalid: spec", details={"name": "web"}), "web cannot be written", id="invalid"),
        pytest.param(NOT_THERE, 'cannot be written: imagestreams "web" not found', id="gone meanwhile"),
        pytest.param(refuses(503, "no\nleader"), "it is not known whether .* was written: no leader", id="no answer"),
    ],
)
async def test_a_write_that_is_refused_says_why_in_one_line(tmp_path: Path, answer: Any, why: str) -> None:
    async with api_server(tmp_path, says(200, stream_json("1")), answer) as server:
        with pytest.raises(CommandFailed, match=why) as refused:
            await Streams(server.cluster, timeout_seconds=1).change(WEB, hold)
    assert "\n" not in str(refused.value)


async def command_on(server: ApiServer, folder: Path, *args: str) -> Done:
    assert server.cluster is not None
    return await run(*args, "--kubeconfig", folder / "kubeconfig")


async def test_a_cluster_that_serves_no_streams_is_one_line(tmp_path: Path) -> None:
    async with api_server(tmp_path, NOT_SERVED) as server:
        refusal = (await command_on(server, tmp_path, "history", "web")).refusal
    assert refusal.startswith("the cluster does not serve ImageStreams (image.openshift.io/v1): install the chart")


async def test_a_missing_right_is_one_line(tmp_path: Path) -> None:
    async with api_server(tmp_path, FORBIDDEN) as server:
        refusal = (await command_on(server, tmp_path, "history", "web")).refusal
    assert "ImageStream default/web cannot be read" in refusal
    assert 'User "eve" cannot' in refusal
    assert refusal.endswith("ask for the right to get, create and patch imagestreams and imagestreams/status there")


@pytest.mark.parametrize(
    ("args", "namespace"),
    [
        pytest.param(("web",), "of-the-context", id="the context's"),
        pytest.param(("web", "-n", "said"), "said", id="the option's"),
        pytest.param(("written/web", "-n", "said"), "written", id="the name's own"),
    ],
)
async def test_the_namespace_that_is_looked_in(tmp_path: Path, args: tuple[str, ...], namespace: str) -> None:
    async with api_server(tmp_path, NOT_THERE) as server:
        file = tmp_path / "kubeconfig"
        config = yaml.safe_load(file.read_text())
        config["contexts"][0]["context"]["namespace"] = "of-the-context"
        file.write_text(yaml.safe_dump(config))
        assert f"in namespace {namespace};" in (await command_on(server, tmp_path, "history", *args)).refusal


async def test_without_a_namespace_in_the_context_it_is_default(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(kubeconfig_for("http://127.0.0.1:1"))
    async with await Cluster.connect(kubeconfig=str(file)) as cluster:
        assert cluster.namespace == "default"


# A cluster, and no service


@pytest.fixture
async def client(cluster: ClusterUnderTest) -> AsyncIterator[Cluster]:
    async with await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as client:
        yield client


@pytest.fixture
async def namespace(cluster: ClusterUnderTest) -> str:
    return await cluster.namespace("cli")


def item(image: str) -> TagItem:
    return TagItem("2026-01-01T00:00:00Z", f"r.example/shop/web@{image}", image, 1)


async def make(client: Cluster, namespace: str, *histories: TagHistory, **spec: Any) -> Stream:
    """A stream as the service may have left it."""
    made = await client.create_stream(StreamKey(namespace, "web"), spec)
    assert made.stored is not None, made.message
    stream = made.stored
    for history in histories:
        stream = stream.with_history(history)
    stored = (await client.store_status(stream)).stored
    assert stored is not None
    return stored


async def raw(client: Cluster, namespace: str) -> Any:
    return msgspec.json.decode(await client.get(f"{STREAMS_PATH}/namespaces/{namespace}/imagestreams/web"))


async def test_what_is_written_is_kept_when_no_service_takes_it_up(
    cluster: ClusterUnderTest, client: Cluster, namespace: str
) -> None:
    await make(
        client,
        namespace,
        TagHistory("latest", (item(A),)),
        tags=[{"name": "prod", "annotations": {"owner": "shop"}, "referencePolicy": {"type": "Local"}}],
    )
    options = ("-n", namespace, "--kubeconfig", cluster.kubeconfig)
    refusal = (await run("tag", "web:latest", "web:prod", "--timeout", "0.2", *options)).refusal
    assert refusal.startswith(
        f"the spec of ImageStream {namespace}/web is written, but within 0.2 s the service has not"
    )
    assert "takes effect when the service runs" in refusal
    assert f"`listener serve` runs and looks at namespace {namespace}" in refusal
    (tag,) = (await raw(client, namespace))["spec"]["tags"]
    assert tag["from"] == {"kind": "ImageStreamImage", "name": f"web@{A}"}
    assert (tag["generation"], tag["annotations"]) == (0, {"owner": "shop"})
    assert tag["referencePolicy"] == {"type": "Local"}


async def test_all_destinations_are_written_though_the_first_is_waited_for_in_vain(
    cluster: ClusterUnderTest, client: Cluster, namespace: str
) -> None:
    await make(client, namespace, TagHistory("latest", (item(A),)))
    names = ("web:latest", "web:a", "new:b")
    options = ("--timeout", "0.2", "-n", namespace, "--kubeconfig", cluster.kubeconfig)
    assert (await run("tag", *names, *options)).code == 1
    assert [tag["name"] for tag in (await raw(client, namespace))["spec"]["tags"]] == ["a"]
    new = await client.get_stream(StreamKey(namespace, "new"))
    assert new is not None
    assert [tag.name for tag in new.spec_tags] == ["b"]


async def test_who_does_not_wait_is_told_that_it_is_written(
    cluster: ClusterUnderTest, client: Cluster, namespace: str
) -> None:
    await make(client, namespace, TagHistory("prod", (item(A), item(B))))
    options = ("--timeout", "0", "-n", namespace, "--kubeconfig", cluster.kubeconfig)
    assert (await run("tag", "web:prod", "web:next", *options)).text == "web:next is written (from web:prod)"
    assert (await run("import", "web:new", "--from", "quay.io/web", *options)).text == "web:new shall be imported"
    rolled_back = (await run("rollback", "web:prod", *options)).text
    assert rolled_back == f"web:prod shall move to {B}; held there until `listener release web:prod`"
    assert (await run("release", "web:prod", *options)).text == "web:prod is released"


async def test_progress_is_shown_on_a_terminal_and_gone_at_the_end(
    cluster: ClusterUnderTest, client: Cluster, namespace: str
) -> None:
    await make(client, namespace, TagHistory("latest", (item(A),)))
    ours, theirs = pty.openpty()
    options = ("--timeout", "0.2", "-n", namespace, "--kubeconfig", cluster.kubeconfig)
    try:
        done = await run("tag", "web:latest", "web:prod", *options, terminal=Path(os.ttyname(theirs)))
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.code == 1
    first, *_, last = shown.split("\r\x1b[K")[1:]
    assert first == f"waiting for the service: {namespace}/web … 0 s"
    assert last.startswith("listener: the spec of ImageStream")


async def test_a_pushed_tag_is_held_by_a_placeholder_and_released_without_a_trace(
    cluster: ClusterUnderTest, client: Cluster, namespace: str
) -> None:
    await make(client, namespace, TagHistory("prod", (item(A),)))
    options = ("-n", namespace, "--kubeconfig", cluster.kubeconfig)
    assert (await run("hold", "web:prod", *options)).text == (
        f"web:prod is held at {A}; `listener release web:prod` lets it go"
    )
    (tag,) = (await raw(client, namespace))["spec"]["tags"]
    assert (tag["name"], tag["annotations"]) == ("prod", {"imagestreams.dev/hold": "true"})
    assert "from" not in tag
    assert (await run("hold", "web:prod", *options)).text.startswith("web:prod is held already")
    document = (await run("hold", "web:prod", "-o", "json", *options)).document
    assert (document["held"], document["heldAt"], document["items"][0]["image"]) == (True, None, A)
    assert (await run("release", "web:prod", *options)).text == f"web:prod is released: unchanged at {A}"
    assert not (await raw(client, namespace))["spec"].get("tags")
    assert (await run("release", "web:prod", *options)).text == "web:prod is not held"


async def test_a_held_tag_that_gets_another_source_stays_held_and_one_is_told(
    cluster: ClusterUnderTest, client: Cluster, namespace: str
) -> None:
    held = {"name": "prod", "annotations": {"imagestreams.dev/hold": "true"}}
    await make(client, namespace, TagHistory("latest", (item(A),)), tags=[held])
    options = ("--timeout", "0", "-n", namespace, "--kubeconfig", cluster.kubeconfig)
    done = await run("tag", "web:latest", "web:prod", *options)
    assert done.code == 0
    assert done.err == "listener: web:prod is held: the new image waits until `listener release web:prod`\n"
    (tag,) = (await raw(client, namespace))["spec"]["tags"]
    assert tag["annotations"] == {"imagestreams.dev/hold": "true"}


async def test_the_history_of_a_stream_is_a_table_for_each_tag(
    cluster: ClusterUnderTest, client: Cluster, namespace: str
) -> None:
    failed = {"name": "v1", "from": {"kind": "DockerImage", "name": "quay.io/web:1"}}
    held = {"name": "prod", "annotations": {"imagestreams.dev/hold": A}}
    await make(
        client, namespace, TagHistory("prod", (item(A),), waiting=(item(B),)), TagHistory("latest"), tags=[failed, held]
    )
    options = ("-n", namespace, "--kubeconfig", cluster.kubeconfig)
    assert (await run("history", "web", *options)).text.split("\n") == [
        "web:latest",
        "points at nothing yet",
        "",
        "web:prod",
        f"held at {A}: what arrives waits until `listener release web:prod`",
        "NUMBER      CREATED                IMAGE",
        f"* waiting   2026-01-01T00:00:00Z   r.example/shop/web@{B}",
        f"0           2026-01-01T00:00:00Z   r.example/shop/web@{A}",
        "",
        "web:v1",
        "points at nothing yet",
    ]
    found = (await run("history", "web:prod", "-o", "json", *options)).document
    assert found["fanOuts"] == []
    assert (found["stream"], found["namespace"]) == ("web", namespace)
    assert [(tag["tag"], tag["heldAt"], len(tag["waiting"])) for tag in found["tags"]] == [("prod", A, 1)]
    assert (await run("history", "web:none", *options)).refusal.endswith("there are: latest, prod, v1")


async def test_the_history_tells_what_came_of_the_last_move(
    cluster: ClusterUnderTest, client: Cluster, namespace: str
) -> None:
    failures = tuple(Failure("Deployment", "shop", f"web-{n}", "denied") for n in range(2))
    prod = FanOutRecord(
        *("prod", f"r.example/shop/web@{A}", A, 1, "2026-01-01T00:00:00.000000Z"),
        phase=Phase.DONE,
        matched=206,
        patched=200,
        paused=2,
        failed=4,
        rollouts=200,
        rolled_out=200,
        last_patched="2026-01-01T00:00:01.200000Z",
        last_rolled_out="2026-01-01T00:00:14.000000Z",
        failures=failures,
    )
    other = FanOutRecord("dev", f"r.example/shop/web@{B}", B, 1, "2026-01-01T00:00:00.000000Z", matched=1, waiting=1)
    stream = await make(client, namespace, TagHistory("dev", (item(A),)), TagHistory("prod", (item(A),)))
    assert (await client.store_status(replace(stream, fan_outs=(prod, other)))).end is End.APPLIED
    options = ("-n", namespace, "--kubeconfig", cluster.kubeconfig)
    assert (await run("history", "web:prod", *options)).text.split("\n") == [
        "web:prod",
        "last fan-out: 200 patched of 206 (2 paused, 4 failed) in 1.2 s, rolled out after 14 s",
        "  failed: deployment shop/web-0: denied",
        "  failed: deployment shop/web-1: denied",
        "  failed: 2 more",
        "NUMBER   CREATED                IMAGE",
        f"0        2026-01-01T00:00:00Z   r.example/shop/web@{A}",
    ]
    moved_since = f"last fan-out (to r.example/shop/web@{B}): 0 patched of 1 (1 waiting), goes on"
    assert moved_since in (await run("history", "web", *options)).text
    (found,) = (await run("history", "web:prod", "-o", "json", *options)).document["fanOuts"]
    assert (found["tag"], found["patched"], found["failures"][1]["name"]) == ("prod", 200, "web-1")
    assert len((await run("history", "web", "-o", "json", *options)).document["fanOuts"]) == 2


@pytest.mark.parametrize(
    ("args", "why"),
    [
        pytest.param(("tag", "web:none", "web:x"), "web:none is not currently pointing to an image", id="tag: nothing"),
        pytest.param(("tag", "none:latest", "web:x"), "there is no ImageStream none", id="tag: no source stream"),
        pytest.param(("tag", "web:a", "web:a", "--alias"), "web:a cannot follow itself", id="tag: itself"),
        pytest.param(("tag", "-d", "web:none"), "there is no tag none", id="delete: nothing"),
        pytest.param(("import", "none"), "to make it, say --confirm", id="import: no stream"),
        pytest.param(("import", "web:none"), "does not say where tag none comes from", id="import: no source"),
        pytest.param(("import", "web:pinned"), "cannot be imported again", id="import: pinned"),
        pytest.param(
            ("import", "web:v1", "--from", "quay.io/web:2"),
            "points to quay.io/web:1, not to",
            id="import: another source",
        ),
        pytest.param(
            ("import", "none", "--all", "--from", "quay.io/web"), "say --confirm", id="import: no stream to fill"
        ),
        pytest.param(("rollback", "web:prod", "--to", "5"), "has no item 5: it holds 2", id="rollback: no item"),
        pytest.param(("rollback", "web:prod", "--to", "0"), f"points at {A} already", id="rollback: there already"),
        pytest.param(("rollback", "web:prod", "--to", "sha256:"), "write more of the digest", id="rollback: ambiguous"),
        pytest.param(("rollback", "web:none"), "there is no tag none", id="rollback: no tag"),
        pytest.param(("hold", "web:none"), "there is no tag none", id="hold: no tag"),
        pytest.param(("release", "none:prod"), "there is no ImageStream none", id="release: no stream"),
    ],
)
async def test_what_is_refused_changes_nothing(
    cluster: ClusterUnderTest, client: Cluster, namespace: str, args: tuple[str, ...], why: str
) -> None:
    stream = await make(
        client,
        namespace,
        TagHistory("prod", (item(A), item(B))),
        tags=[
            {"name": "v1", "from": {"kind": "DockerImage", "name": "quay.io/web:1"}},
            {"name": "pinned", "from": {"kind": "ImageStreamImage", "name": f"web@{A}"}},
        ],
    )
    assert why in (await run(*args, "-n", namespace, "--kubeconfig", cluster.kubeconfig)).refusal
    after = await client.get_stream(StreamKey(namespace, "web"))
    assert after == stream


async def test_a_tag_is_deleted_with_its_history(cluster: ClusterUnderTest, client: Cluster, namespace: str) -> None:
    await make(client, namespace, TagHistory("prod", (item(A),)), TagHistory("v", (item(B),)), tags=[{"name": "prod"}])
    options = ("-n", namespace, "--kubeconfig", cluster.kubeconfig)
    assert (await run("tag", "-d", "web:prod", "web:v", *options)).text == "web:prod is deleted\nweb:v is deleted"
    found = await raw(client, namespace)
    assert not found["spec"].get("tags")
    assert not found["status"].get("tags")
    assert "summary" not in found["status"]


@pytest.mark.sandbox_only(reason="conflicts on demand")
async def test_a_delete_goes_on_where_somebody_came_between(
    cluster: ClusterUnderTest, client: Cluster, namespace: str
) -> None:
    await make(client, namespace, TagHistory("prod", (item(A),)), tags=[{"name": "prod"}])
    assert cluster.sandbox is not None
    faults = cluster.sandbox.faults
    faults.add(Fault("conflict", verbs=("patch",), resources=("imagestreams",), count=3))
    assert (await run("tag", "-d", "web:prod", "-n", namespace, "--kubeconfig", cluster.kubeconfig)).code == 0
    found = await raw(client, namespace)
    assert not found["spec"].get("tags")
    assert not found["status"].get("tags")
