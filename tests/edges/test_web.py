"""What comes over the wire, and what goes back: a real server, a real client, and a handler of the test's own."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from listener.core import authentication
from listener.core.events import LARGEST_BODY, Parsed, Remark
from listener.core.receipts import Arrival, Moved, Receipt
from listener.core.streams import StreamKey
from listener.edges.web import Address, Limits, Server, monitoring_app
from listener.errors import ClusterUnavailable
from tests.edges.doors import BEARER, DIGEST, ENVELOPE, HEAD, JSON, LOOPBACK, MOVED, SECRET, door


async def test_a_delivery_reaches_the_handler_and_its_answer_says_what_became_of_it() -> None:
    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        remark = Remark("pull shop/web", "only a push moves a tag")
        other = Moved(StreamKey("shop", "web"), "v1", DIGEST)
        return Receipt((MOVED,), (other,), (remark,), (Remark("push of x", "no"),), (Remark("push of y", "later"),))

    async with door(take, scheme=authentication.Bearer()) as team:
        status, body, headers = await team.post(headers={**JSON, **BEARER})
        [(parsed, arrival)] = team.taken
    assert status == 200
    assert headers["Content-Type"].startswith("application/json")
    assert [(p.repository, p.tag, p.digest) for p in parsed.pushes] == [("shop/web", "latest", DIGEST)]
    assert body == {
        "delivery": arrival.delivery_id,
        "outcome": "refused",
        "moved": [{"namespace": "shop", "stream": "web", "tag": "latest", "digest": DIGEST}],
        "unchanged": [{"namespace": "shop", "stream": "web", "tag": "v1", "digest": DIGEST}],
        "ignored": [{"what": "pull shop/web", "why": "only a push moves a tag"}],
        "refused": [{"what": "push of x", "why": "no"}],
        "unanswered": [{"what": "push of y", "why": "later"}],
    }
    assert team.meter.labels == [("team", "refused")]


INTERNAL = Remark("ImageStream shop/web", "namespace shop needs a pull secret", is_internal=True)
INWARD = [{"what": "ImageStream shop/web", "why": "namespace shop needs a pull secret"}]
OUTWARD = [{"what": "a push", "why": "not taken; our log says why"}]


@pytest.mark.parametrize("scheme", [None, authentication.Bearer()], ids=["open", "proven"])
async def test_an_open_door_tells_strangers_no_more_than_they_said(scheme: authentication.Scheme | None) -> None:
    said = Remark("push of shop/web:v1", "no tag: v 1")

    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        return Receipt((MOVED,), (MOVED,), (INTERNAL,), (INTERNAL, said), (INTERNAL,))

    with capture_logs() as logs:
        async with door(take, scheme=scheme) as team:
            _, body, _ = await team.post(headers={**JSON, **BEARER})
    tag = {"tag": "latest"} | ({"namespace": "shop", "stream": "web", "digest": DIGEST} if scheme else {})
    assert (body["moved"], body["unchanged"]) == ([tag], [tag])
    told = INWARD if scheme else OUTWARD
    assert (body["ignored"], body["unanswered"]) == (told, told)
    assert body["refused"] == [*told, {"what": "push of shop/web:v1", "why": "no tag: v 1"}]
    assert "needs a pull secret" in repr(logs)


@pytest.mark.parametrize("scheme", [None, authentication.Bearer()], ids=["open", "proven"])
async def test_nor_why_it_shall_come_again(scheme: authentication.Scheme | None) -> None:
    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        raise ClusterUnavailable("ImageStream shop/web was not stored")

    with capture_logs() as logs:
        async with door(take, scheme=scheme) as team:
            status, body, _ = await team.post(headers={**JSON, **BEARER})
    assert status == 503
    why = "ImageStream shop/web was not stored" if scheme else "our log says why"
    assert body["error"].endswith(why)
    assert "shop/web was not stored" in repr(logs)


@pytest.mark.parametrize(
    "body", [b"[" * 5000, b'{"a":' * 2000, b'"\xff"', b"\xff\xfe", b"", b"{}"], ids=lambda body: str(body[:6])
)
async def test_garbage_in_no_dialect_is_400(body: bytes) -> None:
    async with door() as team:
        status, answer, _ = await team.post(body)
    assert status == 400
    assert answer["error"].startswith("the body is ")


async def test_each_delivery_has_an_id_of_its_own_and_one_closing_line_with_counts() -> None:
    with capture_logs() as logs:
        async with door() as team:
            ids = {(await team.post())[1]["delivery"] for _ in range(2)}
    assert len(ids) == 2
    closing = [line for line in logs if line["event"] == "hook.answered"]
    assert [(line["outcome"], line["moved"], line["refused"]) for line in closing] == [("moved", 1, 0)] * 2


@pytest.mark.parametrize("dialect", [None, "distribution"], ids=["auto", "set"])
async def test_the_dialect_is_found_or_set(dialect: str | None) -> None:
    async with door(dialect=dialect) as team:
        assert (await team.post())[0] == 200


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


BASIC, HEADER = authentication.Basic("robot"), authentication.Header("x-token")


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        pytest.param(authentication.Bearer(), BEARER, id="bearer"),
        pytest.param(authentication.Bearer(), {"authorization": f"bearer {SECRET}"}, id="bearer in lower case"),
        pytest.param(BASIC, basic(f"robot:{SECRET}"), id="basic"),
        pytest.param(HEADER, {"X-Token": SECRET}, id="header"),
        pytest.param(authentication.Open(), {}, id="none"),
    ],
)
async def test_the_secret_opens(scheme: authentication.Scheme, headers: Mapping[str, str]) -> None:
    async with door(scheme=scheme) as team:
        assert (await team.post(headers={**JSON, **headers}))[0] == 200


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        pytest.param(authentication.Bearer(), {}, id="bearer missing"),
        pytest.param(authentication.Bearer(), {"Authorization": "Bearer wrong"}, id="bearer wrong"),
        pytest.param(authentication.Bearer(), {"Authorization": "Bearer"}, id="bearer without a token"),
        pytest.param(authentication.Bearer(), {"Authorization": SECRET}, id="bearer without the word"),
        pytest.param(authentication.Bearer(), {"Authorization": f"Bearer {SECRET}s"}, id="bearer longer"),
        pytest.param(authentication.Bearer(), {"Authorization": f"Bearer {SECRET[:-1]}"}, id="bearer shorter"),
        pytest.param(authentication.Bearer(), {"Authorization": "Bearer zébra"}, id="bearer not ASCII"),
        pytest.param(authentication.Bearer(), basic(f"robot:{SECRET}"), id="basic for bearer"),
        pytest.param(authentication.Bearer(), {"X-Token": SECRET}, id="header for bearer"),
        pytest.param(BASIC, {}, id="basic missing"),
        pytest.param(BASIC, basic("robot:wrong"), id="basic wrong password"),
        pytest.param(BASIC, basic(f"other:{SECRET}"), id="basic wrong name"),
        pytest.param(BASIC, {"Authorization": "Basic !!!"}, id="basic no base64"),
        pytest.param(BASIC, BEARER, id="bearer for basic"),
        pytest.param(HEADER, {}, id="header missing"),
        pytest.param(HEADER, {"X-Token": "wrong"}, id="header wrong"),
        pytest.param(HEADER, {"X-Token": ""}, id="header empty"),
        pytest.param(HEADER, BEARER, id="bearer for header"),
    ],
)
async def test_a_missing_or_wrong_secret_is_401_and_reaches_nobody(
    scheme: authentication.Scheme, headers: Mapping[str, str]
) -> None:
    async with door(scheme=scheme) as team:
        status, body, _ = await team.post(headers={**JSON, **headers})
    assert status == 401
    assert "secret of registry 'team'" in body["error"]
    assert team.taken == []
    assert team.meter.labels == [("team", "unauthenticated")]


async def test_who_has_no_secret_is_not_told_whether_the_body_was_any_good() -> None:
    async with door(scheme=authentication.Bearer()) as team:
        statuses = {(await team.post(body))[0] for body in (ENVELOPE, b"{", b"x" * (LARGEST_BODY + 1))}
    assert statuses == {401}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param(BEARER, 200, id="stored"),
        pytest.param({"Authorization": f"Bearer {SECRET}x"}, 401, id="wrong"),
        pytest.param({**BEARER, "X-Api-Key": SECRET}, 500, id="a bug of ours"),
    ],
)
async def test_no_secret_is_in_the_answer_or_the_log(headers: Mapping[str, str], status: int) -> None:
    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        if status == 500:
            raise ZeroDivisionError
        return Receipt()

    with capture_logs() as logs:
        async with door(take, scheme=authentication.Bearer()) as team:
            got, body, _ = await team.post(headers={**JSON, **headers})
    assert got == status
    assert SECRET not in json.dumps(body)
    assert logs
    assert SECRET not in repr(logs)


async def test_an_unknown_hook_is_404_and_its_name_becomes_no_label() -> None:
    with capture_logs() as logs:
        async with door() as team:
            for name in ("nobody", "Team", "a%2Fb", "x" * 3000, "%C3%A9%20x"):
                status, body, _ = await team.post(name=name)
                assert status == 404
                assert "`registries`" in body["error"]
    assert set(team.meter.labels) == {("unknown", "unknown")}
    assert "nobody" not in repr(logs)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_hook_is_posted_to(method: str) -> None:
    async with door() as team, team.client.request(method, f"{team.url}/hooks/team") as response:
        assert response.status == 405


async def chunks(size: int) -> AsyncIterator[bytes]:
    """A body whose length nobody is told."""
    while size > 0:
        yield b" " * min(size, 64 * 1024)
        size -= 64 * 1024


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(lambda: b" " * (LARGEST_BODY + 1), JSON, id="length told"),
        pytest.param(lambda: chunks(2 * LARGEST_BODY), JSON, id="chunked"),
        pytest.param(lambda: gzip.compress(b" " * 50 * LARGEST_BODY), {**JSON, "Content-Encoding": "gzip"}, id="bomb"),
    ],
)
async def test_a_body_that_is_too_large_is_413(body: Callable[[], Any], headers: Mapping[str, str]) -> None:
    async with door() as team:
        status, answer, _ = await team.post(body(), headers=headers)
        assert status == 413
        assert f"{LARGEST_BODY} bytes" in answer["error"]
        assert (await team.post())[0] == 200
    assert team.meter.labels == [("team", "too_large"), ("team", "moved")]


async def test_a_body_of_just_the_limit_is_read() -> None:
    async with door() as team:
        assert (await team.post(ENVELOPE + b" " * (LARGEST_BODY - len(ENVELOPE))))[0] == 200


@pytest.mark.parametrize(
    ("body", "dialect", "reason"),
    [
        pytest.param(b'{"events": [', "distribution", "no JSON", id="broken JSON"),
        pytest.param(b"", "distribution", "is empty", id="empty"),
        pytest.param(b"\xff\xfe\x00", "distribution", "no JSON", id="no text"),
        pytest.param(b"[" * 10_000, "distribution", "nested", id="deep"),
        pytest.param(b"[]", "distribution", "no object", id="a list"),
        pytest.param(b'{"events": 1}', "distribution", "events", id="no list of events"),
        pytest.param(b'{"hello": "world"}', None, "distribution", id="no dialect we know"),
        pytest.param(b"hello", None, "no JSON", id="no JSON, dialect to be found"),
    ],
)
async def test_a_body_that_cannot_be_read_is_400_with_the_reason(body: bytes, dialect: str | None, reason: str) -> None:
    async with door(dialect=dialect) as team:
        status, answer, _ = await team.post(body)
    assert status == 400
    assert reason in answer["error"]
    assert team.taken == []
    assert team.meter.labels == [("team", "malformed")]


@pytest.mark.parametrize(
    ("advice", "seconds"), [(None, "5"), (17.0, "17"), (0.2, "1")], ids=["none", "the server's", "less than a second"]
)
async def test_what_could_not_be_stored_is_503_with_retry_after(advice: float | None, seconds: str) -> None:
    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        raise ClusterUnavailable("PATCH x: no answer", retry_after_seconds=advice)

    async with door(take) as team:
        status, body, headers = await team.post()
    assert status == 503
    assert headers["Retry-After"] == seconds
    assert "deliver again" in body["error"]
    assert team.meter.labels == [("team", "unavailable")]


async def test_a_bug_of_ours_is_500_told_in_the_log_under_the_delivery_and_the_next_one_is_served() -> None:
    failing = [ZeroDivisionError("the reason")]

    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        while failing:
            raise failing.pop()
        return Receipt()

    with capture_logs() as logs:
        async with door(take) as team:
            status, body, _ = await team.post()
            assert (await team.post())[0] == 200
    assert status == 500
    assert "the reason" not in json.dumps(body)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["hook.bug"]
    assert team.meter.labels == [("team", "error"), ("team", "ignored")]


async def test_while_draining_new_ones_are_503_and_those_that_are_in_are_answered() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        entered.set()
        await go_on.wait()
        return Receipt(moved=(MOVED,))

    async with door(take) as team:
        await asyncio.wait_for(team.hooks.drained(), 5)
        first = asyncio.create_task(team.post())
        await entered.wait()
        team.hooks.close()
        status, body, headers = await team.post()
        assert (status, headers["Retry-After"]) == (503, "5")
        assert "shutting down" in body["error"]
        drained = asyncio.create_task(team.hooks.drained())
        await asyncio.sleep(0)
        assert not drained.done()
        go_on.set()
        assert (await first)[0] == 200
        await asyncio.wait_for(drained, 5)
    assert sorted(team.meter.labels) == [("team", "moved"), ("team", "unavailable")]


async def test_a_sender_who_hangs_up_does_not_stop_what_was_begun() -> None:
    entered, go_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        entered.set()
        await go_on.wait()
        finished.set()
        return Receipt()

    async with door(take) as team:
        leaving = asyncio.create_task(team.post())
        await entered.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
        await team.client.close()
        go_on.set()
        await asyncio.wait_for(finished.wait(), 5)
        await asyncio.wait_for(team.hooks.drained(), 5)


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(HEAD + b'Content-Length: 100\r\n\r\n{"events"', id="cut"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}  \r\nZZ\r\n", id="broken chunk"),
        pytest.param(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", id="no gzip"),
    ],
)
async def test_a_body_that_does_not_arrive_whole_is_no_bug_of_ours(request_bytes: bytes) -> None:
    with capture_logs() as logs:
        async with door() as team:
            await asyncio.wait_for(team.raw(request_bytes), 5)
            await asyncio.wait_for(team.hooks.drained(), 5)
            assert (await team.post())[0] == 200
    assert [line for line in logs if line["log_level"] in ("error", "critical")] == []
    assert len(team.taken) == 1


async def test_a_body_that_comes_too_slowly_is_408_and_holds_nothing_up() -> None:
    async with door(limits=Limits(body_seconds=0.2)) as team:
        head = HEAD + b'Content-Length: 100\r\n\r\n{"ev'
        answer = await asyncio.wait_for(team.raw(head, then_hang_up=False), 5)
        await asyncio.wait_for(team.hooks.drained(), 5)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert team.taken == []
    assert team.meter.labels == [("team", "incomplete")]


@dataclass
class Complaints:
    """A health that says what it is told to."""

    alive: list[str] = field(default_factory=list)
    ready: list[str] = field(default_factory=list)

    def not_alive(self) -> list[str]:
        return self.alive

    def not_ready(self) -> list[str]:
        return self.ready


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        pytest.param(Complaints(), {"livez": 200, "readyz": 200, "healthz": 200}, id="well"),
        pytest.param(Complaints(ready=["not synced"]), {"livez": 200, "readyz": 503, "healthz": 503}, id="not ready"),
        pytest.param(Complaints(alive=["hung"]), {"livez": 503, "readyz": 200, "healthz": 503}, id="hung"),
    ],
)
async def test_probes_answer_503_with_every_complaint(health: Complaints, expected: Mapping[str, int]) -> None:
    server = Server(
        monitoring_app(health, lambda names: f"{'_'.join(names) or 'all'} 1\n".encode(), "text/plain; version=0.0.4")
    )
    port = await server.start(LOOPBACK)
    found: MutableMapping[str, int] = {}
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            for path in expected:
                async with client.get(f"/{path}") as response:
                    found[path] = response.status
                    text = await response.text()
                complaints = {"livez": health.alive, "readyz": health.ready}.get(path, health.alive + health.ready)
                assert text.split("\n")[:-1] == (complaints or ["ok"])
            async with client.get("/metrics") as response:
                assert response.headers["Content-Type"] == "text/plain; version=0.0.4"
                assert await response.text() == "all 1\n"
            async with client.get("/metrics", params=[("name[]", "a"), ("name[]", "metric")]) as response:
                assert await response.text() == "a_metric 1\n"
    finally:
        await server.close()
    assert found == expected


async def test_an_address_that_is_taken_is_an_os_error() -> None:
    async with door() as team:
        second = Server(team.hooks.connections())
        with pytest.raises(OSError, match="in use"):
            await second.start(Address("127.0.0.1", team.port))
        await second.close()
