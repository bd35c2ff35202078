"""The commands against a running service: promote, roll back, hold, release, import, delete."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from listener.core.streams import StreamKey
from listener.sandbox.images import Image, make_image, push
from listener.sandbox.registry import Registry
from tests.cli import parts as cli
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.objects import images, trigger, workload
from tests.end_to_end.parts import SECRET, Api, Listener, eventually, registry, serve

HELD_TOO = "listener: web:prod is held: the new image waits until `listener release web:prod`\n"


@dataclass(frozen=True, slots=True)
class World:
    """A namespace whose streams a registry serves, and a service that the registry notifies."""

    cluster: ClusterUnderTest
    api: Api
    namespace: str
    registry: Registry
    service: Listener
    session: aiohttp.ClientSession

    async def push(self, text: str, *tags: str) -> str:
        """Push an image to the stream web; return its digest once the service has stored it."""
        image = await self.upload("web", text, *tags)
        for tag in tags:

            async def is_stored(tag: str = tag) -> bool:
                found = await self.api.client.get_stream(StreamKey(self.namespace, "web"))
                newest = found.history(tag).newest if found else None
                return newest is not None and newest.image == image.digest

            await eventually(is_stored, what=f"{tag} is stored")
        return image.digest

    async def upload(self, repository: str, text: str, *tags: str) -> Image:
        image = make_image(f"{self.namespace} {text}")
        for tag in tags:
            await push(self.session, f"http://{self.registry.host}", f"{self.namespace}/{repository}", tag, image)
        return image

    async def run(self, *args: str) -> cli.Done:
        return await cli.run(*args, "-n", self.namespace, "--kubeconfig", self.cluster.kubeconfig)

    async def tag(self, stream: str, tag: str) -> dict[str, Any]:
        """A status tag."""
        tags = (await self.api.stream(self.namespace, stream)).get("status", {}).get("tags", [])
        return next((found for found in tags if found["tag"] == tag), {"items": []})

    async def spec_tag(self, stream: str, tag: str) -> dict[str, Any] | None:
        tags = (await self.api.stream(self.namespace, stream))["spec"].get("tags", [])
        return next((found for found in tags if found["name"] == tag), None)

    async def head(self, tag: str) -> str:
        digests = await self.api.history(self.namespace, "web", tag)
        return digests[0] if digests else ""

    async def moves_to(self, tag: str, digest: str) -> None:
        async def is_there() -> bool:
            return await self.head(tag) == digest

        await eventually(is_there, what=f"{tag} points at {digest}")

    async def runs(self, name: str, digest: str) -> None:
        async def is_running() -> bool:
            found = await self.api.workload("Deployment", self.namespace, name)
            return images(found)["web"].endswith(digest)

        await eventually(is_running, what=f"Deployment {name} runs {digest}")


@pytest.fixture
async def world(cluster: ClusterUnderTest, api: Api, tmp_path: Path) -> AsyncIterator[World]:
    namespace = await cluster.namespace("promotion")
    async with Registry(0) as embedded, aiohttp.ClientSession() as session:
        settings = [registry(embedded.host, integrated=True, insecure=True)]
        async with serve(cluster, tmp_path / "serve", registries=settings, namespaces=[namespace]) as service:
            await service.ready()
            embedded.notify(f"{service.hooks}/hooks/team", {"Authorization": f"Bearer {SECRET}"})
            yield World(cluster, api, namespace, embedded, service, session)


async def test_a_promotion_is_pinned_and_an_alias_follows(world: World) -> None:
    await world.api.create(workload("Deployment", world.namespace, "app", trigger("web:prod")))
    first = await world.push("first", "latest")
    done = await world.run("tag", "web:latest", "web:prod")
    assert done.text == f"web:prod now points at {first} (from web:latest)"
    followed = await world.run("tag", "web:latest", "web:next", "--alias")
    assert followed.text == f"web:next now points at {first} (follows web:latest)"
    await world.runs("app", first)

    second = await world.push("second", "latest")
    await world.moves_to("next", second)
    assert await world.api.history(world.namespace, "web", "next") == [second, first]
    assert await world.api.history(world.namespace, "web", "prod") == [first]

    again = await world.run("tag", "web:latest", "web:prod")
    assert again.text == f"web:prod moved from {first} to {second} (from web:latest)"
    await world.runs("app", second)
    same = await world.run("tag", "web:latest", "web:prod")
    assert same.text == f"web:prod unchanged at {second} (from web:latest)"


async def test_a_promotion_into_a_stream_that_is_made_for_it_and_back_by_digest(world: World) -> None:
    first = await world.push("first", "latest")
    second = await world.push("second", "latest")
    done = await world.run("tag", f"web@{first[:19]}", "released:v1", "released:stable", "-o", "json")
    documents = done.out.strip().replace("}\n{", "}\n\n{").split("\n\n")
    found = {document["tag"]: document for document in map(json.loads, documents)}
    assert {tag: document["items"][0]["image"] for tag, document in found.items()} == {"v1": first, "stable": first}
    moved = await world.run("tag", "web:latest", "released:stable")
    assert moved.text == f"released:stable moved from {first} to {second} (from web:latest)"


async def test_a_promotion_keeps_what_was_not_said(world: World) -> None:
    source = {"kind": "DockerImage", "name": f"{world.registry.host}/{world.namespace}/other:v1"}
    owned = {
        "name": "prod",
        "from": source,
        "annotations": {"owner": "shop"},
        "importPolicy": {"importMode": "PreserveOriginal", "scheduled": True},
        "referencePolicy": {"type": "Local"},
    }
    await world.upload("other", "other", "v1")
    await world.api.create(
        {
            "apiVersion": "image.openshift.io/v1",
            "kind": "ImageStream",
            "metadata": {"name": "web", "namespace": world.namespace},
            "spec": {"tags": [owned], "lookupPolicy": {"local": True}},
        }
    )
    digest = await world.push("first", "latest")
    assert (await world.run("tag", "web:latest", "web:prod")).code == 0
    after = await world.spec_tag("web", "prod")
    assert after is not None
    assert after.pop("generation") > 0
    assert after == {
        "name": "prod",
        "annotations": {"owner": "shop"},
        "from": {"kind": "ImageStreamImage", "name": f"web@{digest}"},
        "importPolicy": {"importMode": "PreserveOriginal"},
        "referencePolicy": {"type": "Local"},
    }
    assert (await world.api.stream(world.namespace, "web"))["spec"]["lookupPolicy"] == {"local": True}


async def test_a_rollback_holds_and_a_release_goes_to_what_waited(world: World) -> None:
    await world.api.create(workload("Deployment", world.namespace, "app", trigger("web:latest")))
    first, second = await world.push("first", "latest"), await world.push("second", "latest")
    await world.runs("app", second)
    done = await world.run("rollback", "web:latest")
    assert done.text == (f"web:latest moved from {second} to {first}; held there until `listener release web:latest`")
    await world.runs("app", first)
    assert (await world.run("rollback", "web:latest", "--to", first)).refusal.startswith(
        f"{world.namespace}/web:latest points at {first} already"
    )

    third = await world.push("third", "latest")
    assert await world.head("latest") == first
    (tag,) = (await world.run("history", "web:latest", "-o", "json")).document["tags"]
    assert (tag["held"], tag["heldAt"]) == (True, first)
    assert [item["image"] for item in tag["waiting"]] == [third, second]
    assert [item["image"] for item in tag["items"]] == [first, second, first]
    shown = (await world.run("history", "web:latest")).text.split("\n")
    assert shown[1] == f"held at {first}: what arrives waits until `listener release web:latest`"
    assert [line.rpartition("@")[2] for line in shown if line.startswith("* waiting")] == [third, second]

    released = await world.run("release", "web:latest")
    assert released.text == f"web:latest is released: moved from {first} to {third}"
    await world.runs("app", third)
    items = (await world.tag("web", "latest"))["items"]
    assert [item["image"] for item in items] == [third, first, second, first]
    assert await world.spec_tag("web", "latest") is None
    assert (await world.tag("web", "latest")).get("waiting", []) == []


async def test_a_rollback_by_number_and_by_digest(world: World) -> None:
    first, second, third = [await world.push(text, "latest") for text in ("first", "second", "third")]
    document = (await world.run("rollback", "web:latest", "--to", "2", "-o", "json")).document
    assert (document["heldAt"], document["items"][0]["image"]) == (first, first)
    done = await world.run("rollback", "web:latest", "--to", third.removeprefix("sha256:")[:12])
    assert done.text.startswith(f"web:latest moved from {first} to {third}; held there")
    assert second in (await world.run("rollback", "web:latest", "--to", second)).text


async def test_a_held_tag_waits_even_with_a_promotion(world: World) -> None:
    first = await world.push("first", "latest")
    assert (await world.run("tag", "web:latest", "web:prod")).code == 0
    assert (await world.run("hold", "web:prod")).text.startswith(f"web:prod is held at {first}")
    second = await world.push("second", "latest")
    done = await world.run("tag", "web:latest", "web:prod")
    assert (done.code, done.err) == (0, HELD_TOO)
    assert done.out == f"web:prod unchanged at {first}; {second} waits (from web:latest)\n"
    assert (await world.run("release", "web:prod")).text == f"web:prod is released: moved from {first} to {second}"


async def test_an_import_now(world: World) -> None:
    """From a repository that tells nobody of its pushes, for its namespace is not looked at."""
    image = f"{world.registry.host}/elsewhere/app:v1"

    async def upload(text: str) -> str:
        made = make_image(f"{world.namespace} {text}")
        await push(world.session, f"http://{world.registry.host}", "elsewhere/app", "v1", made)
        return made.digest

    world.registry.notify("http://127.0.0.1:1", {})
    first = await upload("first")
    created = await world.run("import", "app:v1", "--from", image, "--confirm")
    assert created.text == f"app:v1 now points at {first}"
    assert (await world.run("import", "app:v1")).text == f"app:v1 unchanged at {first}"
    second = await upload("second")
    assert (await world.run("tag", "app:v1", "app:alias", "--alias")).code == 0
    assert (await world.run("import", "app:alias")).text == f"app:v1 moved from {first} to {second}"

    third = await upload("third")
    whole = await world.run("import", "app", "--all")
    assert whole.text.split("\n") == [f"TAG   IMAGE{' ' * 69}RESULT", f"v1    {third}   moved"]
    spec_tag = await world.spec_tag("app", "v1")
    assert spec_tag is not None
    assert spec_tag["importPolicy"] == {"importMode": "Legacy"}


async def test_an_import_that_fails_says_why(world: World) -> None:
    image = f"{world.registry.host}/elsewhere/app:none"
    refusal = (await world.run("import", "app:none", "--from", image, "--confirm")).refusal
    assert refusal.startswith(f"{world.namespace}/app:none: NotFound: ")
    done = await world.run("import", "app", "--all")
    assert done.code == 1
    assert done.out.split("\n")[1].split() == ["none", "<none>", "failed"]
    assert "none: NotFound: " in done.err


async def test_a_whole_repository_is_imported_again(world: World) -> None:
    world.registry.notify("http://127.0.0.1:1", {})
    old = await world.upload("repo", "old", "v1", "latest")
    repository = f"{world.registry.host}/{world.namespace}/repo"
    made = await world.run("import", "whole", "--all", "--from", repository, "--confirm")
    assert [line.split() for line in made.text.split("\n")[1:]] == [
        ["latest", old.digest, "moved"],
        ["v1", old.digest, "moved"],
    ]
    new = await world.upload("repo", "new", "latest", "v2")
    again = await world.run("import", "whole", "--all")
    assert [line.split() for line in again.text.split("\n")[1:]] == [
        ["latest", new.digest, "moved"],
        ["v1", old.digest, "unchanged"],
        ["v2", new.digest, "moved"],
    ]


async def test_a_source_in_another_namespace_that_is_not_shared_is_told(world: World) -> None:
    await world.push("first", "latest")
    other = await world.cluster.namespace("promotion")
    await world.api.create(
        {
            "apiVersion": "image.openshift.io/v1",
            "kind": "ImageStream",
            "metadata": {"name": "base", "namespace": other},
            "spec": {},
        }
    )
    refusal = (await world.run("tag", f"{other}/base:latest", "web:base", "--alias")).refusal
    assert refusal.startswith(f"{world.namespace}/web:base: Forbidden: ImageStream {other}/base does not exist, or")


async def test_a_deleted_tag_is_gone_and_stays_gone(world: World) -> None:
    first = await world.push("first", "latest")
    assert (await world.run("tag", "web:latest", "web:prod")).code == 0
    assert (await world.run("tag", "-d", "web:prod")).text == "web:prod is deleted"
    # A push that the service has stored comes after all that it had to do before.
    await world.push("second", "latest")
    assert await world.tag("web", "prod") == {"items": []}
    assert await world.spec_tag("web", "prod") is None
    assert "there is no tag prod" in (await world.run("tag", "-d", "web:prod")).refusal
    assert first in await world.api.history(world.namespace, "web", "latest")
