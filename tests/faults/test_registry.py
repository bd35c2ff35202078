"""What a registry can do: be far away, break off in the middle, say nothing, and say what is not true."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from yarl import URL

from listener.edges.cluster import STREAMS_PATH
from listener.flow.importer import LANE_WIDTH
from tests.edges.fake_registry import MANIFEST, Registry, digest_of, manifest, running
from tests.end_to_end.parts import Listener, eventually, push_event, registry
from tests.end_to_end.test_imports import condition, importing, stream
from tests.faults.line import Line
from tests.faults.world import World, tried

pytestmark = pytest.mark.sandbox_only(reason="both the fault and the service without its protection are ours alone")

ANSWER_SECONDS = 6  # that a sender waits at most
MANIFESTS = b"GET /v2/team/"


@dataclass
class Reached:
    """One registry, and lines by which the service reaches it: to it each is another one, with a hook of its name."""

    server: Registry
    lines: dict[str, Line]
    hosts: dict[str, str]

    def settings(self) -> list[dict[str, Any]]:
        return [registry(host, name=name, integrated=True, insecure=True) for name, host in self.hosts.items()]

    async def tell(self, listener: Listener, name: str, repository: str, digest: str) -> int | str:
        """Tell of a push: return what became of it, or the status, or that there was no answer."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status, answer = await listener.deliver(
                    push_event(self.hosts[name], repository, "latest", digest), hook=name
                )
        except TimeoutError:
            return "no answer"
        return str(answer["outcome"]) if status == 200 else status


@asynccontextmanager
async def reached(*names: str) -> AsyncIterator[Reached]:
    async with AsyncExitStack() as stack:
        server = Registry()
        await stack.enter_async_context(running(server))
        lines = {name: Line(URL(server.url)) for name in names}
        hosts = {name: (await stack.enter_async_context(line.listen())).authority for name, line in lines.items()}
        try:
            yield Reached(server, lines, hosts)
        finally:
            for line in lines.values():
                line.mend()


async def broken_lines(world: World) -> None:
    async with reached("good", "broken", "hole", "late") as found, world.serve(registries=found.settings()) as listener:
        repositories = {name: f"{world.namespace}/{name}" for name in found.lines}
        many = f"{world.namespace}/many"
        tags = [f"v{number}" for number in range(LANE_WIDTH + 1)]
        for tag in tags:
            found.server.push(many, tag, manifest("many"))

        def pushed(version: str) -> dict[str, str]:
            return {
                name: found.server.push(at, "latest", manifest(name + version)) for name, at in repositories.items()
            }

        async def told(digests: dict[str, str], *names: str) -> list[int | str]:
            return await asyncio.gather(
                *(found.tell(listener, name, repositories[name], digests[name]) for name in names)
            )

        async def histories() -> dict[str, list[str]]:
            return {name: await world.api.history(world.namespace, name, "latest") for name in repositories}

        async def held() -> bool:
            return found.lines["hole"].held() >= LANE_WIDTH

        async def taken(digests: dict[str, str], *names: str) -> bool:
            return set(await told(digests, *names)) <= {"moved", "unchanged"}

        async def imported(*names: str, of: str = "imports") -> bool:
            return {await condition(world.api, world.namespace, tag, of) for tag in names} == {("True", "")}

        await listener.ready()
        first = pushed("1")
        await eventually(lambda: taken(first, *repositories), what="the registry answers")
        second = pushed("2")
        found.lines["broken"].reset()
        found.lines["hole"].cut()
        found.lines["late"].delay(1.2)
        said = await told(second, "broken", "hole", "late")
        world.promise(said == [503] * 3, f"what cannot be confirmed has to come again; it was {said}")
        await world.until(lambda: taken(second, "good"), "others are taken")
        stored = await histories()
        before = {name: [digest] for name, digest in first.items()}
        right = {**before, "good": [second["good"], first["good"]]}
        world.promise(stored == right, f"nothing is stored that was not confirmed; it is {stored}")
        await world.until(lambda: taken(second, "late"), "what comes again is taken, though its registry is slow")

        source = f"{found.hosts['hole']}/{many}"
        await world.api.create(
            stream(world.namespace, *(importing(tag, f"{source}:{tag}", insecure=True) for tag in tags), name="imports")
        )
        await eventually(held, what="the registry in the black hole is asked")
        source = f"{found.hosts['good']}/{many}"
        await world.api.create(stream(world.namespace, importing("v1", f"{source}:v1", insecure=True), name="others"))
        await world.until(lambda: imported("v1", of="others"), "others are imported meanwhile")

        for line in found.lines.values():
            line.mend()
        await world.until(lambda: taken(second, "broken", "hole"), "what comes again is taken")
        await world.until(lambda: imported(*tags), "imports go on")


async def test_a_registry_behind_a_bad_line_costs_no_push_and_holds_up_nobody_else(tmp_path: Path) -> None:
    """Resets, a black hole, latency. A delivery has 0.4 s here instead of 1.2 for all that it asks."""
    without = {
        "no_answer_is_a_no": "has to come again",
        "hooks_wait_for_registries": "has to come again",
        "answers_come_too_late": "though its registry is slow",
        "one_lane_for_all": "others are imported",
    }
    await tried(broken_lines, without=without, folder=tmp_path, shorter=("short_questions",))


async def broken_answers(world: World) -> None:
    body = json.dumps({"schemaVersion": 2, "layers": [], "annotations": {"long": "x" * 200_000}}).encode()

    async def manifests_alone(request: web.Request) -> web.StreamResponse | None:
        """No HEAD, and no digest."""
        if request.method == "HEAD":
            return web.Response(status=405)
        return web.Response(body=body, content_type=MANIFEST) if "/manifests/" in request.path else None

    async with reached("half", "slow") as found:
        found.server.instead = manifests_alone

        async def all_say() -> list[tuple[str, str]]:
            said = [await condition(world.api, world.namespace, name) for name in found.hosts]
            return [each for each in said if each] if all(said) else []

        async def imported() -> bool:
            return {await condition(world.api, world.namespace, name) for name in found.hosts} == {("True", "")}

        async def histories() -> list[list[str]]:
            return [await world.api.history(world.namespace, "web", name) for name in found.hosts]

        found.lines["half"].halve(about=MANIFESTS)
        found.lines["slow"].throttle(20_000, about=MANIFESTS)
        tags = (importing(name, f"{host}/team/web:1", insecure=True) for name, host in found.hosts.items())
        await world.api.create(stream(world.namespace, *tags))
        async with world.serve(registries=found.settings()):
            await world.until(all_say, "each says why it is not imported")
            stored = await histories()
            world.promise(stored == [[], []], f"nothing is stored of what has not come whole; it is {stored}")
            for line in found.lines.values():
                line.mend()
            await world.until(imported, "imports go on")
            stored = await histories()
            world.promise(stored == [[digest_of(body)]] * 2, f"what is imported is what is there; it is {stored}")


async def test_of_an_answer_that_does_not_come_whole_nothing_is_believed(tmp_path: Path) -> None:
    """Half a manifest, and one that trickles in. A registry has 1 s here instead of 30 for an answer.

    To take half for the whole is not enough to store it, for it is no manifest: but then it is none for an hour.
    """
    without = {
        "half_is_whole": "imports go on",
        "a_trickle_is_patience": "says why it is not imported",
    }
    await tried(broken_answers, without=without, folder=tmp_path, shorter=("short_answers",))


OTHER = digest_of(b"other")
PAGE = b"<html><body>Please accept our cookies</body></html>"


@dataclass
class Garbage:
    """What a registry answers for a repository, by the last part of its name."""

    server: Registry
    realms: Iterator[int] = field(default_factory=itertools.count)

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        if request.path.startswith("/token/"):
            return web.json_response({"token": "t"})
        if "/manifests/" not in request.path:
            return None
        kind = request.path.split("/")[3]
        match kind:
            case "other":
                return web.Response(content_type=MANIFEST, headers={"Docker-Content-Digest": OTHER})
            case "page":
                return web.Response(body=PAGE, content_type="text/html")
            case "forged" | "endless" if request.method == "HEAD":
                return web.Response(status=405)
            case "forged":
                return web.Response(
                    body=manifest("forged"), content_type=MANIFEST, headers={"Docker-Content-Digest": OTHER}
                )
            case "endless":
                return await self._endless(request)
            case "error":
                return web.Response(status=500)
            case "logins":
                realm = f"{self.server.url}/token/{next(self.realms)}"
                return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})
            case "redirects":
                return web.Response(status=307, headers={"Location": request.path})
        return None

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": MANIFEST})
        await response.prepare(request)
        while True:
            await response.write(b" " * 1024 * 1024)
            await asyncio.sleep(0.1)  # what is read is kept, by the one who has no bounds


MADE_UP = {"other": digest_of(b"asked"), **dict.fromkeys(("page", "forged", "endless", "logins", "redirects"), OTHER)}


async def garbage(world: World) -> None:
    server = Registry()
    server.instead = Garbage(server).answer
    async with running(server):
        good = server.push(f"{world.namespace}/good", "latest", manifest("good"))

        async def tell(listener: Listener, kind: str, digest: str = OTHER) -> int | str:
            event = push_event(server.host, f"{world.namespace}/{kind}", "latest", digest)
            status, answer = await listener.deliver(event)
            return str(answer["outcome"]) if status == 200 else status

        async def is_taken(listener: Listener, kind: str, digest: str) -> bool:
            return await tell(listener, kind, digest) in ("moved", "unchanged")

        async def all_end(listener: Listener) -> bool:
            said = await asyncio.gather(*(tell(listener, kind, digest) for kind, digest in MADE_UP.items()))
            return 503 not in said

        async def stored() -> set[str]:
            """The digests in all histories."""
            path = f"{STREAMS_PATH}/namespaces/{world.namespace}/imagestreams"
            streams = msgspec.json.decode(await world.api.client.get(path))["items"]
            tags = [tag for each in streams for tag in each.get("status", {}).get("tags", [])]
            return {item["image"] for tag in tags for item in tag.get("items") or ()}

        async def all_say() -> list[tuple[str, str]]:
            said = [await condition(world.api, world.namespace, tag, "imports") for tag in imports]
            return [each for each in said if each] if all(said) else []

        imports = ("page", "good")
        settings = [registry(server.host, integrated=True, insecure=True)]
        async with world.serve(registries=settings) as listener:
            await listener.ready()
            first = server.push(f"{world.namespace}/first", "latest", manifest("first"))
            await eventually(lambda: is_taken(listener, "first", first), what="the registry answers")
            said = await tell(listener, "error")
            world.promise(said == 503, f"an error is no answer; it was {said}")
            await world.until(lambda: is_taken(listener, "good", good), "others go on")
            source = f"{server.host}/{world.namespace}"
            tags = (importing(tag, f"{source}/{tag}:latest", insecure=True) for tag in imports)
            await world.api.create(stream(world.namespace, *tags, name="imports"))
            await world.until(all_say, "each import ends")
            await world.until(lambda: all_end(listener), "each question ends")
            digests = await stored()
            world.promise(digests == {first, good}, f"nothing is stored that is not there; it is {digests}")


async def test_what_a_registry_makes_up_moves_nothing_and_holds_up_nobody_else(tmp_path: Path) -> None:
    """Another digest, a body of another one, a web page, a body without end, errors, logins and redirects for ever.

    What is too long has been found out after 0.4 s, of the 1.2 s that a delivery has for all that it asks.
    """
    without = {
        "any_digest_will_do": "not there",
        "bodies_are_believed": "not there",
        "everything_is_a_manifest": "not there",
        "bodies_have_no_end": "question ends",
        "errors_are_answers": "no answer",
        "logins_have_no_end": "question ends",
        "redirects_have_no_end": "question ends",
    }
    await tried(garbage, without=without, folder=tmp_path)
