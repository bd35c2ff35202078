"""The door's certificate: in the Secret, in use, and believed by API servers, for years, and by several replicas.

`World` is what the replicas share: a Secret, a webhook configuration, and API servers that see what stands there some
seconds late. Certificates are lines of JSON. Time steps; the calendar can be moved by days besides.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from structlog.testing import capture_logs

from listener.core.outcomes import End, Outcome
from listener.core.renewal import AUTHORITY_LIFE, BACKDATED, LEAF_LIFE, Authority, Held, Leaf, Secret, Webhooks
from listener.errors import ClusterError, ClusterRefused, ClusterUnavailable, InvalidCertificate
from listener.flow.certificates import FileKeeper, Keeper

START = datetime(2026, 1, 1, tzinfo=UTC)
HOSTS = ("listener.ns.svc", "10.0.0.1")
LAG_SECONDS = 30  # until the slowest API server sees a change; they take less than one

_numbers = count(1)


@dataclass
class World:
    """`fault` may answer a write in the cluster's stead, `read_error` any reading of one kind of object."""

    data: dict[str, bytes] | None = field(default_factory=dict)
    bundles: list[tuple[str, bytes]] | None = field(default_factory=lambda: [("a.ours", b""), ("b.ours", b"")])
    moved: timedelta = timedelta()
    fault: Callable[[str], Outcome[Any] | None] = lambda _verb: None
    read_errors: dict[str, ClusterError] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    doors: list[Door] = field(default_factory=list)
    version: int = 1
    history: list[tuple[float, tuple[bytes, ...]]] = field(default_factory=list)

    def now(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time()) + self.moved

    # What replicas ask

    async def get_secret(self, namespace: str, name: str) -> Secret | None:
        assert (namespace, name) == ("ns", "tls")
        await self._request("get secret")
        return None if self.data is None else Secret(namespace, name, str(self.version), dict(self.data))

    async def store_secret(self, secret: Secret, data: dict[str, bytes]) -> Outcome[Secret]:
        await asyncio.sleep(0.01)
        if refused := self.fault("store secret"):
            return refused
        if self.data is None:
            return Outcome(End.GONE, message='secrets "tls" not found')
        if secret.resource_version != str(self.version):
            return Outcome(End.STALE, message="the test failed")
        self.put(**{name.replace(".", "_"): value for name, value in data.items()})
        self.written.append("secret")
        return Outcome(End.APPLIED, replace(secret, resource_version=str(self.version), data=self.data))

    async def get_webhooks(self, name: str) -> Webhooks | None:
        assert name == "ours"
        await self._request("get webhooks")
        return None if self.bundles is None else Webhooks(name, tuple(self.bundles))

    async def store_bundle(self, webhooks: Webhooks, bundle: bytes) -> Outcome[Webhooks]:
        await asyncio.sleep(0.01)
        if refused := self.fault("store bundle"):
            return refused
        if self.bundles is None:
            return Outcome(End.GONE, message='"ours" not found')
        if [name for name, _ in self.bundles] != [name for name, _ in webhooks.bundles]:
            return Outcome(End.STALE, message="the test failed")
        self.publish(*((name, bundle) for name, _ in self.bundles))
        self.written.append("bundle")
        return Outcome(End.APPLIED, replace(webhooks, bundles=tuple(self.bundles)))

    async def _request(self, verb: str) -> None:
        await asyncio.sleep(0.01)
        if error := self.read_errors.get(verb):
            raise error

    # What anybody does, and what API servers see

    def put(self, **data: bytes) -> None:
        self.version += 1
        self.data = {**(self.data or {}), **{name.replace("_", "."): value for name, value in data.items()}}

    def empty(self) -> None:
        self.version += 1
        self.data = {}

    def publish(self, *bundles: tuple[str, bytes]) -> None:
        self.bundles = list(bundles)
        seen = tuple(bundle for _, bundle in bundles)
        self.history.append((asyncio.get_running_loop().time(), seen))

    def believed(self) -> list[tuple[bytes, ...]]:
        """What API servers may have as bundles now, some late and some not."""
        since = asyncio.get_running_loop().time() - LAG_SECONDS
        late = [seen for at, seen in self.history if at <= since][-1:]
        return late + [seen for at, seen in self.history if at > since]

    def refused(self) -> list[str]:
        """Which handshakes fail now."""
        return [
            f"door {number}, bundle {bundle!r}, certificate {door.shown}"
            for number, door in enumerate(self.doors)
            for bundles in self.believed()
            for bundle in bundles
            if not door.is_believed(bundle, self.now())
        ]


@dataclass
class Door:
    shown: Leaf | None = None
    takes: list[Leaf] = field(default_factory=list)
    refuses: bool = False

    def use(self, leaf: Leaf) -> None:
        if self.refuses:
            raise InvalidCertificate("TLS does not take it")
        self.shown = leaf
        self.takes.append(leaf)

    def is_believed(self, bundle: bytes, now: datetime) -> bool:
        leaf = self.shown
        return bool(
            leaf
            and leaf.authority
            and leaf.authority.certificate in bundle
            and leaf.begins <= now < leaf.ends
            and leaf.hosts.issuperset(HOSTS)
        )


class JsonIssuer:
    """Certificates that are legible; a key is its owner's number."""

    def read(self, data: dict[str, bytes]) -> Held:
        authorities = tuple(
            Authority(line + b"\n", *_life(found))
            for line in data.get("ca.crt", b"").splitlines()
            if (found := _parsed(line))
        )
        key = data.get("ca.key", b"")
        signer = next((each for each in authorities if _parsed(each.certificate)["number"] == _number(key)), None)
        found = _parsed(data.get("tls.crt", b""))
        leaf = None
        if found and found["number"] == _number(data.get("tls.key", b"")):
            by = next((each for each in authorities if _parsed(each.certificate)["number"] == found["by"]), None)
            leaf = Leaf(data["tls.crt"], data["tls.key"], frozenset(found["hosts"]), *_life(found), by)
        return Held(authorities, signer, key if signer else b"", leaf)

    def issue_authority(self, now: datetime) -> Held:
        number = next(_numbers)
        life = now - BACKDATED, now + AUTHORITY_LIFE
        authority = Authority(_line(number, *life), *life)
        return Held((authority,), authority, _key(number))

    def issue_leaf(self, held: Held, hosts: Collection[str], now: datetime) -> Leaf:
        assert held.signer is not None
        number = next(_numbers)
        by = _parsed(held.signer.certificate)["number"]
        assert _number(held.key) == by
        life = now - BACKDATED, now + LEAF_LIFE
        return Leaf(
            _line(number, *life, by=by, hosts=sorted(hosts)), _key(number), frozenset(hosts), *life, held.signer
        )


def _line(number: int, begins: datetime, ends: datetime, **more: Any) -> bytes:
    return (
        json.dumps({"number": number, "begins": begins.isoformat(), "ends": ends.isoformat(), **more}).encode() + b"\n"
    )


def _key(number: int) -> bytes:
    return b"KEY" + base64.b64encode(str(number).encode())


def _number(key: bytes) -> int | None:
    try:
        return int(base64.b64decode(key.removeprefix(b"KEY")))
    except ValueError:
        return None


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _life(found: dict[str, str]) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(found["begins"]), datetime.fromisoformat(found["ends"])


def keeper(
    world: World,
    *,
    hosts: Sequence[str] = HOSTS,
    webhook: str | None = "ours",
    ahead: timedelta = timedelta(),
    door: Door | None = None,
) -> tuple[Keeper, Door]:
    door = door or Door()
    made = Keeper(
        world,
        JsonIssuer(),
        secret=("ns", "tls"),
        hosts=hosts,
        webhook=webhook,
        use=door.use,
        now=lambda: world.now() + ahead,
    )
    return made, door


@asynccontextmanager
async def running(world: World, replicas: int = 1, **options: Any) -> AsyncIterator[list[Door]]:
    pairs = [keeper(world, **options) for _ in range(replicas)]
    world.doors += [door for _, door in pairs]
    tasks = [asyncio.create_task(each.run()) for each, _ in pairs]
    try:
        yield [door for _, door in pairs]
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


def authorities(world: World) -> int:
    assert world.data is not None
    return len(world.data["ca.crt"].splitlines())


@pytest.fixture
def world() -> World:
    return World()


# The ordinary course


async def test_an_empty_secret_becomes_a_certificate_that_api_servers_believe(world: World) -> None:
    world.data = {"somebody.elses": b"kept"}
    async with running(world) as [door]:
        await asyncio.sleep(1)
        assert door.shown is not None
        assert door.shown.hosts == set(HOSTS)
        assert world.bundles is not None
        assert [door.is_believed(bundle, world.now()) for _, bundle in world.bundles] == [True, True]
        assert world.data["somebody.elses"] == b"kept"
        await asyncio.sleep(1000)
        assert world.written == ["secret", "bundle"]
        assert len(door.takes) == 1


async def test_a_replica_that_starts_takes_what_is_there(world: World) -> None:
    async with running(world) as [first]:
        await asyncio.sleep(1)
    async with running(world) as [second]:
        await asyncio.sleep(1)
        assert second.shown == first.shown
        assert world.written == ["secret", "bundle"]


@pytest.mark.parametrize("replicas", [2, 5])
async def test_replicas_that_start_at_once_end_with_one_certificate(world: World, replicas: int) -> None:
    async with running(world, replicas) as doors:
        await asyncio.sleep(1)
        assert world.written.count("secret") == 1
        assert {door.shown for door in doors} == {doors[0].shown}
        assert world.refused() == []


async def test_years_pass_and_no_handshake_fails(world: World) -> None:
    async with running(world, 2) as doors:
        await asyncio.sleep(100)
        signers, most = set(), 0
        for _ in range(16 * 365 // 2):
            world.moved += timedelta(days=2)
            for _ in range(4):
                await asyncio.sleep(20)
                assert world.refused() == []
            assert doors[0].shown is not None
            signers.add(doors[0].shown.authority)
            most = max(most, authorities(world))
        assert len(signers) == 3  # a CA serves for two thirds of ten years
        assert (most, authorities(world)) == (2, 1)
        assert 16 * 365 / 62 <= len(doors[0].takes) <= 16 * 365 / 55
        assert doors[0].takes[-1] == doors[1].takes[-1]


async def test_the_new_ca_does_not_sign_while_the_bundle_cannot_be_published(world: World) -> None:
    world.put(**_made_at(world))
    async with running(world) as [door]:
        await asyncio.sleep(100)
        first = door.shown
        assert first is not None
        world.fault = lambda verb: Outcome(End.UNREACHABLE, message="no answer") if verb == "store bundle" else None
        world.moved = AUTHORITY_LIFE * 0.02  # the CA is due, and its certificate too
        await asyncio.sleep(1000)
        assert (door.shown, authorities(world)) == (first, 2)
        world.fault = lambda _verb: None
        for _ in range(100):
            await asyncio.sleep(10)
            assert world.refused() == []
        assert door.shown is not None
        assert door.shown.authority != first.authority


def _made_at(world: World) -> dict[str, bytes]:
    """A Secret whose CA is old and whose certificate is new."""
    issuer = JsonIssuer()
    old = issuer.issue_authority(world.now() - AUTHORITY_LIFE * 0.65)
    leaf = issuer.issue_leaf(old, HOSTS, world.now())
    return {name.replace(".", "_"): value for name, value in replace(old, leaf=leaf).data().items()}


# What others do


async def test_a_bundle_that_somebody_takes_out_is_back_within_a_minute(world: World) -> None:
    async with running(world):
        await asyncio.sleep(1000)
        assert world.bundles is not None
        before = list(world.bundles)
        world.publish(before[0], ("b.ours", b""))
        await asyncio.sleep(60.1)
        assert world.bundles == before
        world.publish(("a.ours", b"another's"), ("new.ours", b""), ("b.ours", b""))
        await asyncio.sleep(60.1)
        assert {bundle for _, bundle in world.bundles} == {before[0][1]}


async def test_a_secret_that_somebody_empties_is_filled_within_a_minute_and_nobody_is_refused(world: World) -> None:
    async with running(world, 2) as doors:
        await asyncio.sleep(1000)
        before = doors[0].shown
        assert before is not None
        world.empty()
        for _ in range(61):
            await asyncio.sleep(1)
            assert world.refused() == []
        assert world.data
        for _ in range(100):
            await asyncio.sleep(10)
            assert world.refused() == []
        assert doors[0].shown == doors[1].shown != before
        assert doors[0].shown is not None
        assert doors[0].shown.authority != before.authority
        world.moved += timedelta(days=2)
        await asyncio.sleep(200)
        assert authorities(world) == 1
        assert world.refused() == []


@pytest.mark.parametrize("key", ["ca_crt", "ca_key", "tls_crt", "tls_key"])
async def test_what_becomes_garbage_is_made_anew_and_nobody_is_refused(world: World, key: str) -> None:
    async with running(world, 2) as doors:
        await asyncio.sleep(1000)
        world.put(**{key: b"\x00garbage"})
        for _ in range(100):
            await asyncio.sleep(10)
            assert world.refused() == []
        assert doors[0].shown == doors[1].shown
        assert JsonIssuer().read(world.data or {}).leaf == doors[0].shown
        assert b"garbage" not in (world.data or {})[key.replace("_", ".")]


async def test_garbage_from_the_start(world: World) -> None:
    world.put(ca_crt=b"\xff", ca_key=b"{}", tls_crt=b"[", tls_key=b"")
    async with running(world):
        await asyncio.sleep(1)
        assert world.refused() == []


async def test_more_hosts_are_a_new_certificate_by_the_same_ca(world: World) -> None:
    async with running(world) as [first]:
        await asyncio.sleep(1)
    world.doors.clear()
    async with running(world, hosts=(*HOSTS, "Another.")) as [second]:
        await asyncio.sleep(1)
        assert first.shown is not None
        assert second.shown is not None
        assert second.shown.hosts == {*HOSTS, "another"}
        assert second.shown.authority == first.shown.authority
        assert world.refused() == []


async def test_who_writes_between_reading_and_writing_wins(world: World) -> None:
    others = replace(held := JsonIssuer().issue_authority(START), leaf=JsonIssuer().issue_leaf(held, HOSTS, START))
    times: list[str] = []

    def meanwhile(verb: str) -> None:
        if verb == "store secret" and not times:
            times.append(verb)
            world.put(**{name.replace(".", "_"): value for name, value in others.data().items()})

    world.fault = meanwhile
    async with running(world) as [door]:
        await asyncio.sleep(1)
        assert door.shown == others.leaf
        assert world.written == ["bundle"]


@pytest.mark.parametrize("ahead", [timedelta(minutes=50), timedelta(minutes=-50), timedelta(days=20)])
async def test_clocks_that_differ(world: World, ahead: timedelta) -> None:
    """By less than an hour nobody notices. One that is far ahead renews too early, and everybody comes to rest."""
    async with running(world), running(world, ahead=ahead):
        await asyncio.sleep(1)
        for _ in range(10):
            world.moved += timedelta(days=10)
            await asyncio.sleep(200)
            if abs(ahead) < BACKDATED:
                assert world.refused() == []
        assert world.written.count("secret") <= 5


# What is missing


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (None, "create it; it may be empty"),
        (ClusterRefused("GET secrets: 403", status=403), "needs get and patch on this object"),
        (ClusterUnavailable("no answer"), "tried again"),
    ],
)
async def test_a_secret_that_cannot_be_read_is_told_once_and_the_door_opens_later(
    world: World, error: ClusterError | None, hint: str
) -> None:
    if error:
        world.read_errors["get secret"] = error
    else:
        world.data = None
    with capture_logs() as logs:
        async with running(world) as [door]:
            await asyncio.sleep(1000)
            assert door.shown is None
            [told] = [each for each in logs if each["log_level"] == "warning"]
            assert (told["object"], hint in told["hint"]) == ("Secret ns/tls", True)
            world.read_errors.clear()
            world.data = world.data or {}
            await asyncio.sleep(60.1)
            assert world.refused() == []


async def test_a_secret_that_cannot_be_written_still_serves(world: World) -> None:
    async with running(world):
        await asyncio.sleep(1)
    world.doors.clear()
    world.moved = LEAF_LIFE * 0.7
    world.fault = lambda verb: (
        Outcome(End.REFUSED, message="forbidden", may_pass=True) if verb == "store secret" else None
    )
    with capture_logs() as logs:
        async with running(world):
            await asyncio.sleep(1000)
            assert world.refused() == []
            [told] = [each for each in logs if each["log_level"] == "warning"]
            assert told["reason"] == "forbidden"
            assert told["is_in_use"] is True


@pytest.mark.parametrize("ends", [End.UNREACHABLE, End.THROTTLED, End.GONE])
async def test_a_write_that_fails_is_tried_again(world: World, ends: End) -> None:
    failures: Iterator[Outcome[Any]] = iter([Outcome(ends, message="not now")] * 3)
    world.fault = lambda _verb: next(failures, None)
    async with running(world):
        await asyncio.sleep(60)
        assert world.refused() == []


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_without_the_webhook_configuration_the_door_is_open_and_it_is_told_once(
    world: World, status: int
) -> None:
    if status == 403:
        world.read_errors["get webhooks"] = ClusterRefused("GET …: 403", status=403)
    elif status == 500:
        world.read_errors["get webhooks"] = ClusterUnavailable("GET …: 500")
    else:
        world.bundles = None
    with capture_logs() as logs:
        async with running(world) as [door]:
            await asyncio.sleep(3600)
            assert door.shown is not None
            [told] = [each for each in logs if each["log_level"] == "warning"]
            assert told["object"] == "MutatingWebhookConfiguration ours"
            assert ("get and patch" in told["hint"]) == (status == 403)
            world.read_errors.clear()
            world.publish(("a.ours", b""))
            await asyncio.sleep(60.1)
            assert world.bundles is not None
            assert door.is_believed(world.bundles[0][1], world.now())


async def test_a_certificate_that_tls_refuses_is_told_and_the_loop_goes_on(world: World) -> None:
    door = Door(refuses=True)
    with capture_logs() as logs:
        async with running(world, door=door):
            await asyncio.sleep(100)
            assert [each["reason"] for each in logs if each["log_level"] == "warning"] == ["TLS does not take it"]
            door.refuses = False
            await asyncio.sleep(60.1)
            assert world.refused() == []


async def test_without_a_configuration_to_keep_ca_and_certificate_change_all_the_same(world: World) -> None:
    world.put(**_made_at(world))
    async with running(world, webhook=None) as [door]:
        await asyncio.sleep(1)
        first = door.shown
        assert first is not None
        world.moved = AUTHORITY_LIFE * 0.02
        await asyncio.sleep(1000)
        assert door.shown is not None
        assert door.shown.authority != first.authority
        assert world.written == ["secret", "secret"]


async def test_no_key_is_logged(world: World) -> None:
    with capture_logs() as logs:
        async with running(world):
            await asyncio.sleep(100)
            world.empty()
            await asyncio.sleep(1000)
    assert logs
    assert "KEY" not in repr(logs)


async def test_the_end_of_the_certificate_in_use(world: World) -> None:
    kept, door = keeper(world)
    assert [kept.ends] == [None]
    task = asyncio.create_task(kept.run())
    await asyncio.sleep(1)
    assert door.shown is not None
    assert kept.ends == door.shown.ends.timestamp()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# Files


@dataclass
class FakeFiles:
    found: Leaf | InvalidCertificate

    def __str__(self) -> str:
        return "tls.crt and tls.key"

    def read(self) -> Leaf:
        if isinstance(self.found, InvalidCertificate):
            raise self.found
        return self.found


async def test_files_are_looked_at_again_and_what_cannot_be_used_is_told_once() -> None:
    issuer = JsonIssuer()
    first, second = (issuer.issue_leaf(issuer.issue_authority(START), HOSTS, START) for _ in range(2))
    files, door = FakeFiles(InvalidCertificate("there is no such file")), Door()
    kept = FileKeeper(files, use=door.use)
    with capture_logs() as logs:
        task = asyncio.create_task(kept.run())
        await asyncio.sleep(100)
        assert (door.shown, kept.ends) == (None, None)
        files.found = first
        await asyncio.sleep(10)
        assert door.shown == first
        files.found = InvalidCertificate("the key does not belong to the certificate")
        await asyncio.sleep(100)
        assert door.shown == first
        assert kept.ends == first.ends.timestamp()
        files.found = second
        await asyncio.sleep(10)
        assert door.takes == [first, second]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    told = [(each["reason"], each["is_in_use"]) for each in logs if each["log_level"] == "warning"]
    assert told == [
        ("there is no such file", False),
        ("the key does not belong to the certificate", True),
    ]
