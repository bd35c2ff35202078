"""The door for API servers, as they and strangers find it: a real server, and what a review may suffer on its way."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import jsonpatch
import pytest
import trustme
from structlog.testing import capture_logs
from yarl import URL

from listener.core.history import TagHistory, TagItem
from listener.core.kinds import KINDS, custom
from listener.core.streams import SpecTag, Stream, StreamKey
from listener.edges.admission import Door, Limits
from listener.edges.admission.door import Meter
from listener.edges.listening import Address, Connections, Server
from listener.edges.metrics import Metrics
from tests.edges.test_metrics import samples
from tests.stepped_time import SteppedLoop

Object = dict[str, Any]

DIGEST = f"sha256:{'2' * 64}"
RUBY = f"r.io/library/ruby@{DIGEST}"
MIRROR = f"local:5000/shop/mirror@{DIGEST}"
UID = "705ab4f5-6393-11e8-b7cc-42010a800002"
JSON = {"Content-Type": "application/json"}
HEAD = b"POST /lookup?timeout=2s HTTP/1.1\r\nHost: listener.ops.svc\r\nContent-Type: application/json\r\n"
TEMPLATE = ("spec", "template", "spec")
LOOKED_UP = {
    "Pod": ("v1", ("spec",)),
    "ReplicationController": ("v1", TEMPLATE),
    "Deployment": ("apps/v1", TEMPLATE),
    "StatefulSet": ("apps/v1", TEMPLATE),
    "DaemonSet": ("apps/v1", TEMPLATE),
    "ReplicaSet": ("apps/v1", TEMPLATE),
    "Job": ("batch/v1", TEMPLATE),
    "CronJob": ("batch/v1", ("spec", "jobTemplate", *TEMPLATE)),
    "DeploymentConfig": ("apps.openshift.io/v1", TEMPLATE),
    "Widget": ("example.com/v1", ("spec", "widget", "pod")),
}
"""Where the pod spec of each kind stands. The last is a kind that the settings name."""


def stream(name: str, *tags: str, local: bool = True, serves: str = "", policy: str = "Source") -> Stream:
    items = (TagItem("", f"r.io/library/{name}@{DIGEST}", DIGEST, 1),)
    return Stream(
        StreamKey("shop", name),
        "u",
        "1",
        1,
        "",
        serves,
        tuple(SpecTag(tag, reference_policy=policy) for tag in tags),
        tuple(TagHistory(tag, items) for tag in tags),
        local_lookup=local,
    )


STREAMS = {
    found.key: found
    for found in (
        stream("ruby", "2.7", "latest", serves="local:5000/shop/ruby"),
        stream("mirror", "v1", serves="local:5000/shop/mirror", policy="Local"),
        stream("base", "v1", local=False),
        stream("bare", "v1"),
    )
}


def workload(
    kind: str,
    images: Mapping[str, str],
    init: Mapping[str, str] | None = None,
    *,
    annotations: Mapping[str, str] | None = None,
    on_template: Mapping[str, str] | None = None,
) -> Object:
    """Write an object as API servers show it. Images are by container; what is nobody's business is there too."""
    api_version, path = LOOKED_UP[kind]

    def containers(found: Mapping[str, str]) -> list[Object]:
        others = {"env": [{"name": "A", "value": " two  spaces\n"}], "resources": {}, "imagePullPolicy": "Always"}
        return [{"name": name, "image": image, **others} for name, image in found.items()]

    spec: Object = {"containers": containers(images), "restartPolicy": "Always"}
    if init:
        spec["initContainers"] = containers(init)
    for depth, part in reversed(list(enumerate(path))):
        spec = {part: spec}
        if part == "spec" and depth:
            spec["metadata"] = {"labels": {"app": "web"}, "creationTimestamp": None}
            if on_template is not None:
                spec["metadata"]["annotations"] = dict(on_template)
    metadata: Object = {"name": "web", "namespace": "shop", "labels": {"app": "web"}, "creationTimestamp": None}
    if annotations is not None:
        metadata["annotations"] = {"example.com/note": " theirs\n", **annotations}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **spec, "status": {}}


def review(obj: Object | None, old: Object | None = None, **request: Any) -> bytes:
    """Write a review as API servers do. What is given besides is put into the request; None takes it away."""
    shown = obj or old or workload("Pod", {})
    group, _, version = str(shown["apiVersion"]).rpartition("/")
    kind = {"group": group, "version": version, "kind": shown["kind"]}
    resource = {"group": group, "version": version, "resource": f"{shown['kind'].lower()}s"}
    asked = {
        "uid": UID,
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "name": "web",
        "namespace": "shop",
        "operation": "UPDATE" if old else "CREATE",
        "userInfo": {"username": "system:serviceaccount:ci:deployer", "groups": ["system:authenticated"]},
        "object": obj,
        "oldObject": old,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl"},
    }
    asked = {name: value for name, value in (asked | request).items() if name not in request or value is not None}
    return json.dumps({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": asked}).encode()


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What an API server makes of an answer. `obj` is the object that it goes on with."""

    obj: Any
    warnings: tuple[str, ...]
    patch: tuple[Object, ...]


def read_answer(answer: bytes, obj: Any, uid: str = UID) -> Reviewed:
    """Hold an answer to what API servers ask of one, and do to the object what it says."""
    envelope = json.loads(answer)
    response = envelope.pop("response")
    assert envelope == {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    assert (response.pop("uid"), response.pop("allowed")) == (uid, True)
    warnings = tuple(response.pop("warnings", ()))
    patch: list[Object] = []
    if response:
        assert response.keys() == {"patch", "patchType"}
        assert response["patchType"] == "JSONPatch"
        patch = json.loads(base64.b64decode(response["patch"], validate=True))
        assert patch
    return Reviewed(jsonpatch.apply_patch(obj, patch), warnings, tuple(patch))


GIVEN = workload("Deployment", {"web": "ruby:2.7", "proxy": "r.io/mesh:1"})
GOOD = review(GIVEN)
WANTED = workload("Deployment", {"web": RUBY, "proxy": "r.io/mesh:1"})
NO_NAME = review(workload("Deployment", {"web": RUBY, "proxy": "r.io/mesh:1"}))


@dataclass
class Running:
    """A door that is open, and a client."""

    door: Door
    connections: Connections
    metrics: Metrics
    port: int
    url: str
    client: aiohttp.ClientSession
    tls: ssl.SSLContext | None

    async def send(
        self,
        body: Any = GOOD,
        *,
        method: str = "POST",
        path: str = "/lookup?timeout=2s",
        headers: Mapping[str, str] = JSON,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        url = URL(self.url + path, encoded=True)
        data = io.BytesIO(body) if isinstance(body, bytes) else body
        skip = () if "Content-Type" in headers else ("Content-Type",)
        async with self.client.request(method, url, data=data, headers=headers, skip_auto_headers=skip) as response:
            return response.status, await response.read(), response.headers

    async def admit(self, obj: Any, old: Object | None = None, **request: Any) -> Reviewed:
        status, body, headers = await self.send(review(obj, old, **request))
        assert (status, headers["Content-Type"]) == (200, "application/json"), body
        return read_answer(body, obj)

    async def is_well(self) -> bool:
        """Tell whether the next good review is answered."""
        found = await self.admit(GIVEN)
        return bool(found.obj == WANTED)

    async def raw(self, request: bytes, *, then_hang_up: bool = False, source: str = "127.0.0.1") -> bytes:
        """Send bytes as they are; return what comes back until the connection is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        try:
            writer.write(request)
            if then_hang_up:
                writer.write_eof()
            return await asyncio.wait_for(reader.read(), 5)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    def counted(self) -> tuple[dict[str, float], float]:
        """The lookups by outcome, and how many answers were timed."""
        found = samples(self.metrics)
        lookups = {
            dict(labels)["outcome"]: value
            for (name, labels), value in found.items()
            if name == "listener_lookups_total"
        }
        return lookups, found["listener_lookup_seconds_count", ()]


class Ready:
    """Whether all streams are known. `asked` tells how often somebody wanted to know, `wanted` lets one wait for it."""

    def __init__(self, *, known: bool = True) -> None:
        self.known = asyncio.Event()
        self.wanted = asyncio.Semaphore(0)
        self.asked = 0
        if known:
            self.known.set()

    async def __call__(self) -> None:
        self.asked += 1
        self.wanted.release()
        await self.known.wait()


Streams = Callable[[StreamKey], Stream | None]
WIDGET = custom("example.com/v1", "Widget", LOOKED_UP["Widget"][1])


def make(
    meter: Meter,
    streams: Streams = STREAMS.get,
    ready: Callable[[], Awaitable[object]] | None = None,
    *,
    limits: Limits | None = None,
) -> Door:
    return Door((*KINDS, WIDGET), streams, ready or Ready(), meter, limits=limits)


@asynccontextmanager
async def door(
    streams: Streams = STREAMS.get,
    ready: Callable[[], Awaitable[object]] | None = None,
    *,
    limits: Limits | None = None,
    meter: Meter | None = None,
    ca: trustme.CA | None = None,
) -> AsyncIterator[Running]:
    """Open a door. With a CA it speaks TLS, and the client believes in that CA."""
    metrics = Metrics()
    made = make(meter or metrics, streams, ready, limits=limits)
    connections = made.connections()
    server = Server(connections)
    client_tls = server_tls = None
    if ca is not None:
        client_tls, server_tls = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.configure_trust(client_tls)
        ca.issue_cert("127.0.0.1").configure_cert(server_tls)
    port = await server.start(Address("127.0.0.1", 0), server_tls)
    url = f"{'https' if ca else 'http'}://127.0.0.1:{port}"
    connector = aiohttp.TCPConnector(ssl=client_tls or True)
    try:
        async with aiohttp.ClientSession(connector=connector) as client:
            yield Running(made, connections, metrics, port, url, client, client_tls)
    finally:
        made.close()
        await server.close()


async def next_answer(reader: asyncio.StreamReader) -> tuple[int, Mapping[str, str], bytes]:
    """Read one answer off a connection."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 300)).decode()
    first, *lines = head.splitlines()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


def told(logs: Iterable[Mapping[str, Any]], event: str = "lookup.refused") -> list[int]:
    return [line["status"] for line in logs if line["event"] == event]


def errors(logs: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [line for line in logs if line["log_level"] in ("error", "critical")]


# What is answered


async def test_a_review_is_answered_as_api_servers_ask_it_over_tls(ca: trustme.CA) -> None:
    async with door(ca=ca) as running:
        assert running.tls is not None
        running.tls.set_alpn_protocols(["h2", "http/1.1"])
        assert await running.is_well()
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, ssl=running.tls)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() in (None, "http/1.1")
        for _ in range(3):  # all over one connection
            writer.write(HEAD + f"Content-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD)
            status, _, body = await next_answer(reader)
            assert status == 200
            assert read_answer(body, GIVEN).obj == WANTED
        writer.close()


async def test_what_is_no_tls_costs_others_nothing(ca: trustme.CA) -> None:
    with capture_logs() as logs:
        async with door(ca=ca) as running:
            for request in (b"garbage\r\n\r\n", HEAD, b"", b"\x16\x03\x01\x02\x00"):
                assert b"HTTP" not in await running.raw(request, then_hang_up=True)
            assert await running.is_well()
    assert errors(logs) == []


async def test_what_was_answered_is_counted_and_timed() -> None:
    images = {"a": "ruby:2.7", "b": "ruby", "c": "ruby:9", "d": "base:v1", "e": "r.io/x:1", "f": "unknown"}
    async with door() as running:
        await running.admit(workload("Deployment", images))
        assert running.counted() == ({"resolved": 2, "waiting": 1, "unresolved": 1}, 1)
        await running.admit(workload("Deployment", {"web": RUBY}))
        await running.admit({**GIVEN, "spec": 1})
        await running.admit({**GIVEN, "kind": "Unknown"})
        assert running.counted() == ({"resolved": 2, "waiting": 1, "unresolved": 1}, 4)
        await running.send(b"garbage")
        await running.send(path="/")
        assert running.counted()[1] == 4


async def test_a_bug_of_ours_lets_the_object_pass_and_is_told_in_the_log_alone() -> None:
    def streams(key: StreamKey) -> Stream | None:
        if key.name == "bug":
            raise ZeroDivisionError("the reason")
        return STREAMS.get(key)

    bug = workload("Deployment", {"web": "ruby:2.7", "other": "bug:1"})
    with capture_logs() as logs:
        async with door(streams) as running:
            assert await running.admit(bug) == Reviewed(bug, (), ())
            assert running.counted() == ({}, 1)
            assert await running.is_well()
    [line] = errors(logs)
    assert (line["event"], line["kind"], line["exc_info"]) == ("lookup.bug", "Deployment", True)


async def test_a_bug_in_waiting_lets_it_pass_too() -> None:
    async def ready() -> None:
        raise ZeroDivisionError

    with capture_logs() as logs:
        async with door(ready=ready) as running:
            assert await running.admit(GIVEN) == Reviewed(GIVEN, (), ())
    assert [line["event"] for line in errors(logs)] == ["lookup.bug"]


async def test_where_not_even_that_can_be_said_it_is_503_and_failure_policy_decides() -> None:
    class Broken:
        def lookup_answered(self, outcomes: Iterable[object], seconds: float) -> None:
            raise ZeroDivisionError(outcomes, seconds)

    with capture_logs() as logs:
        async with door(meter=Broken()) as running:
            for _ in range(2):
                status, body, _ = await running.send()
                assert (status, body) == (503, b"an error of ours; it is in our log\n")
    assert [line["event"] for line in errors(logs)] == ["lookup.bug"] * 2


# What is no review


def changed(**envelope: Any) -> bytes:
    return json.dumps({**json.loads(GOOD), **envelope}).encode()


DEEP = b"[" * 100_000 + b"]" * 100_000
NO_REVIEW = {
    "text": (b"hello", "no JSON"),
    "nothing": (b"", "no JSON"),
    "cut": (GOOD[:-1], "no JSON"),
    "and more": (GOOD + b"x", "no JSON"),
    "no UTF-8": (b"\xff\xfe\x00", "no JSON"),
    "no UTF-8 in what is read": (GOOD.replace(UID.encode(), b"\xff"), "no JSON"),
    "half of a surrogate pair": (GOOD.replace(UID.encode(), b"\\ud800"), "no JSON"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "no JSON"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, "no JSON"),
    "a form": (b"a=1&b=2", "no JSON"),
    "a list": (b"[]", "got `array`"),
    "a number": (b"1", "got `int`"),
    "null": (b"null", "got `null`"),
    "an object": (b'{"hello": "world"}', "the only version"),
    "v1beta1": (changed(apiVersion="admission.k8s.io/v1beta1"), "the only version"),
    "no version": (changed(apiVersion=None), "got `null`"),
    "another kind": (changed(kind="ConversionReview"), "the only version"),
    "no request": (changed(request=None), "without a request"),
    "a request that is none": (changed(request=[]), "$.request"),
    "an empty request": (changed(request={}), "`uid`"),
    "no uid": (review(GIVEN, uid=None), "`uid`"),
    "a uid that is none": (review(GIVEN, uid=1), "$.request.uid"),
    "no operation": (review(GIVEN, operation=None), "`operation`"),
    "no kind": (review(GIVEN, kind=None), "`kind`"),
    "a kind that is none": (review(GIVEN, kind="Pod"), "$.request.kind"),
    "deep lists": (DEEP, "AdmissionReview"),
    "deep objects": (b'{"a":' * 100_000, "more levels"),
    "a deep object": (GOOD.replace(b'"ruby:2.7"', DEEP), "more levels"),
    "deep where nobody looks": (changed(more=1).replace(b'"more": 1', b'"more":' + DEEP), "more levels"),
}


@pytest.mark.parametrize(("body", "reason"), NO_REVIEW.values(), ids=NO_REVIEW)
async def test_a_body_that_is_no_review_is_400_with_the_reason_and_the_next_is_answered(
    body: bytes, reason: str
) -> None:
    with capture_logs() as logs:
        async with door() as running:
            status, answer, headers = await running.send(body)
            assert await running.is_well()
    assert (status, headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert reason in answer.decode()
    assert "AdmissionReview of admission.k8s.io/v1" in answer.decode()
    assert told(logs) == [400]
    assert errors(logs) == []


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        pytest.param(JSON, GOOD, 200, id="JSON"),
        pytest.param({"Content-Type": "Application/JSON; charset=utf-8"}, GOOD, 200, id="JSON with a charset"),
        pytest.param({}, GOOD, 415, id="no type"),
        pytest.param({"Content-Type": ""}, GOOD, 415, id="an empty type"),
        pytest.param({"Content-Type": "text/plain"}, GOOD, 415, id="text"),
        pytest.param({"Content-Type": "application/vnd.kubernetes.protobuf"}, GOOD, 415, id="protobuf"),
        pytest.param({"Content-Type": "application/json-patch+json"}, GOOD, 415, id="a longer type"),
        pytest.param({**JSON, "Content-Encoding": "gzip"}, gzip.compress(GOOD), 415, id="gzip"),
        pytest.param({**JSON, "Content-Encoding": "br"}, GOOD, 415, id="brotli"),
    ],
)
async def test_only_json_that_is_not_compressed_is_read(headers: Mapping[str, str], body: bytes, status: int) -> None:
    async with door() as running:
        found, answer, _ = await running.send(body, headers=headers)
        assert found == status
        if status != 200:
            assert answer == b"a review is sent as application/json, not compressed\n"
        assert await running.is_well()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_a_review_is_posted(method: str) -> None:
    async with door() as running:
        status, answer, headers = await running.send(method=method)
        assert (status, headers["Allow"]) == (405, "POST")
        if method != "HEAD":
            assert b"a POST" in answer
        assert await running.is_well()


@pytest.mark.parametrize(
    "path", ["/", "/lookup/", "//lookup", "/Lookup", "/lookups", "/lookup/x", "/%6Cookup", "/hooks/team", "/metrics"]
)
async def test_at_no_other_path(path: str) -> None:
    async with door() as running:
        status, answer, _ = await running.send(path=path)
        assert (status, answer) == (404, b"reviews are answered at /lookup\n")
        assert await running.is_well()


async def chunks(size: int) -> AsyncIterator[bytes]:
    """A body whose length nobody is told."""
    while size > 0:
        yield b" " * min(size, 64 * 1024)
        size -= 64 * 1024


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(lambda: b" " * 300_001, id="length told"),
        pytest.param(lambda: chunks(600_000), id="chunked"),
    ],
)
async def test_a_body_that_is_too_large_is_413(body: Callable[[], Any]) -> None:
    async with door(limits=Limits(body=300_000)) as running:
        status, answer, _ = await running.send(body())
        assert (status, b"larger than 300000 bytes" in answer) == (413, True)
        status, answer, _ = await running.send(GOOD.ljust(300_000))
        assert (status, read_answer(answer, GIVEN).obj) == (200, WANTED)


async def test_and_so_is_one_that_comes_at_once_with_its_headers() -> None:
    head = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with door(limits=Limits(body=len(GOOD))) as running:
        for more, status in ((b"", b"200"), (b" ", b"413")):
            body = GOOD + more
            answer = await running.raw(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            assert answer.startswith(b"HTTP/1.1 %s " % status)
        assert await running.is_well()


async def test_the_largest_objects_that_api_servers_take_are_read() -> None:
    def large(image: str) -> Object:
        return workload("Deployment", {"web": image}, annotations={"large": "x" * 3_000_000})

    async with door() as running:
        assert (await running.admit(large("ruby:2.7"), large("ruby:2.6"))).obj == large(RUBY)


BROKEN = {
    "broken off": (b"Content-Length: 1000\r\n\r\n", b'{"kind":'),
    "broken off in a chunk": (b"Transfer-Encoding: chunked\r\n\r\n", b"ff\r\n{"),
    "no chunk": (b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\n{}\r\nZZ\r\n"),
}


@pytest.mark.parametrize(("how", "body"), BROKEN.values(), ids=BROKEN)
async def test_a_body_that_does_not_arrive_whole_is_no_bug_of_ours(how: bytes, body: bytes) -> None:
    with capture_logs() as logs:
        async with door() as running:
            answer = await running.raw(HEAD + how + body, then_hang_up=True)
            assert answer[9:12] in (b"", b"400")
            assert await running.is_well()
    assert errors(logs) == []
    assert told(logs) == [400]


NO_HTTP = {
    "a handshake": b"\x16\x03\x01\x02\x00\x01\x00 zebra-crossing\r\n\r\n",
    "a word": b"zebra-crossing\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a path of no ASCII": b"POST /zebra-crossing\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long path": b"POST /" + b"zebra-crossing" * 1000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "too many headers": HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(100)) + b"\r\n",
    "a long header": HEAD + b"X-Long: " + b"zebra-crossing" * 1000 + b"\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length below nothing": HEAD + b"Content-Length: -5\r\n\r\nhello",
    "two types": HEAD + b"Content-Type: zebra-crossing\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", NO_HTTP.values(), ids=NO_HTTP)
async def test_what_is_no_http_is_400_and_no_piece_of_it_is_logged(request_bytes: bytes) -> None:
    with capture_logs() as logs:
        async with door() as running:
            answer = await running.raw(request_bytes)
            assert await running.is_well()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert told(logs) == [400]
    assert errors(logs) == []
    assert "zebra" not in repr(logs)


async def test_a_flood_of_what_is_refused_is_one_line_for_each_status() -> None:
    with capture_logs() as logs:
        async with door() as running:
            for _ in range(20):
                await running.send(b"{")
                await running.send(b"[]")
                await running.send(path="/")
                await running.send(method="GET")
                await running.raw(b"garbage\r\n\r\n")
    assert told(logs) == [400, 404, 405]


async def test_a_flood_of_objects_that_cannot_be_read_is_one_line_for_each_kind() -> None:
    with capture_logs() as logs:
        async with door() as running:
            for number in range(20):
                for kind in ("Deployment", "CronJob"):
                    obj = {**workload(kind, {}), "spec": number}
                    assert await running.admit(obj) == Reviewed(obj, (), ())
    lines = [(line["event"], line["kind"], line["reason"]) for line in logs]
    reason = "Expected `object | null`, got `int` - at `$.spec`"
    assert lines == [("lookup.unreadable", kind, reason) for kind in ("Deployment", "CronJob")]


# Before all streams are known


async def test_a_review_waits_until_the_streams_are_known_and_only_then() -> None:
    ready = Ready(known=False)
    async with door(ready=ready, limits=Limits(ready_seconds=60)) as running:
        waiting = [asyncio.create_task(running.admit(GIVEN)) for _ in range(3)]
        for _ in waiting:
            await asyncio.wait_for(ready.wanted.acquire(), 5)
        assert not any(each.done() for each in waiting)
        ready.known.set()
        assert [(await each).obj for each in waiting] == [WANTED] * 3
        asked = ready.asked
        assert await running.is_well()
        assert ready.asked == asked
        assert running.counted() == ({"resolved": 4}, 4)


NOBODYS = {
    "no name": workload("Deployment", {"web": "r.io/x:1", "proxy": RUBY}),
    "another kind": {**GIVEN, "kind": "Unknown"},
    "owned": {**GIVEN, "metadata": {"ownerReferences": [{"controller": True}]}},
    "unreadable": {**GIVEN, "spec": 1},
    "no containers": {**GIVEN, "spec": {}},
}


@pytest.mark.parametrize("obj", NOBODYS.values(), ids=NOBODYS)
async def test_what_names_no_stream_waits_for_none(obj: Object) -> None:
    ready = Ready(known=False)
    async with door(ready=ready, limits=Limits(ready_seconds=60)) as running:
        assert await running.admit(obj) == Reviewed(obj, (), ())
        assert await running.admit(GIVEN, GIVEN) == Reviewed(GIVEN, (), ())
        assert await running.admit(None, obj, operation="DELETE") == Reviewed(None, (), ())
    assert ready.asked == 0


async def test_a_review_that_waited_in_vain_is_503_and_a_later_one_is_answered() -> None:
    ready = Ready(known=False)
    with capture_logs() as logs:
        async with door(ready=ready, limits=Limits(ready_seconds=0.05)) as running:
            for _ in range(2):
                status, answer, headers = await running.send()
                assert (status, headers["Retry-After"]) == (503, "1")
                assert answer == b"starting up, not all streams are known yet\n"
            assert running.counted() == ({}, 0)
            ready.known.set()
            assert await running.is_well()
    assert told(logs) == [503]


# What one may cost


async def test_one_address_holds_only_so_many_connections_and_its_neighbour_as_many() -> None:
    ask = HEAD + f"Content-Length: {len(GOOD)}\r\nConnection: close\r\n\r\n".encode() + GOOD
    async with door(limits=Limits(connections_per_source=1)) as running:
        held, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(ask.replace(b"Connection: close\r\n", b""))
        assert (await next_answer(held))[0] == 200
        assert await running.raw(ask) == b""
        assert (await running.raw(ask, source="127.0.0.2")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        async with asyncio.timeout(5):
            while not (await running.raw(ask)).startswith(b"HTTP/1.1 200 "):
                pass


async def test_only_so_much_of_large_bodies_is_held_at_once_and_all_of_it_is_let_go() -> None:
    body = GOOD.ljust(400_000)
    head = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode()
    async with door(limits=Limits(bodies=1_000_000)) as running:
        for _ in range(2):
            held = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(4)]
            for _, writer in held:
                writer.write(head + body[:300_000])
            answers = {asyncio.create_task(next_answer(reader)): writer for reader, writer in held}
            [first], _ = await asyncio.wait(answers, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            status, headers, text = await first
            assert (status, headers["retry-after"], text) == (503, "1", b"too many large reviews at once\n")
            assert await running.is_well()  # what comes along with its headers costs nothing
            for answer, writer in answers.items():
                if answer is not first:
                    writer.write(body[300_000:])
            assert sorted([(await answer)[0] for answer in answers]) == [200, 200, 200, 503]
            for _, writer in held:
                writer.close()


# As it closes


async def test_a_door_that_closes_answers_on_and_ends_each_connection_with_its_answer() -> None:
    ready = Ready(known=False)
    async with door(ready=ready, limits=Limits(ready_seconds=60)) as running:
        held = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(3)]
        waiting, idle, wrong = held
        waiting[1].write(HEAD + f"Content-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD)
        await ready.wanted.acquire()
        for _, writer in (idle, wrong):
            writer.write(HEAD + f"Content-Length: {len(NO_NAME)}\r\n\r\n".encode() + NO_NAME)
        for reader, _ in (idle, wrong):
            status, headers, _ = await next_answer(reader)
            assert (status, headers.get("connection")) == (200, None)
        running.door.close()
        ready.known.set()
        idle[1].write(HEAD + f"Content-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD)
        wrong[1].write(HEAD + b"Content-Length: 1\r\n\r\n{")
        for (reader, writer), expected in zip(held, (200, 200, 400), strict=True):
            status, headers, body = await next_answer(reader)
            assert (status, headers["connection"]) == (expected, "close")
            assert await asyncio.wait_for(reader.read(), 5) == b""
            if status == 200:
                assert read_answer(body, GIVEN).obj == WANTED
            writer.close()
        assert await running.is_well()  # over a connection of its own


# How long it takes


class Wire(asyncio.Transport):
    """A connection without a network, for a clock that is stepped."""

    def __init__(self, connections: Connections) -> None:
        super().__init__({"peername": ("192.0.2.1", 4711)})
        self.answers = asyncio.StreamReader()
        self.closed = asyncio.Event()
        self._protocol = connections()
        self._protocol.connection_made(self)

    def send(self, data: bytes) -> None:
        self._protocol.data_received(data)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answers.feed_data(bytes(data))

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def close(self) -> None:
        if not self.is_closing():
            self.closed.set()
            self.answers.feed_eof()
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


def stepped(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        runner.run(scenario)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_review_is_answered_within_what_an_api_server_waits_for_it() -> None:
    async def scenario() -> None:
        ready = Ready(known=False)
        wire = Wire(make(Metrics(), ready=ready).connections())
        wire.send(HEAD + f"Content-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD)
        assert (await next_answer(wire.answers))[0] == 503
        assert now() == pytest.approx(1)
        asyncio.get_running_loop().call_later(0.9, ready.known.set)
        wire.send(HEAD + f"Content-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD)
        assert (await next_answer(wire.answers))[0] == 200
        assert now() == pytest.approx(1.9)

    stepped(scenario())


def test_who_tells_of_a_body_that_is_too_large_is_answered_before_it_comes() -> None:
    async def scenario() -> None:
        wire = Wire(make(Metrics()).connections())
        wire.send(HEAD + b"Content-Length: 1000000000000\r\n\r\n")
        assert (await next_answer(wire.answers))[0] == 413
        assert now() == 0
        await wire.closed.wait()
        assert now() < 5

    stepped(scenario())


def test_a_body_that_comes_too_slowly_is_408() -> None:
    async def scenario() -> None:
        wire = Wire(make(Metrics()).connections())
        wire.send(HEAD + b"Content-Length: 1000\r\n\r\n")
        for _ in range(4):
            wire.send(b" ")
            await asyncio.sleep(1)
        status, _, body = await next_answer(wire.answers)
        assert (status, body) == (408, b"the body did not arrive within 5 s\n")
        assert now() == pytest.approx(5)
        await wire.closed.wait()
        assert now() < 10

    stepped(scenario())


@pytest.mark.parametrize(("how", "body"), BROKEN.values(), ids=BROKEN)
def test_nor_is_one_that_breaks_off_later_than_its_headers(how: bytes, body: bytes) -> None:
    async def scenario() -> None:
        wire = Wire(make(Metrics()).connections())
        wire.send(HEAD + how)
        await asyncio.sleep(1)
        wire.send(body)
        await asyncio.sleep(1)
        wire.close()
        await asyncio.sleep(1)

    with capture_logs() as logs:
        stepped(scenario())
    assert errors(logs) == []
    [line] = logs
    assert line["status"] == 400
    assert line["reason"].startswith("the body broke off, or is not written as its headers say: ")


def test_a_connection_that_says_nothing_is_closed_sooner_than_one_that_api_servers_keep() -> None:
    async def scenario() -> None:
        connections = make(Metrics()).connections()
        silent, begun, kept = Wire(connections), Wire(connections), Wire(connections)
        begun.send(HEAD)
        kept.send(HEAD + f"Content-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD)
        assert (await next_answer(kept.answers))[0] == 200
        for wire in (silent, begun):
            await wire.closed.wait()
            assert now() == pytest.approx(5)
        await asyncio.sleep(91)
        kept.send(HEAD + f"Content-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD)
        assert (await next_answer(kept.answers))[0] == 200
        await kept.closed.wait()
        assert now() == pytest.approx(96 + 120, abs=1)

    stepped(scenario())


def test_what_is_refused_is_told_again_after_a_minute() -> None:
    async def scenario() -> None:
        wire = Wire(make(Metrics()).connections())
        for _ in range(150):
            wire.send(HEAD + b"Content-Length: 1\r\n\r\n{")
            assert (await next_answer(wire.answers))[0] == 400
            await asyncio.sleep(1)

    with capture_logs() as logs:
        stepped(scenario())
    assert told(logs) == [400] * 3
