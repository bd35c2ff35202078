"""What a stranger can do at a hook's door, and what it cannot: real sockets, and no more patience than was given."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import json
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from listener.core import authentication
from listener.core.events import LARGEST_BODY, LARGEST_PROVEN_BODY, UNREAD, Delivery, Parsed, Remark
from listener.core.receipts import Arrival, Receipt
from listener.dialects import DIALECTS, Dialect
from listener.edges.web import Limits
from listener.edges.web.bodies import decompressed
from listener.edges.web.limits import QuietLog, RefusalLog, Refused, Sources
from listener.errors import SignerUnavailable, TooLarge, Unauthenticated
from tests.edges.doors import BEARER, ENVELOPE, HEAD, JSON, MOVED, SECRET, Door, door

WRONG = {**JSON, "Authorization": "Bearer wrong"}
RIGHT = {**JSON, **BEARER}
SIGNED = authentication.Signature("x-signature", "sha256", "sha256=")
SHORT = Limits(refused_burst=3, refused_per_second=0.001)


def signature(body: bytes) -> dict[str, str]:
    return {**JSON, "X-Signature": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}


# Connections


async def test_a_connection_that_does_not_end_its_headers_is_closed() -> None:
    async with door(limits=Limits(head_seconds=0.2)) as team:
        for beginning in (b"", b"POST /hooks/te", HEAD):
            assert await asyncio.wait_for(team.raw(beginning, then_hang_up=False), 5) == b""
        assert (await team.post())[0] == 200


async def test_nor_may_a_further_request_take_for_ever_to_begin() -> None:
    async with door(limits=Limits(idle_seconds=0.2)) as team:
        reader, writer = await asyncio.open_connection("127.0.0.1", team.port)
        writer.write(HEAD + f"Content-Length: {len(ENVELOPE)}\r\n\r\n".encode() + ENVELOPE + HEAD)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_one_address_holds_only_so_many_connections_and_gets_its_place_back() -> None:
    async with door(limits=Limits(connections_per_source=2)) as team:
        held = [await asyncio.open_connection("127.0.0.1", team.port) for _ in range(2)]
        assert await asyncio.wait_for(_answer(team, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 5) == b""
        for _, writer in held:
            writer.close()
            await writer.wait_closed()

        async def let_in() -> None:
            answer = b""
            while not answer.startswith(b"HTTP/1.1 404 "):
                answer = await _answer(team, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

        await asyncio.wait_for(let_in(), 5)


async def test_a_proxy_holds_the_connections_of_many() -> None:
    async with door(limits=Limits(connections_per_source=1), proxies=["127.0.0.0/8"]) as team:
        held = [await asyncio.open_connection("127.0.0.1", team.port) for _ in range(3)]
        assert (await team.post())[0] == 200
        for _, writer in held:
            writer.close()


async def _answer(team: Door, request: bytes) -> bytes:
    try:
        return await team.raw(request, then_hang_up=False)
    except ConnectionError:
        return b""


# What is no HTTP

NO_HTTP = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00 zebra-crossing\r\n\r\n",
    "too many headers": HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(100)) + b"\r\n",
    "a long header": HEAD + b"X-Long: " + b"zebra-crossing" * 1000 + b"\r\n\r\n",
    "a long path": b"POST /hooks/" + b"zebra-crossing" * 1000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no length": HEAD + b"Content-Length: -5\r\n\r\nhello",
    "a broken header": HEAD + b"Authorization Bearer zebra-crossing\r\n\r\n",
    "a header over two lines": HEAD + b"Authorization: Bearer\r\n zebra-crossing\r\n\r\n",
    "no host": b"POST /hooks/team HTTP/1.1\r\nAuthorization: Bearer zebra-crossing\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", NO_HTTP.values(), ids=NO_HTTP)
async def test_what_is_no_http_is_400_counted_and_no_piece_of_it_is_logged(request_bytes: bytes) -> None:
    with capture_logs() as logs:
        async with door() as team:
            answer = await asyncio.wait_for(team.raw(request_bytes, then_hang_up=False), 5)
            assert (await team.post())[0] == 200
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert ("unknown", "malformed") in team.meter.labels
    assert [line["event"] for line in logs] == ["hook.refused", "hook.answered"]
    assert SECRET not in repr(logs)


# Bodies


async def test_a_trickle_is_cut_off_long_before_a_body_that_goes_on() -> None:
    limits = Limits(body_seconds=30, body_grace_seconds=0.3, body_bytes_per_second=1000)
    async with door(limits=limits) as team:
        reader, writer = await asyncio.open_connection("127.0.0.1", team.port)
        writer.write(HEAD + b"Content-Length: 10000\r\n\r\n")
        trickle = asyncio.create_task(_trickle(writer))
        answer = await asyncio.wait_for(reader.read(4096), 5)
        trickle.cancel()
        await asyncio.wait([trickle])
        writer.close()

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(8):
                yield b" " * 1000
                await asyncio.sleep(0.1)
            yield ENVELOPE

        assert (await team.post(pieces()))[0] == 200
    assert answer.startswith(b"HTTP/1.1 408 ")


async def _trickle(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b" ")
        await asyncio.sleep(0.05)


def _deflated(body: bytes) -> bytes:
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return raw.compress(body) + raw.flush()


PACKED = gzip.compress(ENVELOPE)


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        pytest.param("gzip", PACKED, 200, id="gzip"),
        pytest.param("X-GZip", PACKED, 200, id="gzip's old name"),
        pytest.param("identity", ENVELOPE, 200, id="identity"),
        pytest.param("deflate", zlib.compress(ENVELOPE), 200, id="deflate"),
        pytest.param("deflate", _deflated(ENVELOPE), 200, id="deflate without its frame"),
        pytest.param("br", b"x", 415, id="brotli"),
        pytest.param("gzip, gzip", gzip.compress(PACKED), 415, id="twice"),
        pytest.param("gzip", ENVELOPE, 400, id="not compressed"),
        pytest.param("gzip", PACKED[:-4], 400, id="cut"),
        pytest.param("gzip", PACKED + PACKED, 400, id="two in one"),
        pytest.param("gzip", b"", 400, id="empty"),
        pytest.param("deflate", zlib.compress(b" " * 20_000_000), 413, id="bomb"),
    ],
)
async def test_a_compressed_body_is_read_within_the_same_size(encoding: str, body: bytes, status: int) -> None:
    async with door() as team:
        assert (await team.post(body, headers={**JSON, "Content-Encoding": encoding}))[0] == status


def test_a_bomb_is_not_unpacked_to_see_how_large_it_is() -> None:
    bomb = gzip.compress(b" " * 100 * LARGEST_BODY)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decompressed(bomb, "gzip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * LARGEST_BODY


async def test_a_signature_is_over_the_body_as_it_came_and_nothing_is_unpacked_without_it() -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    packed = {"Content-Encoding": "gzip"}
    async with door(scheme=SIGNED) as team:
        assert (await team.post(PACKED, headers={**signature(PACKED), **packed}))[0] == 200
        assert (await team.post(PACKED, headers={**signature(ENVELOPE), **packed}))[0] == 401
        assert (await team.post(bomb, headers={**signature(ENVELOPE), **packed}))[0] == 401
        assert (await team.post(bomb, headers={**signature(bomb), **packed}))[0] == 413


async def test_who_asks_before_it_sends_its_body_is_asked_for_it_only_with_the_secret() -> None:
    head = HEAD + f"Expect: 100-continue\r\nContent-Length: {len(ENVELOPE)}\r\n".encode()
    async with door(scheme=authentication.Bearer()) as team:
        refused = await team.raw(head + b"Authorization: Bearer wrong\r\n\r\n", then_hang_up=False)
        assert refused.startswith(b"HTTP/1.1 401 ")
        reader, writer = await asyncio.open_connection("127.0.0.1", team.port)
        writer.write(head + f"Authorization: Bearer {SECRET}\r\n\r\n".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(ENVELOPE)
        assert (await reader.read(4096)).startswith(b"HTTP/1.1 200 ")
        writer.close()


# Secrets

TWICE = HEAD + f"Content-Length: {len(ENVELOPE)}\r\n".encode()


@pytest.mark.parametrize(
    ("scheme", "request_bytes"),
    [
        pytest.param(
            authentication.Bearer(),
            TWICE + f"Authorization: Bearer {SECRET}\r\nAuthorization: Bearer {SECRET}\r\n\r\n".encode() + ENVELOPE,
            id="bearer",
        ),
        pytest.param(
            authentication.Header("x-token"),
            TWICE + f"X-Token: {SECRET}\r\nx-token: {SECRET}\r\n\r\n".encode() + ENVELOPE,
            id="header",
        ),
        pytest.param(
            SIGNED,
            TWICE
            + b"".join(b"X-Signature: %s\r\n" % signature(ENVELOPE)["X-Signature"].encode() for _ in range(2))
            + b"\r\n"
            + ENVELOPE,
            id="signature",
        ),
        pytest.param(
            authentication.Query("secret"),
            TWICE.replace(b"/team", f"/team?secret={SECRET}&secret={SECRET}".encode()) + b"\r\n" + ENVELOPE,
            id="query",
        ),
    ],
)
async def test_a_secret_that_is_sent_twice_fits_nobody(scheme: authentication.Scheme, request_bytes: bytes) -> None:
    async with door(scheme=scheme) as team:
        assert (await team.raw(request_bytes, then_hang_up=False)).startswith(b"HTTP/1.1 401 ")
        once = request_bytes.replace(b"&secret=" + SECRET.encode(), b"")
        for line in (f"Authorization: Bearer {SECRET}\r\n", f"X-Token: {SECRET}\r\n"):
            once = once.replace(line.encode(), b"", 1) if once.count(SECRET.encode()) > 1 else once
        if scheme != SIGNED:
            assert (await team.raw(once, then_hang_up=False)).startswith(b"HTTP/1.1 200 ")


# Limits


async def test_who_is_refused_too_often_is_429_but_the_right_secret_passes_all_the_same() -> None:
    async with door(scheme=authentication.Bearer(), limits=SHORT) as team:
        assert [(await team.post(headers=WRONG))[0] for _ in range(5)] == [401, 401, 401, 429, 429]
        _, answer, headers = await team.post(headers=WRONG)
        assert int(headers["Retry-After"]) >= 1
        assert "refused" in answer["error"]
        assert (await team.post(headers=RIGHT))[0] == 200
        assert (await team.post(b"{", headers=RIGHT))[0] == 400
        assert (await team.post(headers=WRONG, name="other"))[0] == 401
    assert team.meter.labels.count(("team", "limited")) == 3


async def test_where_the_secret_needs_the_body_429_comes_before_the_body_is_read() -> None:
    async with door(scheme=SIGNED, limits=SHORT) as team:
        assert [(await team.post(headers=WRONG))[0] for _ in range(4)] == [401, 401, 401, 429]
        head = HEAD + b"Content-Length: 100\r\n\r\n"
        assert (await asyncio.wait_for(team.raw(head, then_hang_up=False), 5)).startswith(b"HTTP/1.1 429 ")
        assert (await team.post(headers=signature(ENVELOPE)))[0] == 429
        assert (await team.post(headers=signature(ENVELOPE), name="other"))[0] == 200


async def test_an_open_hook_proves_nothing_so_its_garbage_is_limited_before_it_is_read() -> None:
    async with door(limits=SHORT) as team:
        assert [(await team.post(b"{"))[0] for _ in range(4)] == [400, 400, 400, 429]
        assert (await team.post(name="other"))[0] == 200


async def test_those_who_try_names_are_limited_too_and_only_there() -> None:
    async with door(limits=SHORT) as team:
        assert [(await team.post(name=f"n{number}"))[0] for number in range(4)] == [404, 404, 404, 429]
        assert (await team.post())[0] == 200


async def test_one_hook_has_only_so_many_deliveries_under_way_and_the_others_pass() -> None:
    go_on, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        entered.release()
        await go_on.wait()
        return Receipt()

    limits = Limits(deliveries=3, deliveries_per_hook=2, deliveries_reserved=1)
    async with door(take, scheme=authentication.Bearer(), limits=limits) as team:
        first = [asyncio.create_task(team.post(headers=RIGHT)) for _ in range(2)]
        for _ in first:
            await entered.acquire()
        status, answer, headers = await team.post(headers=RIGHT)
        assert (status, headers["Retry-After"]) == (429, "2")
        assert "2 deliveries" in answer["error"]
        other = asyncio.create_task(team.post(headers=RIGHT, name="other"))
        await entered.acquire()
        assert (await team.post(headers=RIGHT, name="other"))[0] == 429  # three in all
        go_on.set()
        assert [(await done)[0] for done in (*first, other)] == [200] * 3
        assert (await team.post(headers=RIGHT))[0] == 200


async def test_each_hook_has_some_places_whatever_those_of_others_take() -> None:
    """A registry that does not answer keeps the deliveries of its hook waiting, and a stranger may send many."""
    go_on, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        entered.release()
        await go_on.wait()
        return Receipt()

    async with door(take, limits=Limits(deliveries=3, deliveries_per_hook=3, deliveries_reserved=2)) as team:
        under_way = [asyncio.create_task(team.post()) for _ in range(3)]
        for _ in under_way:
            await entered.acquire()
        under_way += [asyncio.create_task(team.post(name="other")) for _ in range(2)]
        async with asyncio.timeout(5):
            for _ in range(2):
                await entered.acquire()
        assert (await team.post())[0] == 429
        assert (await team.post(name="other"))[0] == 429
        go_on.set()
        assert [(await done)[0] for done in under_way] == [200] * 5


MANY_LISTS = b'{"repository": "a/b", "x": [' + b"[]," * 340_000 + b"[]]}"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (MANY_LISTS, JSON),
        (gzip.compress(MANY_LISTS), {**JSON, "Content-Encoding": "gzip"}),
        (MANY_LISTS[:-2] + b",NaN]}", JSON),
        (b'{"repository": "a/b", "x": ["' + b'[","' * 250_000 + b'"]}', JSON),
        (b'{"repository": "a/b", "x": "' + b'[\\"' * 330_000, JSON),
        (b'{"repository": "a/b", "x": [' + b"0," * 500_000 + b"0]}", JSON),
        (b'{"repository": "a/b", "x": {' + b",".join(b'"%d":0' % n for n in range(80_000)) + b"}}", JSON),
    ],
    ids=["lists", "compressed lists", "lists and no number", "texts", "no end", "numbers", "members"],
)
@pytest.mark.parametrize("dialect", [None, "quay", "harbor"])
async def test_a_strangers_megabyte_is_read_once_and_does_not_hold_up_the_rest(
    body: bytes, headers: Mapping[str, str], dialect: str | None
) -> None:
    """Each of a dozen dialects that looked for itself made it six seconds, in which nothing else was answered."""
    async with door(dialect=dialect) as team:
        await team.post()
        began = time.process_time()
        await team.post(body, headers=headers)
        assert time.process_time() - began < 0.5


async def test_what_was_read_of_a_body_is_let_go_before_its_registry_is_waited_for() -> None:
    """What a megabyte is read as may be ten, and many may wait at once."""
    read: list[Delivery] = []
    kept: list[object] = []

    def parse(delivery: Delivery) -> Parsed:
        read.append(delivery)
        return DIALECTS["distribution"].parse(delivery)

    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        kept.extend(delivery.document for delivery in read)
        return Receipt()

    async with door(take, dialect=Dialect("wrapped", "Wrapped", lambda _: False, parse)) as team:
        assert (await team.post())[0] == 200
    assert kept == [UNREAD]


@pytest.mark.parametrize(
    "agent",
    ["[" * 30_000, '["' * 30_000, "{\\" * 30_000, '\\"[' * 300_000],
    ids=["brackets", "and quotes", "and escapes", "a large body"],
)
async def test_a_text_may_hold_as_many_brackets_as_it_likes(agent: str) -> None:
    """It may be a pusher's User-Agent, and what is refused distribution repeats for ever, and sends nothing else."""
    event = json.loads(ENVELOPE)
    event["events"][0]["request"]["useragent"] = agent
    async with door(scheme=authentication.Bearer()) as team:
        assert (await team.post(json.dumps(event).encode(), headers=RIGHT))[0] == 200


async def test_a_large_body_is_read_of_who_proved_itself_before_it() -> None:
    """distribution would repeat it for ever: its event holds the pusher's User-Agent, of up to a million characters."""
    event = json.loads(ENVELOPE)
    event["events"][0]["request"]["useragent"] = "<" * 1_000_000
    body = json.dumps(event).replace("<", "\\u003c").encode()
    assert len(body) > 6_000_000
    for scheme, headers, status in (
        (authentication.Bearer(), RIGHT, 200),
        (authentication.Bearer(), {**RIGHT, "Authorization": "Bearer wrong"}, 401),
        (SIGNED, signature(body), 413),
        (None, JSON, 413),
    ):
        async with door(scheme=scheme) as team:
            assert (await team.post(body, headers=headers))[0] == status
            assert len(team.taken) == (status == 200)


async def test_beyond_its_limit_a_body_is_413_and_the_log_names_the_registry_and_what_to_do() -> None:
    with capture_logs(processors=[merge_contextvars]) as logs:
        async with door(scheme=authentication.Bearer()) as team:
            status, answer, _ = await team.post(b" " * (LARGEST_PROVEN_BODY + 1), headers=RIGHT)
            assert (status, team.meter.labels) == (413, [("team", "too_large")])
    assert f"{LARGEST_PROVEN_BODY} bytes" in answer["error"]
    [line] = [line for line in logs if line["event"] == "hook.refused"]
    assert line["registry"] == "team"
    assert "sends nothing else until it is restarted" in line["reason"]


async def test_a_body_that_says_to_be_too_large_is_not_waited_for() -> None:
    async with door() as team:
        reader, writer = await asyncio.open_connection("127.0.0.1", team.port)
        writer.write(HEAD + f"Content-Length: {LARGEST_BODY + 1}\r\n\r\n".encode())
        assert (await asyncio.wait_for(reader.readline(), 3)).startswith(b"HTTP/1.1 413 ")
        writer.close()


async def test_only_so_many_large_bodies_are_read_at_once() -> None:
    large = ENVELOPE + b" " * LARGEST_BODY
    head = HEAD + f"Authorization: Bearer {SECRET}\r\nContent-Length: {len(large)}\r\n".encode()
    async with door(scheme=authentication.Bearer(), limits=Limits(large_bodies=1)) as team:
        assert [(await team.post(large, headers=RIGHT))[0] for _ in range(2)] == [200, 200]
        async with _reading(team, head, 1):
            status, answer, headers = await team.post(large, headers=RIGHT)
            assert (status, headers["Retry-After"]) == (429, "2")
            assert f"1 bodies of more than {LARGEST_BODY} bytes" in answer["error"]
            assert (await team.post(headers=RIGHT))[0] == 200


async def test_only_so_many_bodies_are_read_of_whom_nobody_knows() -> None:
    limits = Limits(readers_per_hook=3, readers_per_source=2)
    head = HEAD + b"Content-Length: 100\r\n"
    async with door(scheme=SIGNED, limits=limits, proxies=["127.0.0.1/32"]) as team, _reading(team, head, 2):
        assert (await asyncio.wait_for(team.raw(head + b"\r\n", then_hang_up=False), 5)).startswith(b"HTTP/1.1 429 ")
        forwarded = {**signature(ENVELOPE), "X-Forwarded-For": "192.0.2.7"}
        assert (await team.post(headers=forwarded))[0] == 200
        async with _reading(team, head.replace(b"\r\n", b"\r\nX-Forwarded-For: 192.0.2.8\r\n", 1), 1):
            slow = head + b"X-Forwarded-For: 192.0.2.9\r\n\r\n"
            assert (await asyncio.wait_for(team.raw(slow, then_hang_up=False), 5)).startswith(b"HTTP/1.1 429 ")
            # Neither who comes with its body at once has to wait for a place, nor who comes to another hook.
            assert (await team.raw(_at_once(), then_hang_up=False)).startswith(b"HTTP/1.1 200 ")
            assert (await team.post(headers=forwarded, name="other"))[0] == 200


def _at_once() -> bytes:
    signed = "".join(f"{name}: {value}\r\n" for name, value in signature(ENVELOPE).items() if name != "Content-Type")
    return HEAD + f"{signed}Content-Length: {len(ENVELOPE)}\r\n\r\n".encode() + ENVELOPE


async def test_what_strangers_say_and_nobody_confirms_is_counted_as_refused() -> None:
    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        return Receipt(refused=(Remark("push of x", "the registry does not have it"),))

    async with door(take, limits=SHORT) as team:
        assert [(await team.post())[0] for _ in range(5)] == [200, 200, 200, 429, 429]


@asynccontextmanager
async def _reading(team: Door, head: bytes, count: int) -> AsyncIterator[None]:
    """Hold places: requests whose bodies were asked for, and do not come."""
    held = [await asyncio.open_connection("127.0.0.1", team.port) for _ in range(count)]
    for reader, writer in held:
        writer.write(head + b"Expect: 100-continue\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    yield
    for _, writer in held:
        writer.close()


async def test_what_cannot_be_told_to_be_signed_is_counted_as_refused() -> None:
    """An invented message costs a look-up that may fail; a right one is let in as soon as it is known."""

    class Unsure:
        needs_body = True
        is_sure = False

        async def admit(self, delivery: Delivery) -> None:
            assert delivery.source == "127.0.0.1"
            if not self.is_sure:
                raise SignerUnavailable("its certificate cannot be had")

    gate = Unsure()
    async with door(gate=gate, limits=SHORT) as team:
        assert [(await team.post())[0] for _ in range(4)] == [503, 503, 503, 429]
    async with door(gate=gate, limits=SHORT) as team:
        assert (await team.post())[0] == 503
        gate.is_sure = True
        assert [(await team.post())[0] for _ in range(9)] == [200] * 9


async def test_behind_a_proxy_each_client_has_its_own_limit_and_nobody_else_is_believed() -> None:
    async def refused(team: Door, client: str) -> list[int]:
        headers = {**WRONG, "X-Forwarded-For": client}
        return [(await team.post(headers=headers))[0] for _ in range(4)]

    async with door(scheme=authentication.Bearer(), limits=SHORT, proxies=["127.0.0.0/8"]) as team:
        assert await refused(team, "192.0.2.1") == [401, 401, 401, 429]
        assert await refused(team, "192.0.2.2") == [401, 401, 401, 429]
        assert await refused(team, "192.0.2.3, 192.0.2.1") == [429] * 4
    async with door(scheme=authentication.Bearer(), limits=SHORT) as team:
        assert await refused(team, "192.0.2.1") == [401, 401, 401, 429]
        assert await refused(team, "192.0.2.2") == [429] * 4


@pytest.mark.parametrize(
    ("peer", "forwarded", "source"),
    [
        pytest.param("192.0.2.1", "", "192.0.2.1", id="no proxy"),
        pytest.param("192.0.2.1", "198.51.100.1", "192.0.2.1", id="no proxy that says so"),
        pytest.param("10.0.0.1", "", "10.0.0.1", id="a proxy for itself"),
        pytest.param("10.0.0.1", "198.51.100.1", "198.51.100.1", id="a proxy for a client"),
        pytest.param("10.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1", id="what the client wrote itself"),
        pytest.param("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1", id="two proxies"),
        pytest.param("10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3", id="proxies all the way"),
        pytest.param("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1", id="nonsense"),
        pytest.param("10.0.0.1", "198.51.100.1:4711", "198.51.100.1", id="with a port"),
        pytest.param("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::/64", id="IPv6 with a port"),
        pytest.param("10.0.0.1", "2001:db8::2", "2001:db8::/64", id="IPv6 by its network"),
        pytest.param("2001:db8:0:1:2:3:4:5", "", "2001:db8:0:1::/64", id="IPv6 peer"),
        pytest.param("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1", id="IPv4 in IPv6"),
        pytest.param("", "", "unknown", id="no address"),
    ],
)
def test_the_source_is_the_last_address_that_is_no_proxys(peer: str, forwarded: str, source: str) -> None:
    assert Sources([ip_network("10.0.0.0/8")]).of(peer, forwarded) == source


def test_what_was_spent_comes_back_with_time_and_never_more() -> None:
    now = 0.0
    refused = Refused(Limits(refused_burst=2, refused_per_second=0.5), lambda: now)
    assert [refused.spend("a", "team") for _ in range(3)] == [True, True, False]
    assert refused.is_out("a", "team")
    assert not refused.is_out("b", "team")
    assert not refused.is_out("a", "other")
    now = 2.0
    assert [refused.spend("a", "team") for _ in range(2)] == [True, False]
    now = 1000.0
    assert [refused.spend("a", "team") for _ in range(3)] == [True, True, False]


def test_sources_that_were_not_seen_for_long_are_forgotten() -> None:
    refused = Refused(Limits(refused_burst=1), lambda: 0.0)
    assert refused.spend("first", "team")
    assert refused.is_out("first", "team")
    for number in range(10_000):
        refused.spend(f"s{number}", "team")
    assert not refused.is_out("first", "team")


# The log


async def test_a_flood_of_refusals_is_one_line_and_a_count() -> None:
    with capture_logs() as logs:
        async with door(scheme=authentication.Bearer(), limits=Limits(refused_burst=10)) as team:
            for _ in range(30):
                await team.post(headers=WRONG)
            await team.post(b"{", headers=RIGHT)
    logs = [line for line in logs if line["event"].startswith("hook.")]
    lines = [(line["event"], line.get("status")) for line in logs]
    assert lines == [("hook.refused", 401), ("hook.deferred", 429), ("hook.refused", 400), ("hook.more_refused", None)]
    assert logs[0]["source"] == "127.0.0.1"
    assert logs[-1]["requests"] == 28
    assert set(logs[-1]["by_outcome"]) == {"team unauthenticated", "team limited"}


async def test_many_sources_fill_the_log_as_little_as_one() -> None:
    refusals = RefusalLog(asyncio.get_running_loop().time)
    with capture_logs() as logs:
        for number in range(1000):
            refusals.note("hook.refused", f"192.0.2.{number}", "team", "unauthenticated")
        refusals.flush()
    assert len(logs) < 50
    assert logs[-1]["requests"] + len(logs) - 1 == 1000


async def test_a_delivery_of_many_refused_pushes_fills_neither_log_nor_answer() -> None:
    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        return Receipt(refused=tuple(Remark(f"push {number}", "no") for number in range(5000)))

    with capture_logs() as logs:
        async with door(take) as team:
            _, answer, _ = await team.post()
    assert len(logs) < 20
    assert len(answer["refused"]) == 101
    assert answer["refused"][-1]["what"] == "4900 more"
    assert [line["refused"] for line in logs if line["event"] == "hook.answered"] == [5000]


PULL = json.dumps({"events": [{"action": "pull", "target": {"repository": "shop/web"}}]}).encode()


async def test_what_brings_no_news_is_some_lines_and_a_count() -> None:
    """Where a registry tells of each pull there are thousands for each push: the pushes must be found among them."""

    async def take(parsed: Parsed, _arrival: Arrival) -> Receipt:
        return Receipt(unchanged=(MOVED,)) if parsed.pushes else Receipt(ignored=parsed.ignored)

    with capture_logs() as logs:
        async with door(take, dialect="distribution") as team:
            for _ in range(103):
                await team.post(PULL)
            for _ in range(102):
                await team.post()
            await team.post(PULL, name="other")
            team.hooks.close()
    lines = [line for line in logs if line["event"].startswith("hook.")]
    assert [line["event"] for line in lines] == ["hook.answered"] * 201 + ["hook.more_answered"]
    assert lines[-1]["requests"] == 5
    assert lines[-1]["by_outcome"] == {"team ignored": 3, "team unchanged": 2}


@pytest.mark.parametrize(
    ("receipt", "outcome"),
    [
        (Receipt(moved=(MOVED,), unchanged=(MOVED,)), "moved"),
        (Receipt(ignored=(Remark("push of shop/web:latest", "no ImageStream takes images from it"),)), "ignored"),
        (Receipt(unanswered=(Remark("push of shop/web:latest", "its registry does not answer"),)), "unanswered"),
    ],
    ids=["a tag moved", "a push is nobody's", "a registry is silent"],
)
async def test_each_delivery_that_brings_news_has_its_line(receipt: Receipt, outcome: str) -> None:
    async def take(parsed: Parsed, _arrival: Arrival) -> Receipt:
        return receipt if parsed.pushes else Receipt(ignored=parsed.ignored)

    with capture_logs() as logs:
        async with door(take, dialect="distribution", scheme=authentication.Bearer()) as team:
            for _ in range(120):
                await team.post(PULL, headers=RIGHT)
            for _ in range(130):
                await team.post(headers=RIGHT)
    pull = "only a push moves a tag"
    ours = [line for line in logs if line["event"] == "hook.answered" and line.get("why") != pull]
    assert [line["outcome"] for line in ours] == [outcome] * 130


async def test_who_only_asks_whether_it_may_deliver_does_not_fill_the_log() -> None:
    headers = {"WebHook-Request-Origin": "events.example"}
    with capture_logs() as logs:
        async with door(scheme=SIGNED) as team:
            for _ in range(120):
                async with team.client.options(f"{team.url}/hooks/team", headers=headers) as response:
                    assert response.status == 200
            team.hooks.close()
    assert [line["event"] for line in logs] == ["hook.handshake"] * 100 + ["hook.more_answered"]


async def test_after_a_while_what_brings_no_news_has_lines_again() -> None:
    quiet = QuietLog()
    assert [quiet.has_room("team", "ignored") for _ in range(101)] == [True] * 100 + [False]
    quiet.flush()
    assert quiet.has_room("team", "ignored")


# Other ways to ask


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_who_looks_at_a_hook_is_told_what_it_is(method: str) -> None:
    async with door() as team, team.client.request(method, f"{team.url}/hooks/team") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST, OPTIONS"
        if method != "HEAD":
            assert "registry 'team'" in (await response.json())["error"]
    assert team.meter.labels == [("team", "not_posted")]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/hooks/team", 200),
        ("/hooks/team/", 200),
        ("/hooks/team//", 404),
        ("/hooks//team", 404),
        ("//hooks/team", 404),
        ("/hooks/%74eam", 404),
        ("/hooks", 404),
        ("/hooks/", 404),
        ("/hook/team", 404),
        ("/", 404),
        ("/hooks/../hooks/team", 404),
    ],
)
async def test_no_path_is_redirected(path: str, status: int) -> None:
    head = HEAD.replace(b"/hooks/team", path.encode()) + f"Content-Length: {len(ENVELOPE)}\r\n\r\n".encode()
    async with door() as team:
        answer = await team.raw(head + ENVELOPE, then_hang_up=False)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    ("scheme", "headers", "status"),
    [
        pytest.param(None, {}, 200, id="open"),
        pytest.param(authentication.Bearer(), BEARER, 200, id="right"),
        pytest.param(authentication.Bearer(), {}, 401, id="without the secret"),
        pytest.param(SIGNED, {}, 200, id="nothing to sign"),
    ],
)
async def test_an_origin_is_allowed_as_cloud_events_ask(
    scheme: authentication.Scheme | None, headers: Mapping[str, str], status: int
) -> None:
    asked = {**headers, "WebHook-Request-Origin": "events.example.com", "WebHook-Request-Rate": "120"}
    async with (
        door(scheme=scheme) as team,
        team.client.options(f"{team.url}/hooks/team", headers=asked) as response,
    ):
        assert response.status == status
        allowed = response.headers.get("WebHook-Allowed-Origin"), response.headers.get("WebHook-Allowed-Rate")
    assert allowed == (("events.example.com", "*") if status == 200 else (None, None))


@pytest.mark.parametrize(("origin", "status"), [("a b", 400), ("x" * 300, 400), ("", 200)])
async def test_an_origin_that_is_none_is_not_repeated(origin: str, status: int) -> None:
    async with (
        door() as team,
        team.client.options(f"{team.url}/hooks/team", headers={"WebHook-Request-Origin": origin}) as response,
    ):
        assert response.status == status
        assert "WebHook-Allowed-Origin" not in response.headers


# What a sender wants besides


def speaking(parsed: Parsed) -> Dialect:
    """A dialect in which every delivery holds the same."""

    def recognises(_delivery: Delivery) -> bool:
        return True

    def parse(_delivery: Delivery) -> Parsed:
        return parsed

    return Dialect("test", "Test", recognises, parse)


async def test_a_sender_that_waits_for_a_word_gets_that_word_and_nothing_else() -> None:
    async with door(dialect=speaking(Parsed(reply={"validationResponse": "512d38b6"}))) as team:
        status, answer, _ = await team.post()
    assert (status, answer) == (200, {"validationResponse": "512d38b6"})
    assert team.taken == []
    assert team.meter.labels == [("team", "handshake")]


async def test_a_url_is_confirmed_where_the_signature_is_checked() -> None:
    asked: list[str] = []

    async def confirm(url: str) -> None:
        asked.append(url)

    async with door(dialect=speaking(Parsed(confirm="https://sns.example.com/?a=b")), confirm=confirm) as team:
        status, answer, _ = await team.post()
    assert status == 200
    assert asked == ["https://sns.example.com/?a=b"]
    assert [remark["why"] for remark in answer["ignored"]] == ["confirmed"]
    assert team.meter.labels == [("team", "handshake")]


async def test_elsewhere_it_is_refused_with_what_to_do() -> None:
    async with door(dialect=speaking(Parsed(confirm="https://internal.example.com/"))) as team:
        status, answer, _ = await team.post()
    assert status == 200
    [remark] = answer["refused"]
    assert "`sns`" in remark["why"]
    assert team.meter.labels == [("team", "refused")]


async def test_a_confirmation_that_fails_is_as_bad_as_its_reason() -> None:
    async def confirm(_url: str) -> None:
        raise Unauthenticated("not its host")

    async with door(dialect=speaking(Parsed(confirm="https://x.example.com/")), confirm=confirm) as team:
        assert (await team.post())[0] == 401


# The wrong dialect


async def test_a_body_of_another_dialect_is_400_that_names_it() -> None:
    async with door(dialect="nexus") as team:
        status, answer, _ = await team.post(ENVELOPE)
    assert status == 400
    assert answer["error"].startswith("this looks like distribution; registry 'team' is set to nexus: ")


async def test_a_dialect_that_never_finds_anything_is_warned_of_once() -> None:
    silent = Dialect("silent", "Silent", lambda _: False, lambda _: Parsed())
    with capture_logs() as logs:
        async with door(dialect=silent) as team:
            assert [(await team.post())[0] for _ in range(3)] == [200] * 3
            assert (await team.post(b'{"hello": 1}', name="other"))[0] == 200
    [warning] = [line for line in logs if line["event"] == "hook.other_dialect"]
    assert warning["reason"] == "this looks like distribution; registry 'team' is set to silent"
