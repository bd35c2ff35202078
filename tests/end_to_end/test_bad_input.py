"""What is wrong is told where a person would look for it, and the rest of the work goes on."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.objects import PLACEHOLDER, images, trigger, workload
from tests.end_to_end.parts import Api, eventually, push_event, registry, serve

HOST = "registry.example.com"
DIGEST = "sha256:" + "a" * 64


@pytest.mark.sandbox_only(reason="it follows every stream there is, those of other tests too")
async def test_each_bad_delivery_gets_a_clear_answer_and_the_good_push_beside_it_is_stored(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("bad")
    settings = [registry(HOST, integrated=True, verify=False)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=[]) as listener:
        await listener.ready()

        status, answer = await listener.post(b'{"events": [')
        assert status == 400
        assert "JSON" in answer["error"]

        status, answer = await listener.post(b'{"hello": "world"}')
        assert status == 400
        assert "dialect" in answer["error"]

        status, answer = await listener.deliver(secret="wrong")
        assert status == 401
        assert "secret" in answer["error"]

        status, answer = await listener.deliver(hook="nobody")
        assert status == 404
        assert "registries" in answer["error"]

        status, answer = await listener.post(b" " * (10 * 1024 * 1024 + 1))
        assert status == 413
        assert "10485760" in answer["error"]

        # distribution stops its whole queue behind any answer but 2xx: what can never be taken is answered 200.
        good = push_event(HOST, f"{namespace}/web", "latest", DIGEST)
        status, answer = await listener.deliver(
            push_event(HOST, f"{namespace}/web", "v1", "sha256:nonsense"),
            push_event("evil.example.com", f"{namespace}/web", "v2", DIGEST),
            push_event(HOST, "no-such-namespace-here/web", "latest", DIGEST),
            push_event(HOST, "one/too/many", "latest", DIGEST),
            good,
        )
        assert status == 200
        assert [moved["tag"] for moved in answer["moved"]] == ["latest"]
        why = " ".join(remark["why"] for remark in answer["refused"])
        assert len(answer["refused"]) == 4
        assert "digest" in why
        assert "evil.example.com is neither host nor alias" in why
        assert "namespace 'no-such-namespace-here' does not exist" in why
        assert "NAMESPACE/NAME" in why
        assert await listener.metric('listener_hooks_total{outcome="refused",registry="team"}') == 1
        refusals = listener.logged("hook.push_refused")
        assert len(refusals) == 4
        assert {line["delivery"] for line in refusals} == {answer["delivery"]}
    assert await api.history(namespace, "web", "latest") == [DIGEST]


async def test_a_broken_trigger_becomes_an_event_and_the_good_one_beside_it_is_followed(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("bad")
    await api.create(workload("Deployment", namespace, "no-json", "hello"))
    await api.create(workload("Deployment", namespace, "no-container", trigger("web:latest", container="absent")))
    await api.create(workload("Deployment", namespace, "abroad", trigger("web:latest", namespace="abroad")))
    await api.create(workload("Deployment", namespace, "good", trigger("web:latest")))
    settings = [registry(HOST, integrated=True, verify=False)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
        await listener.ready()
        status, _ = await listener.deliver(push_event(HOST, f"{namespace}/web", "latest", DIGEST))
        assert status == 200

        async def good_one_runs() -> bool:
            found = images(await api.workload("Deployment", namespace, "good"))
            return found["web"] == f"{HOST}/{namespace}/web@{DIGEST}"

        await eventually(good_one_runs, what="the good Deployment runs the digest")

        async def told() -> bool:
            return len(await api.events(namespace, "TriggerInvalid")) == 3

        await eventually(told, what="the broken triggers have an Event each")
        messages = {e["involvedObject"]["name"]: e["message"] for e in await api.events(namespace, "TriggerInvalid")}
        assert "JSON" in messages["no-json"]
        assert "absent" in messages["no-container"]
        assert "namespace abroad is not among the `namespaces`" in messages["abroad"]
        assert await listener.metric('listener_invalid_triggers{kind="Deployment"}') >= 1
        (moved,) = await eventually(lambda: api.events(namespace, "TagMoved"))
        assert moved["involvedObject"]["kind"] == "ImageStream"
        assert DIGEST in moved["message"]
        (triggered,) = await eventually(lambda: api.events(namespace, "ImageTriggered"))
        assert triggered["involvedObject"]["name"] == "good"
    for name in ("no-json", "no-container", "abroad"):
        assert images(await api.workload("Deployment", namespace, name))["web"] == PLACEHOLDER


async def test_a_settings_error_ends_the_start_with_one_line_that_names_the_key(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("history: {limit: many}\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "listener", "serve", "--config", str(config)), stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await process.communicate()
    assert process.returncode == 1
    (line,) = stderr.decode().splitlines()
    assert "history.limit" in line
