"""What a registry is asked, what it may answer, and what becomes of that."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from listener.core import references
from listener.core.hosts import HostPolicy
from listener.core.keyring import Credential
from listener.core.manifests import Child, Described, Platform
from listener.core.references import Reference
from listener.edges.registry import HostSettings, Registries
from listener.edges.registry.door import url_of
from listener.edges.registry.links import next_page
from listener.edges.registry.tokens import Endpoint
from listener.errors import RegistryError, RegistryRefused, RegistryUnavailable
from tests.edges.fake_registry import INDEX, MANIFEST, Registry, Server, digest_of, index, manifest, running

ANN = Credential("ann", "secret-of-ann")


def image(registry: Server, name: str) -> Reference:
    return references.parse(f"{registry.host}/{name}")


@asynccontextmanager
async def registries(*servers: Server, **options: Any) -> AsyncIterator[Registries]:
    """Our client, for whom these servers are registries of the settings, without TLS."""
    hosts = {server.host: HostSettings(insecure=True) for server in servers}
    policy = HostPolicy((), tuple(hosts))
    async with Registries(hosts, policy, **{"rate": 10_000, "burst": 10_000, **options}) as client:
        yield client


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    found = Registry()
    async with running(found):
        yield found


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[Registries]:
    async with registries(registry) as found:
        yield found


async def refusal(asking: Any, kind: type[RegistryError] = RegistryRefused) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        await asking
    assert type(caught.value) is kind, caught.value
    return caught.value


# What a tag stands for


async def test_one_head_tells_what_a_tag_stands_for(registry: Registry, client: Registries) -> None:
    digest = registry.push("team/app", "1", manifest("a"))
    assert await client.head(image(registry, "team/app:1")) == Described(digest, MANIFEST)
    (request,) = registry.seen
    assert (request.method, request.target) == ("HEAD", "/v2/team/app/manifests/1")
    assert request.headers["User-Agent"] == "imagestream-listener"
    for media_type in (
        MANIFEST,
        INDEX,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ):
        assert media_type in request.headers["Accept"]


async def test_a_digest_is_asked_for_before_a_tag(registry: Registry, client: Registries) -> None:
    digest = registry.push("app", "1", manifest("a"))
    registry.push("app", "1", manifest("b"))
    assert await client.head(image(registry, f"app:1@{digest}")) == Described(digest, MANIFEST)


async def test_no_tag_is_latest(registry: Registry, client: Registries) -> None:
    digest = registry.push("app", "latest", manifest("a"))
    assert (await client.head(image(registry, "app"))).digest == digest


def answering(**changes: Any) -> Any:
    """Make a handler that answers HEADs alone with these headers and status, and lets the registry do the rest."""
    status = changes.pop("status", 200)
    headers = {name.replace("_", "-"): value for name, value in changes.items()}

    async def handle(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=status, headers=headers) if request.method == "HEAD" else None

    return handle


@pytest.mark.parametrize(
    "head",
    [
        pytest.param({"Content_Type": MANIFEST}, id="no digest"),
        pytest.param({"Content_Type": MANIFEST, "Docker_Content_Digest": "sha256:abc"}, id="a digest that is none"),
        pytest.param({"Docker_Content_Digest": digest_of(b"x"), "Content_Type": "text/html"}, id="a web page's type"),
        pytest.param({"status": 405}, id="no HEAD at all"),
        pytest.param({"status": 501}, id="HEAD is not implemented"),
    ],
)
async def test_where_head_is_not_enough_the_manifest_itself_tells(
    registry: Registry, client: Registries, head: dict[str, Any]
) -> None:
    body = index()
    digest = registry.push("app", "1", body, "application/json")
    registry.instead = answering(**head)
    assert await client.head(image(registry, "app:1")) == Described(digest, INDEX)
    assert [request.method for request in registry.seen] == ["HEAD", "GET"]


async def test_a_digest_of_another_algorithm_is_verified_by_the_content(registry: Registry, client: Registries) -> None:
    registry.push("app", "1", manifest("a"))
    long = digest_of(manifest("a"), "sha512")
    assert await client.head(image(registry, f"app@{long}")) == Described(long, MANIFEST)
    assert [request.method for request in registry.seen] == ["HEAD", "GET"]


async def test_a_head_that_names_another_digest_is_refused(registry: Registry, client: Registries) -> None:
    digest = registry.push("app", "1", manifest("a"))
    registry.instead = answering(Content_Type=MANIFEST, Docker_Content_Digest=digest_of(b"other"))
    error = await refusal(client.head(image(registry, f"app@{digest}")))
    assert error.reason == "InternalError"
    assert digest_of(b"other") in str(error)


async def test_what_is_sent_packed_is_not_unpacked(registry: Registry, client: Registries) -> None:
    """What is small when packed may be endless, and digests are of what is sent."""
    digest = registry.push("app", "1", index(), INDEX)

    async def pack(_: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(index()), content_type=INDEX, headers={"Content-Encoding": "gzip"})

    registry.instead = pack
    assert "does not have the digest" in str(await refusal(client.children(image(registry, f"app@{digest}"))))
    assert registry.seen[-1].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("by_digest", [True, False], ids=["what was asked for", "what the registry says it sends"])
async def test_content_that_has_not_the_digest_is_refused(
    registry: Registry, client: Registries, by_digest: bool
) -> None:
    digest = registry.push("app", "1", manifest("a"))
    headers = {} if by_digest else {"Docker-Content-Digest": digest}

    async def forge(request: web.Request) -> web.StreamResponse | None:
        if request.method == "HEAD":
            return web.Response(status=405)
        return web.Response(body=manifest("forged"), content_type=MANIFEST, headers=headers)

    registry.instead = forge
    error = await refusal(client.head(image(registry, f"app@{digest}" if by_digest else "app:1")))
    assert error.reason == "InternalError"
    assert str(error).startswith(f"Internal error occurred: {registry.host}/app")


async def test_what_is_not_there_is_not_found(registry: Registry, client: Registries) -> None:
    error = await refusal(client.head(image(registry, "app:gone")))
    assert error.reason == "NotFound"
    assert f'dockerimage "{registry.host}/app:gone" not found' in str(error)


async def test_what_is_no_registry_is_called_so() -> None:
    website = Server()
    async with running(website), registries(website) as client:
        error = await refusal(client.head(image(website, "app:1")))
        assert error.reason == "NotV2Registry"
        assert website.host in str(error)


async def test_a_web_page_is_no_manifest(registry: Registry, client: Registries) -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>", content_type="text/html")

    registry.instead = page
    assert (await refusal(client.head(image(registry, "app:1")))).reason == "NotV2Registry"


@pytest.mark.parametrize("body", [b"{}", b"", manifest("a")[:-20]], ids=["empty object", "nothing", "half a manifest"])
async def test_what_no_digest_vouches_for_must_be_a_manifest(
    registry: Registry, client: Registries, body: bytes
) -> None:
    """Of an answer without a length too, half looks like the whole."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=405) if request.method == "HEAD" else web.Response(body=body, content_type=MANIFEST)

    registry.instead = answer
    error = await refusal(client.head(image(registry, "app:1")))
    assert error.reason == "NotV2Registry"


async def test_whether_it_is_a_registry_is_asked_once(registry: Registry, client: Registries) -> None:
    for _ in range(3):
        await refusal(client.head(image(registry, "app:gone")))
    assert registry.asked().count("GET /v2/") == 1


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_manifest_that_is_too_large_is_not_read(registry: Registry, client: Registries, chunked: bool) -> None:
    digest = registry.push("app", "1", b" " * (4 * 1024 * 1024 + 1), INDEX)

    async def stream(request: web.Request) -> web.StreamResponse | None:
        response = web.StreamResponse(headers={"Content-Type": INDEX})
        await response.prepare(request)
        for _ in range(5):
            await response.write(b" " * 1024 * 1024)
        return response

    registry.instead = stream if chunked else None
    error = await refusal(client.children(image(registry, f"app@{digest}")))
    assert "more than 4194304 bytes" in str(error)


async def test_the_specifications_error_codes_are_told_and_no_prose(registry: Registry, client: Registries) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"errors": [{"code": "NAME_INVALID", "message": "SELL STOCKS"}]}, status=400)

    registry.instead = refuse
    error = await refusal(client.head(image(registry, "app:1")))
    assert "400 (NAME_INVALID)" in str(error)
    assert "STOCKS" not in str(error)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_later_is_unavailable(registry: Registry, client: Registries, status: int) -> None:
    async def later(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    registry.instead = later
    error = await refusal(client.head(image(registry, "app:1")), RegistryUnavailable)
    assert error.reason == "InternalError"
    assert str(error) == (
        f"Internal error occurred: {registry.host}/app:1: registry {registry.host}: it answered {status}"
    )


async def test_a_port_that_is_none_is_invalid() -> None:
    async with Registries({}, HostPolicy((), ["r.example:99999"]), rate=1, burst=1) as client:
        error = await refusal(client.head(references.parse("r.example:99999/app:1")))
        assert error.reason == "Invalid"


def test_docker_hub_is_called_by_its_other_name() -> None:
    target = references.parse("nginx").with_defaults()
    endpoint = Endpoint(target.registry, "https", verified=True, anywhere=False)
    url = url_of(endpoint, f"/v2/{target.repository}/manifests/{target.tag}")
    assert str(url) == "https://registry-1.docker.io/v2/library/nginx/manifests/latest"


# What an index names


def child(seed: str, **platform: str) -> dict[str, Any]:
    return {"mediaType": MANIFEST, "digest": digest_of(manifest(seed)), "size": 1, "platform": platform}


async def test_reads_an_index_once(registry: Registry, client: Registries) -> None:
    body = index(child("a", os="linux", architecture="amd64"))
    digest = registry.push("app", "1", body, INDEX)
    expected = (Child(digest_of(manifest("a")), MANIFEST, Platform("linux", "amd64")),)
    for _ in range(3):
        assert await client.children(image(registry, f"app@{digest}")) == expected
    assert registry.asked() == [f"GET /v2/app/manifests/{digest}"]


async def test_an_index_is_kept_for_those_credentials_and_that_repository_alone(
    registry: Registry, client: Registries
) -> None:
    registry.logins = {"ann": ANN.password}
    registry.readers = {"app": {"ann"}}
    digest = registry.push("app", "1", index(), INDEX)
    reference = image(registry, f"app@{digest}")
    assert await client.children(reference, [ANN]) == ()
    assert (await refusal(client.children(reference))).reason == "Unauthorized"
    assert (await refusal(client.children(reference, [Credential("bob", "x")]))).reason == "Unauthorized"
    assert (await refusal(client.children(image(registry, f"other@{digest}"), [ANN]))).reason == "NotFound"


async def test_what_is_no_index_is_invalid(registry: Registry, client: Registries) -> None:
    digest = registry.push("app", "1", manifest("a"))
    error = await refusal(client.children(image(registry, f"app@{digest}")))
    assert error.reason == "Invalid"
    assert 'list "manifests"' in str(error)


async def test_an_index_is_read_by_its_digest_only(registry: Registry, client: Registries) -> None:
    registry.push("app", "1", index(), INDEX)
    assert (await refusal(client.children(image(registry, "app:1")))).reason == "Invalid"
    assert registry.seen == []


# Which tags there are


async def test_lists_all_pages(registry: Registry, client: Registries) -> None:
    for number in range(7):
        registry.push("team/app", f"v{number}", manifest("a"))
    registry.page = 3
    assert await client.tags(image(registry, "team/app:any")) == tuple(f"v{number}" for number in range(7))
    assert len(registry.seen) == 3


def listing(*pages: tuple[Any, str | None]) -> Any:
    """Make a handler that serves these pages one after the other, the last one again and again."""
    left = list(pages)

    async def handle(_: web.Request) -> web.StreamResponse:
        tags, link = left.pop(0) if len(left) > 1 else left[0]
        headers = {"Link": link} if link else {}
        body = tags if isinstance(tags, bytes) else json.dumps({"name": "app", "tags": tags}).encode()
        return web.Response(body=body, content_type="application/json", headers=headers)

    return handle


async def test_tags_come_once_and_only_if_they_are_tags(registry: Registry, client: Registries) -> None:
    registry.instead = listing((["b", "a"], "<?last=a>; rel=next"), (["a", "..", "x y", "", "c"], None))
    assert await client.tags(image(registry, "app")) == ("b", "a", "c")


async def test_no_tags_are_no_tags(registry: Registry, client: Registries) -> None:
    registry.instead = listing((None, None))
    assert await client.tags(image(registry, "app")) == ()


@pytest.mark.parametrize("link", ["https://evil.example/v2/app/tags/list?last=a", "//evil.example/?last=a"])
async def test_a_list_does_not_go_on_at_another_server(registry: Registry, client: Registries, link: str) -> None:
    registry.instead = listing((["a"], f'<{link}>; rel="next"'))
    assert "another server" in str(await refusal(client.tags(image(registry, "app"))))


async def test_a_link_cannot_lead_away_from_the_list(registry: Registry, client: Registries) -> None:
    registry.instead = listing((["a"], "</v2/secret/blobs/x?last=a&n=1>; rel=next"), (["b"], None))
    assert await client.tags(image(registry, "app")) == ("a", "b")
    assert registry.asked()[1] == "GET /v2/app/tags/list?last=a&n=1"


async def test_a_list_that_bites_its_tail_ends(registry: Registry, client: Registries) -> None:
    registry.instead = listing((["a"], "<?last=a>; rel=next"))
    assert await client.tags(image(registry, "app")) == ("a",)
    assert len(registry.seen) == 2


async def test_a_list_without_end_is_given_up(registry: Registry, client: Registries) -> None:
    async def more(request: web.Request) -> web.StreamResponse:
        number = int(request.query.get("last", "0")) + 1
        return web.json_response({"tags": [f"v{number}"]}, headers={"Link": f"<?last={number}>; rel=next"})

    registry.instead = more
    assert "more tags than can be listed" in str(await refusal(client.tags(image(registry, "app"))))
    assert len(registry.seen) == 100


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"tags": 7}', b'{"tags": [7]}', b'{"a":' * 100_000], ids=["HTML", "number", "item", "deep"]
)
async def test_what_is_no_list_of_tags_is_refused(registry: Registry, client: Registries, body: bytes) -> None:
    registry.instead = listing((body, None))
    assert (await refusal(client.tags(image(registry, "app")))).reason == "InternalError"


async def test_the_tags_of_no_repository_are_not_found(registry: Registry, client: Registries) -> None:
    assert (await refusal(client.tags(image(registry, "gone")))).reason == "NotFound"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (['</v2/a/tags/list?n=1&last=b>; rel="next"'], "/v2/a/tags/list?n=1&last=b"),
        (["<x>; rel=next"], "x"),
        (['<x>; title="a, \\"b\\"; rel=next"; rel="prev", <y>; REL="last Next"'], "y"),
        (["<x>; rel=prev", "<y>;rel=next"], "y"),
        (["<x>; rel=prev"], None),
        (["<x>"], None),
        (["x; rel=next"], None),
        ([], None),
    ],
)
def test_finds_the_next_page(values: list[str], expected: str | None) -> None:
    assert next_page(values) == expected


@pytest.mark.parametrize("piece", ["<", "<a", "<a>;", '<a>;b="', "<a>;b=  "])
def test_no_link_holds_up_the_loop(piece: str) -> None:
    value = (piece * 8190)[:8190]  # as long as a header may be, and there may be a hundred of them
    started = time.thread_time()
    assert next_page([value]) is None
    assert time.thread_time() - started < 0.1


# Many at a time


async def test_requests_to_one_host_are_paced(registry: Registry) -> None:
    registry.push("app", "1", manifest("a"))
    async with registries(registry, rate=20, burst=2) as client:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(*(client.head(image(registry, "app:1")) for _ in range(8)))
        # One of the nine is the attempt to speak TLS: 2 at once, 7 at 20 a second.
        assert loop.time() - start >= 6 / 20
