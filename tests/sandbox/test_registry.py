"""The sandbox's registry over real HTTP. What it shares with Debian's docker-registry is tested on both."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest

from listener.sandbox import images
from listener.sandbox.images import Image, PushFailed, make_image, make_index
from listener.sandbox.registry import MAX_MANIFEST_BYTES, Registry
from tests.real_parts import DockerRegistry, NotificationEndpoint, Skopeo
from tests.sandbox.receiver import Receiver, listening

IMAGE = make_image("one")
OTHER = make_image("two")
INDEX = make_index(make_image("one"), make_image("one", architecture="arm64"))
LAYER_DIGEST, LAYER = list(IMAGE.blobs.items())[1]
REPOSITORY = "team/shop/web"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
UNKNOWN = f"sha256:{'0' * 64}"
SAMPLES = Path(__file__).parents[1] / "dialects" / "samples" / "distribution"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    async with Registry() as registry:
        yield registry


@pytest.fixture
def url(registry: Registry) -> str:
    return f"http://{registry.host}"


@pytest.fixture(params=["sandbox", "docker-registry"])
def either(request: pytest.FixtureRequest) -> str:
    """The base URL of our registry, then of the original."""
    if request.param == "sandbox":
        return str(request.getfixturevalue("url"))
    start: Callable[[], DockerRegistry] = request.getfixturevalue("docker_registry")
    return start().url


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with listening() as receiver:
        yield receiver


async def error_codes(response: aiohttp.ClientResponse) -> list[str]:
    return [error["code"] for error in (await response.json())["errors"]]


async def start_upload(session: aiohttp.ClientSession, url: str) -> str:
    async with session.post(f"{url}/v2/{REPOSITORY}/blobs/uploads/") as response:
        assert response.status == 202
        return urljoin(str(response.url), response.headers["Location"])


async def status(session: aiohttp.ClientSession, method: str, url: str, **options: Any) -> int:
    async with session.request(method, url, **options) as response:
        return response.status


# --- the distribution API, on our registry and on the original


async def test_says_that_it_speaks_version_2(either: str, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{either}/v2/") as response:
        assert (response.status, response.headers["Docker-Distribution-Api-Version"]) == (200, "registry/2.0")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["1.0", IMAGE.digest], ids=["by tag", "by digest"])
async def test_a_pushed_manifest_is_served_byte_for_byte(
    either: str, session: aiohttp.ClientSession, method: str, reference: str
) -> None:
    assert await images.push(session, either, REPOSITORY, "1.0", IMAGE) == IMAGE.digest
    address = f"{either}/v2/{REPOSITORY}/manifests/{reference}"
    async with session.request(method, address, headers={"Accept": OCI_MANIFEST}) as response:
        assert response.status == 200
        assert response.headers["Docker-Content-Digest"] == IMAGE.digest
        assert response.headers["Content-Type"] == OCI_MANIFEST
        assert response.headers["Content-Length"] == str(len(IMAGE.manifest))
        assert await response.read() == (IMAGE.manifest if method == "GET" else b"")


async def test_a_manifest_that_the_client_has_is_not_sent_again(either: str, session: aiohttp.ClientSession) -> None:
    await images.push(session, either, REPOSITORY, "1.0", IMAGE)
    headers = {"Accept": OCI_MANIFEST, "If-None-Match": f'"{IMAGE.digest}"'}
    assert await status(session, "GET", f"{either}/v2/{REPOSITORY}/manifests/1.0", headers=headers) == 304
    await images.push(session, either, REPOSITORY, "1.0", OTHER)
    assert await status(session, "GET", f"{either}/v2/{REPOSITORY}/manifests/1.0", headers=headers) == 200


async def test_an_index_is_pushed_with_its_images(either: str, session: aiohttp.ClientSession) -> None:
    await images.push(session, either, REPOSITORY, "1.0", INDEX)
    for digest, content, accept in [
        ("1.0", INDEX.manifest, OCI_INDEX),
        *((child.digest, child.manifest, OCI_MANIFEST) for child in INDEX.children),
    ]:
        address = f"{either}/v2/{REPOSITORY}/manifests/{digest}"
        async with session.get(address, headers={"Accept": accept}) as response:
            assert await response.read() == content


async def test_a_blob_can_be_uploaded_in_chunks(either: str, session: aiohttp.ClientSession) -> None:
    location = await start_upload(session, either)
    for chunk, received in ((LAYER[:50], "0-49"), (LAYER[50:80], "0-79")):
        async with session.patch(location, data=chunk) as response:
            assert (response.status, response.headers["Range"]) == (202, received)
            location = urljoin(str(response.url), response.headers["Location"])
    async with session.get(location) as response:
        assert (response.status, response.headers["Range"]) == (204, "0-79")
    async with session.put(location, params={"digest": LAYER_DIGEST}, data=LAYER[80:]) as response:
        assert (response.status, response.headers["Docker-Content-Digest"]) == (201, LAYER_DIGEST)
        blob = urljoin(str(response.url), response.headers["Location"])
    async with session.get(blob) as response:
        assert (response.status, await response.read()) == (200, LAYER)


async def test_a_part_of_a_blob_can_be_had(either: str, session: aiohttp.ClientSession) -> None:
    await images.push(session, either, REPOSITORY, "1.0", IMAGE)
    blob, size = f"{either}/v2/{REPOSITORY}/blobs/{LAYER_DIGEST}", len(LAYER)
    for wanted, given, content in (
        ("bytes=10-19", f"bytes 10-19/{size}", LAYER[10:20]),
        ("bytes=90-", f"bytes 90-{size - 1}/{size}", LAYER[90:]),
        ("bytes=-5", f"bytes {size - 5}-{size - 1}/{size}", LAYER[-5:]),
    ):
        async with session.get(blob, headers={"Range": wanted}) as response:
            assert (response.status, response.headers["Content-Range"]) == (206, given)
            assert await response.read() == content
    assert await status(session, "GET", blob, headers={"Range": f"bytes={size}-"}) == 416
    async with session.head(blob) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, str(size))


async def test_an_upload_whose_digest_is_wrong_is_over(either: str, session: aiohttp.ClientSession) -> None:
    location = await start_upload(session, either)
    async with session.put(location, params={"digest": UNKNOWN}, data=LAYER) as response:
        assert (response.status, await error_codes(response)) == (400, ["DIGEST_INVALID"])
    assert await status(session, "PUT", location, params={"digest": LAYER_DIGEST}, data=LAYER) == 404
    assert await status(session, "GET", f"{either}/v2/{REPOSITORY}/blobs/{LAYER_DIGEST}") == 404


async def test_an_upload_can_be_given_up(either: str, session: aiohttp.ClientSession) -> None:
    location = await start_upload(session, either)
    assert await status(session, "DELETE", location) == 204
    async with session.get(location) as response:
        assert (response.status, await error_codes(response)) == (404, ["BLOB_UPLOAD_UNKNOWN"])


async def test_a_blob_is_mounted_from_a_repository_that_has_it(either: str, session: aiohttp.ClientSession) -> None:
    await images.push(session, either, REPOSITORY, "1.0", IMAGE)
    uploads = f"{either}/v2/team/copy/blobs/uploads/"
    async with session.post(uploads, params={"mount": LAYER_DIGEST, "from": REPOSITORY}) as response:
        assert (response.status, response.headers["Docker-Content-Digest"]) == (201, LAYER_DIGEST)
    assert await status(session, "HEAD", f"{either}/v2/team/copy/blobs/{LAYER_DIGEST}") == 200
    assert await status(session, "POST", uploads, params={"mount": UNKNOWN, "from": REPOSITORY}) == 202


async def test_a_manifest_is_refused_while_its_parts_are_missing(either: str, session: aiohttp.ClientSession) -> None:
    manifests = f"{either}/v2/{REPOSITORY}/manifests"
    for image, missing in ((IMAGE, set(IMAGE.blobs)), (INDEX, {child.digest for child in INDEX.children})):
        headers = {"Content-Type": image.media_type}
        async with session.put(f"{manifests}/1.0", data=image.manifest, headers=headers) as response:
            errors = (await response.json())["errors"]
            assert (response.status, {error["code"] for error in errors}) == (400, {"MANIFEST_BLOB_UNKNOWN"})
            assert {error["detail"] for error in errors} == missing
    assert await status(session, "GET", f"{manifests}/1.0") == 404


async def test_content_is_known_only_where_it_was_pushed(either: str, session: aiohttp.ClientSession) -> None:
    await images.push(session, either, REPOSITORY, "1.0", IMAGE)
    async with session.get(f"{either}/v2/team/copy/blobs/{LAYER_DIGEST}") as response:
        assert (response.status, await error_codes(response)) == (404, ["BLOB_UNKNOWN"])
    headers = {"Content-Type": OCI_MANIFEST}
    assert (
        await status(session, "PUT", f"{either}/v2/team/copy/manifests/1.0", data=IMAGE.manifest, headers=headers)
        == 400
    )


@pytest.mark.parametrize(
    ("reference", "media_type", "body", "code"),
    [
        pytest.param("1.0", OCI_MANIFEST, b"{nope", "MANIFEST_INVALID", id="no JSON"),
        pytest.param("1.0", "text/plain", IMAGE.manifest, "MANIFEST_INVALID", id="a type that is no manifest's"),
        pytest.param("1.0", OCI_INDEX, IMAGE.manifest, "MANIFEST_INVALID", id="an image that is sent as an index"),
        pytest.param(UNKNOWN, OCI_MANIFEST, IMAGE.manifest, "DIGEST_INVALID", id="another digest"),
    ],
)
async def test_a_broken_manifest_is_refused(
    either: str, session: aiohttp.ClientSession, reference: str, media_type: str, body: bytes, code: str
) -> None:
    await images.push(session, either, REPOSITORY, "other", IMAGE)
    address, headers = f"{either}/v2/{REPOSITORY}/manifests/{reference}", {"Content-Type": media_type}
    async with session.put(address, data=body, headers=headers) as response:
        assert (response.status, await error_codes(response)) == (400, [code])
    assert await status(session, "GET", f"{either}/v2/{REPOSITORY}/manifests/1.0") == 404


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        pytest.param("GET", "manifests/latest", "MANIFEST_UNKNOWN", id="a manifest by tag"),
        pytest.param("GET", f"manifests/{UNKNOWN}", "MANIFEST_UNKNOWN", id="a manifest by digest"),
        pytest.param("DELETE", f"manifests/{UNKNOWN}", "MANIFEST_UNKNOWN", id="a manifest to delete"),
        pytest.param("GET", f"blobs/{UNKNOWN}", "BLOB_UNKNOWN", id="a blob"),
        pytest.param("DELETE", f"blobs/{UNKNOWN}", "BLOB_UNKNOWN", id="a blob to delete"),
        pytest.param("GET", "tags/list", "NAME_UNKNOWN", id="a repository"),
    ],
)
async def test_what_is_not_there_is_told_apart(
    either: str, session: aiohttp.ClientSession, method: str, path: str, code: str
) -> None:
    async with session.request(method, f"{either}/v2/{REPOSITORY}/{path}") as response:
        assert (response.status, await error_codes(response)) == (404, [code])


async def test_tags_are_listed_once(either: str, session: aiohttp.ClientSession) -> None:
    for tag, image in (("b", IMAGE), ("a", OTHER), ("b", OTHER)):
        await images.push(session, either, REPOSITORY, tag, image)
    async with session.get(f"{either}/v2/{REPOSITORY}/tags/list") as response:
        seen = await response.json()
        assert (seen["name"], sorted(seen["tags"])) == (REPOSITORY, ["a", "b"])


async def test_the_catalog_is_handed_out_in_pages(either: str, session: aiohttp.ClientSession) -> None:
    for name in ("c", "a/one", "b"):
        await images.push(session, either, name, "1.0", IMAGE)
    seen: list[list[str]] = []
    address: str | None = f"{either}/v2/_catalog?n=2"
    while address is not None:
        async with session.get(address) as response:
            seen.append((await response.json())["repositories"])
            following = response.links.get("next")
            address = str(following["url"]) if following else None
    assert seen == [["a/one", "b"], ["c"]]


async def test_a_manifest_goes_with_the_tags_that_point_at_it(either: str, session: aiohttp.ClientSession) -> None:
    for tag, image in (("1.0", IMAGE), ("latest", IMAGE), ("2.0", OTHER)):
        await images.push(session, either, REPOSITORY, tag, image)
    assert await status(session, "DELETE", f"{either}/v2/{REPOSITORY}/manifests/{IMAGE.digest}") == 202
    assert await status(session, "GET", f"{either}/v2/{REPOSITORY}/manifests/{IMAGE.digest}") == 404
    async with session.get(f"{either}/v2/{REPOSITORY}/tags/list") as response:
        assert (await response.json())["tags"] == ["2.0"]


# --- where ours differs, and its bounds


async def test_tags_are_handed_out_in_pages(url: str, session: aiohttp.ClientSession) -> None:
    for tag in ("c", "a", "b"):
        await images.push(session, url, REPOSITORY, tag, IMAGE)
    tags = f"{url}/v2/{REPOSITORY}/tags/list"
    async with session.get(tags, params={"n": "2"}) as response:
        assert (await response.json())["tags"] == ["a", "b"]
        rest = response.links["next"]["url"]
    async with session.get(rest) as response:
        assert (await response.json())["tags"] == ["c"]
        assert "Link" not in response.headers
    async with session.get(tags, params={"n": "-1"}) as response:
        assert (response.status, await error_codes(response)) == (400, ["PAGINATION_NUMBER_INVALID"])


async def test_a_tag_can_be_deleted(url: str, session: aiohttp.ClientSession) -> None:
    await images.push(session, url, REPOSITORY, "1.0", IMAGE)
    assert await status(session, "DELETE", f"{url}/v2/{REPOSITORY}/manifests/1.0") == 202
    assert await status(session, "GET", f"{url}/v2/{REPOSITORY}/manifests/1.0") == 404
    assert await status(session, "GET", f"{url}/v2/{REPOSITORY}/manifests/{IMAGE.digest}") == 200


async def test_a_blob_can_be_sent_in_one_request(url: str, session: aiohttp.ClientSession) -> None:
    uploads = f"{url}/v2/{REPOSITORY}/blobs/uploads/"
    assert await status(session, "POST", uploads, params={"digest": LAYER_DIGEST}, data=LAYER) == 201
    assert await status(session, "HEAD", f"{url}/v2/{REPOSITORY}/blobs/{LAYER_DIGEST}") == 200
    assert await status(session, "POST", uploads, params={"digest": UNKNOWN}, data=LAYER) == 400


async def test_a_chunk_out_of_order_is_refused(url: str, session: aiohttp.ClientSession) -> None:
    location = await start_upload(session, url)
    assert await status(session, "PATCH", location, data=LAYER[:50], headers={"Content-Range": "0-49"}) == 202
    assert await status(session, "PATCH", location, data=LAYER[60:], headers={"Content-Range": "60-99"}) == 416
    assert await status(session, "PATCH", location, data=LAYER[50:], headers={"Content-Range": "50-99"}) == 202
    assert await status(session, "PUT", location, params={"digest": LAYER_DIGEST}) == 201


@pytest.mark.parametrize("name", ["UPPER", "two//slashes", "-dash", "a" * 256])
async def test_a_name_that_no_repository_can_have_is_refused(
    url: str, session: aiohttp.ClientSession, name: str
) -> None:
    async with session.get(f"{url}/v2/{name}/tags/list") as response:
        assert (response.status, await error_codes(response)) == (400, ["NAME_INVALID"])


async def test_a_manifest_has_a_size_limit(url: str, session: aiohttp.ClientSession) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(MAX_MANIFEST_BYTES // 65536 + 1):
            yield b" " * 65536

    headers = {"Content-Type": OCI_MANIFEST}
    async with session.put(f"{url}/v2/{REPOSITORY}/manifests/1.0", data=body(), headers=headers) as response:
        assert (response.status, await error_codes(response)) == (413, ["SIZE_INVALID"])


async def test_all_content_together_has_a_size_limit_and_what_is_deleted_makes_room(
    session: aiohttp.ClientSession,
) -> None:
    size = sum(map(len, IMAGE.blobs.values())) + len(IMAGE.manifest)
    async with Registry(max_bytes=size + 10) as registry:
        url = f"http://{registry.host}"
        for _ in range(3):
            await images.push(session, url, REPOSITORY, "1.0", IMAGE)
            with pytest.raises(PushFailed, match="413"):
                await images.push(session, url, REPOSITORY, "2.0", OTHER)
            assert await status(session, "DELETE", f"{url}/v2/{REPOSITORY}/manifests/{IMAGE.digest}") == 202
            for digest in IMAGE.blobs:
                assert await status(session, "DELETE", f"{url}/v2/{REPOSITORY}/blobs/{digest}") == 202
        await images.push(session, url, REPOSITORY, "2.0", OTHER)


async def test_a_port_that_is_taken_is_an_error(registry: Registry) -> None:
    with pytest.raises(OSError, match="address already in use"):
        await Registry(port=int(registry.host.rpartition(":")[2])).start()


# --- real skopeo


async def test_skopeo_copies_an_image_in_and_out(
    registry: Registry, skopeo: Skopeo, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    pull_spec = f"{registry.host}/{REPOSITORY}:1.0"
    assert await skopeo.push(IMAGE, pull_spec) == IMAGE.digest
    async with session.head(f"http://{registry.host}/v2/{REPOSITORY}/manifests/1.0") as response:
        assert response.headers["Docker-Content-Digest"] == IMAGE.digest
    await skopeo.copy(f"docker://{pull_spec}", f"dir:{tmp_path}/out")
    assert (tmp_path / "out" / "manifest.json").read_bytes() == IMAGE.manifest
    assert (tmp_path / "out" / LAYER_DIGEST.removeprefix("sha256:")).read_bytes() == LAYER


async def test_skopeo_copies_an_index_with_all_its_images(registry: Registry, skopeo: Skopeo, tmp_path: Path) -> None:
    await skopeo.push(INDEX, f"{registry.host}/{REPOSITORY}:1.0")
    # From repository to repository it mounts the blobs.
    await skopeo.copy(f"docker://{registry.host}/{REPOSITORY}:1.0", f"docker://{registry.host}/team/copy:1.0", "--all")
    for repository in (REPOSITORY, "team/copy"):
        out = tmp_path / repository.replace("/", "-")
        await skopeo.copy(f"docker://{registry.host}/{repository}:1.0", f"oci:{out}:1.0", "--all", "--preserve-digests")
        blobs = out / "blobs" / "sha256"
        for image in (INDEX, *INDEX.children):
            assert (blobs / image.digest.removeprefix("sha256:")).read_bytes() == image.manifest


async def test_skopeo_inspects_an_image(registry: Registry, skopeo: Skopeo) -> None:
    for tag, image in (("1.0", IMAGE), ("2.0", OTHER)):
        await skopeo.push(image, f"{registry.host}/{REPOSITORY}:{tag}")
    seen = json.loads(await skopeo.inspect(f"docker://{registry.host}/{REPOSITORY}:2.0"))
    assert (seen["Digest"], seen["RepoTags"], seen["Labels"]) == (OTHER.digest, ["1.0", "2.0"], {"seed": "two"})


# --- notifications


def shape(value: object) -> object:
    """Every key with the type of its value, so that events can be compared whose ids, times and hosts differ."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return type(value).__name__


def story(event: dict[str, Any]) -> tuple[object, ...]:
    """What an event says, without what differs from registry to registry and from run to run."""
    host = event["request"]["host"]
    target = {key: str(value).replace(host, "HOST") for key, value in event["target"].items()}
    return event["action"], event["request"]["method"], target, shape(event)


async def do_everything(session: aiohttp.ClientSession, url: str) -> int:
    """Make each kind of event happen; return how many events that is."""
    manifests = f"{url}/v2/{REPOSITORY}/manifests"
    accept = {"Accept": f"{OCI_MANIFEST}, {OCI_INDEX}"}
    await images.push(session, url, REPOSITORY, "1.0", IMAGE)
    await images.push(session, url, REPOSITORY, "latest", IMAGE)
    await images.push(session, url, REPOSITORY, "2.0", INDEX)
    for method, reference in (("HEAD", "1.0"), ("GET", "2.0"), ("GET", IMAGE.digest), ("HEAD", IMAGE.digest)):
        assert await status(session, method, f"{manifests}/{reference}", headers=accept) == 200
    current = {**accept, "If-None-Match": f'"{IMAGE.digest}"'}
    assert await status(session, "HEAD", f"{manifests}/1.0", headers=current) == 304
    assert await status(session, "GET", f"{url}/v2/{REPOSITORY}/tags/list") == 200
    for method in ("HEAD", "GET"):
        assert await status(session, method, f"{url}/v2/{REPOSITORY}/blobs/{LAYER_DIGEST}") == 200
    mount = {"mount": LAYER_DIGEST, "from": REPOSITORY}
    assert await status(session, "POST", f"{url}/v2/team/copy/blobs/uploads/", params=mount) == 201
    assert await status(session, "PUT", f"{manifests}/3.0", data=b"{", headers={"Content-Type": OCI_MANIFEST}) == 400
    assert await status(session, "DELETE", f"{manifests}/{INDEX.digest}") == 202
    assert await status(session, "DELETE", f"{url}/v2/team/copy/blobs/{LAYER_DIGEST}") == 202
    return 2 * 3 + (2 * 3 + 1) + 4 + 2 + 1 + 2 + 1


async def test_events_are_those_of_the_original(
    registry: Registry,
    docker_registry: Callable[..., DockerRegistry],
    receiver: Receiver,
    session: aiohttp.ClientSession,
) -> None:
    async with listening() as told_by_original:
        original = docker_registry(NotificationEndpoint(told_by_original.url, {"Authorization": "Bearer s3cret"}))
        expected = await told_by_original.events(await do_everything(session, original.url))
        registry.notify(receiver.url, {"Authorization": "Bearer s3cret"})
        seen = await receiver.events(await do_everything(session, f"http://{registry.host}"))
        assert [story(event) for event in seen] == [story(event) for event in expected]
        ours, theirs = receiver.deliveries[0], told_by_original.deliveries[0]
        assert (ours.method, ours.path) == (theirs.method, theirs.path)
        for header in ("Content-Type", "Authorization"):
            assert ours.headers[header] == theirs.headers[header]
        assert ours.body.splitlines()[0:3] == theirs.body.splitlines()[0:3]


@pytest.mark.parametrize(
    ("sample", "action", "described"),
    [
        ("blob-push-layer", "push", {"mediaType": "application/octet-stream", "url": "/blobs/"}),
        ("manifest-push-tag-same-again", "push", {"mediaType": OCI_MANIFEST, "tag": "1.0"}),
        ("manifest-push-by-digest-child", "push", {"mediaType": OCI_MANIFEST, "tag": None}),
        ("skopeo-multiarch-07", "push", {"mediaType": OCI_INDEX, "tag": "2.0"}),
        ("manifest-head-tag", "pull", {"tag": "1.0"}),
        ("manifest-get-digest", "pull", {"mediaType": OCI_MANIFEST, "tag": None}),
        ("mount-blob-cross-repo", "mount", {}),
        ("manifest-delete-digest-1", "delete", {"digest": INDEX.digest}),
        ("manifest-delete-digest-2", "delete", {"tag": "2.0"}),
    ],
)
async def test_events_have_the_shape_of_recorded_ones(
    registry: Registry,
    receiver: Receiver,
    session: aiohttp.ClientSession,
    sample: str,
    action: str,
    described: dict[str, str | None],
) -> None:
    """The recorded registry asked for a login. Ours does not, so `actor` is empty, as the original's would be."""
    registry.notify(receiver.url, {})
    events = await receiver.events(await do_everything(session, f"http://{registry.host}"))
    (recorded,) = json.loads((SAMPLES / f"{sample}.json").read_bytes())["events"]
    recorded["actor"] = {}
    shapes = [
        shape(event)
        for event in events
        if event["action"] == action
        and all((value or "") in event["target"].get(key, "") for key, value in described.items())
        and all(key not in event["target"] for key, value in described.items() if value is None)
    ]
    assert shapes
    assert all(candidate == shape(recorded) for candidate in shapes)


async def test_the_tag_has_moved_when_its_event_arrives(
    registry: Registry, receiver: Receiver, session: aiohttp.ClientSession
) -> None:
    registry.notify(receiver.url, {})
    for count, image in ((3, IMAGE), (6, OTHER)):
        await images.push(session, f"http://{registry.host}", REPOSITORY, "1.0", image)
        event = (await receiver.events(count))[-1]
        assert (event["target"]["tag"], event["target"]["digest"]) == ("1.0", image.digest)
        assert event["request"]["host"] == registry.host


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([500, 500, 503], id="server errors"),
        pytest.param([401, 429], id="client errors"),
        pytest.param([302, 307, 304], id="redirects, which are not followed"),
        pytest.param([0], id="no answer in time"),
    ],
)
async def test_an_event_is_sent_again_until_it_is_accepted(
    registry: Registry, receiver: Receiver, session: aiohttp.ClientSession, answers: list[int]
) -> None:
    receiver.answers.extend(answers)
    registry.notify(receiver.url, {}, backoff_seconds=0.01, timeout_seconds=0.5)
    await images.push(session, f"http://{registry.host}", REPOSITORY, "1.0", IMAGE)
    events = await receiver.events(3)
    assert [delivery.status for delivery in receiver.deliveries] == [*answers, 200, 200, 200]
    # The first event held up the others, and came again as it was.
    assert {delivery.body for delivery in receiver.deliveries[: len(answers) + 1]} == {receiver.accepted[0].body}
    assert [event["target"].get("tag") for event in events] == [None, None, "1.0"]


async def test_a_push_does_not_wait_for_whoever_is_notified(
    registry: Registry, receiver: Receiver, session: aiohttp.ClientSession
) -> None:
    receiver.answers.extend([0])
    registry.notify(receiver.url, {}, timeout_seconds=60.0)
    await images.push(session, f"http://{registry.host}", REPOSITORY, "1.0", IMAGE)
    assert len(await receiver.attempts(1)) == 1
    await registry.close(drain_seconds=0.0)


async def test_events_that_wait_go_to_the_new_endpoint(
    registry: Registry, receiver: Receiver, session: aiohttp.ClientSession, unused_tcp_port: int
) -> None:
    registry.notify(f"http://127.0.0.1:{unused_tcp_port}/hooks/team", {}, backoff_seconds=0.01)
    await images.push(session, f"http://{registry.host}", REPOSITORY, "1.0", IMAGE)
    registry.notify(receiver.url, {})
    assert len(await receiver.events(3)) == 3


async def test_closing_lets_the_last_events_out(receiver: Receiver, session: aiohttp.ClientSession) -> None:
    receiver.answers.extend([500, 500])
    async with Registry() as registry:
        registry.notify(receiver.url, {}, backoff_seconds=0.01)
        await images.push(session, f"http://{registry.host}", REPOSITORY, "1.0", IMAGE)
    assert len(receiver.accepted) == 3


async def test_closing_does_not_wait_for_ever(
    receiver: Receiver, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers.extend([500] * 10_000)
    registry = Registry()
    await registry.start()
    registry.notify(receiver.url, {}, backoff_seconds=0.01)
    await images.push(session, f"http://{registry.host}", REPOSITORY, "1.0", IMAGE)
    await registry.close(drain_seconds=0.1)
    assert "before its last events were accepted" in caplog.text
    assert receiver.accepted == []


# --- images


def test_the_same_seed_makes_the_same_image() -> None:
    assert make_image("one") == IMAGE
    assert (
        len({make_image("one").digest, make_image("two").digest, make_image("one", architecture="arm64").digest}) == 3
    )


async def test_a_push_that_is_refused_says_what_was_refused(url: str, session: aiohttp.ClientSession) -> None:
    broken = Image(OCI_MANIFEST, IMAGE.manifest, {UNKNOWN: b"content"})
    with pytest.raises(PushFailed, match=r"PUT http.*/blobs/uploads/.*: expected 201.*, got 400: .*DIGEST_INVALID"):
        await images.push(session, url, REPOSITORY, "1.0", broken)
