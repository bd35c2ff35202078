"""Logins at registries: challenges, tokens, and which failure is told when every login fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from listener.core.keyring import Credential
from listener.core.manifests import Described
from listener.edges.registry import Registries
from listener.edges.registry.tokens import lifetime_seconds
from listener.errors import RegistryUnavailable
from tests.edges.fake_registry import MANIFEST, Registry, Server, TokenServer, login, manifest, running
from tests.edges.test_registry import image, refusal, registries

ANN = Credential("ann", "secret-of-ann")
BOB = Credential("bob", "secret-of-bob")
WRONG = Credential("ann", "not-her-secret")
IDENTITY = Credential("ann", "", "identity-of-ann")


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    found = TokenServer(logins={"ann": ANN.password, "bob": BOB.password}, identity_tokens={"identity-of-ann": "ann"})
    async with running(found):
        yield found


@pytest.fixture
async def registry(tokens: TokenServer) -> AsyncIterator[Registry]:
    """Where `app` is ann's and `public` is everybody's; it wants tokens."""
    found = Registry(tokens=tokens, readers={"app": {"ann"}})
    found.push("app", "1", manifest("a"))
    found.push("app", "2", manifest("b"))
    found.push("public", "1", manifest("p"))
    async with running(found):
        yield found


@pytest.fixture
async def basic() -> AsyncIterator[Registry]:
    """Where `app` is ann's; it wants her name and password."""
    found = Registry(logins={"ann": ANN.password, "bob": BOB.password}, readers={"app": {"ann"}})
    found.push("app", "1", manifest("a"))
    found.push("public", "1", manifest("p"))
    async with running(found):
        yield found


@pytest.fixture
async def client(registry: Registry, basic: Registry) -> AsyncIterator[Registries]:
    async with registries(registry, basic) as found:
        yield found


# Tokens


async def test_a_token_goes_along_from_the_second_question_on(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    for tag in ("1", "2", "1"):
        assert (await client.head(image(registry, f"app:{tag}"), [ANN])).media_type == MANIFEST
    assert [request.authorization for request in registry.seen] == ["", *["Bearer token-0"] * 3]
    (request,) = tokens.seen
    assert request.authorization == login("ann", ANN.password)
    assert request.target == "/token?service=the-registry&scope=repository:app:pull"


async def test_without_a_login_there_is_an_anonymous_token(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    await client.head(image(registry, "public:1"))
    assert [request.authorization for request in tokens.seen] == [""]


async def test_tokens_are_kept_apart_by_repository_and_login(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    await client.head(image(registry, "public:1"), [ANN])
    await client.head(image(registry, "public:1"), [BOB])
    await client.head(image(registry, "app:1"), [ANN])
    await client.head(image(registry, "public:1"))
    assert len(tokens.seen) == 4
    assert len({request.authorization for request in registry.seen}) == 5


async def test_one_token_is_fetched_for_all_who_wait(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    asked, all_met, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> None:
        asked.set()
        await go_on.wait()

    async def count(_: web.Request) -> None:
        if len(registry.seen) == 20:
            all_met.set()

    tokens.instead, registry.instead = slow, count
    asking = [asyncio.create_task(client.head(image(registry, "app:1"), [ANN])) for _ in range(20)]
    await asked.wait()
    await all_met.wait()
    # The first is who started the fetch; it is not the only one whom the token is for.
    asking[0].cancel()
    await asyncio.gather(asking[0], return_exceptions=True)
    go_on.set()
    found = await asyncio.gather(*asking[1:])
    assert len(found) == 19
    assert asking[0].cancelled()
    assert len(tokens.seen) == 1


async def test_a_fetch_that_nobody_waits_for_any_more_ends_quietly(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    waiting = asyncio.Event()

    async def hang(_: web.Request) -> None:
        waiting.set()
        await asyncio.Event().wait()

    tokens.instead = hang
    asking = asyncio.create_task(client.head(image(registry, "app:1"), [ANN]))
    await waiting.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    # The client's end, in the fixture, must not hang on it.


async def test_an_expired_token_is_not_sent(registry: Registry, tokens: TokenServer, client: Registries) -> None:
    tokens.extra = {"expires_in": 0.2}
    await client.head(image(registry, "app:1"), [ANN])
    await asyncio.sleep(0.2)
    await client.head(image(registry, "app:1"), [ANN])
    assert [request.authorization for request in registry.seen] == ["", "Bearer token-0", "Bearer token-1"]


async def test_a_token_that_was_revoked_is_fetched_anew_once(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    await client.head(image(registry, "app:1"), [ANN])
    tokens.grants.clear()
    await client.head(image(registry, "app:1"), [ANN])
    assert [request.authorization for request in registry.seen[2:]] == ["Bearer token-0", "Bearer token-1"]


async def test_a_late_refusal_of_an_old_token_does_not_cost_the_new_one(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    await client.head(image(registry, "app:1"), [ANN])
    tokens.grants.clear()
    renewed = asyncio.Event()

    async def one_is_late(request: web.Request) -> None:
        if request.path.endswith("/2") and request.headers.get("Authorization") == "Bearer token-0":
            await renewed.wait()

    registry.instead = one_is_late
    late = asyncio.create_task(client.head(image(registry, "app:2"), [ANN]))
    await client.head(image(registry, "app:1"), [ANN])
    renewed.set()
    await late
    assert len(tokens.seen) == 2


async def test_a_fresh_token_that_is_refused_is_not_fetched_again(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    error = await refusal(client.head(image(registry, "app:1"), [BOB]))
    assert error.reason == "Unauthorized"
    assert "you may not have access to the container image" in str(error)
    assert len(tokens.seen) == 2  # for bob, and for nobody


async def test_another_token_server_is_found_when_the_registry_moves_to_it(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    await client.head(image(registry, "app:1"), [ANN])
    other = TokenServer(logins=tokens.logins)
    async with running(other):
        registry.tokens = other
        await client.head(image(registry, "app:1"), [ANN])
        assert len(other.seen) == 1


async def test_a_scope_of_its_own_for_tags_is_met(registry: Registry, tokens: TokenServer, client: Registries) -> None:
    """As Azure's registry has it: `metadata_read`, where others are content with `pull`."""

    async def azure(request: web.Request) -> web.StreamResponse | None:
        if "/tags/" not in request.path:
            return None
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if tokens.grants.get(token, ("", ""))[1] == "repository:app:metadata_read":
            return web.json_response({"tags": ["1"]})
        asks = f'Bearer realm="{tokens.url}/token",service="the-registry",scope="repository:app:metadata_read"'
        return web.Response(status=401, headers={"WWW-Authenticate": asks})

    registry.instead = azure
    reference = image(registry, "app:1")
    await client.head(reference, [ANN])
    assert await client.tags(reference, [ANN]) == ("1",)
    assert await client.tags(reference, [ANN]) == ("1",)
    await client.head(reference, [ANN])
    assert len(tokens.seen) == 2


async def test_a_scope_for_another_repository_is_not_asked_for(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    async def greedy(request: web.Request) -> web.StreamResponse | None:
        if "Authorization" in request.headers:
            return None
        asks = f'Bearer realm="{tokens.url}/token",service="the-registry",scope="repository:other:pull,push"'
        return web.Response(status=401, headers={"WWW-Authenticate": asks})

    registry.instead = greedy
    await client.head(image(registry, "app:1"), [ANN])
    assert [scope for _, scope in tokens.grants.values()] == ["repository:app:pull"]


async def test_an_identity_token_is_traded_in_for_a_token(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    await client.head(image(registry, "app:1"), [IDENTITY])
    (request,) = tokens.seen
    assert (request.method, request.target, request.authorization) == ("POST", "/token", "")


async def test_an_identity_token_that_has_been_revoked_is_a_wrong_login(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    tokens.identity_tokens.clear()
    error = await refusal(client.head(image(registry, "app:1"), [IDENTITY]))
    assert error.reason == "Unauthorized"
    assert "incorrect username or password" in str(error)


async def test_a_token_server_that_takes_no_identity_tokens_leaves_the_other_logins(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    async def only_get(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=405) if request.method == "POST" else None

    tokens.instead = only_get
    assert isinstance(await client.head(image(registry, "app:1"), [IDENTITY, ANN]), Described)


NOW = 1_800_000_000.0


def issued(seconds_ago: float) -> str:
    return (datetime.fromtimestamp(NOW, UTC) - timedelta(seconds=seconds_ago)).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param({}, 54, id="a minute is the default"),
        pytest.param({"expires_in": 300}, 270, id="nine tenths"),
        pytest.param({"expires_in": 300, "issued_at": issued(100)}, 170, id="counted from when it was issued"),
        pytest.param({"expires_in": 300, "issued_at": issued(-100)}, 270, id="issued in the future"),
        pytest.param({"expires_in": 300, "issued_at": issued(1000)}, 270, id="expired by a clock that is not ours"),
        pytest.param({"expires_in": 300, "issued_at": "yesterday"}, 270, id="a date that is none"),
        pytest.param({"expires_in": 300, "issued_at": 7}, 270, id="a date that is no text"),
        pytest.param({"expires_in": 0}, 54, id="nothing"),
        pytest.param({"expires_in": -1}, 54, id="less than nothing"),
        pytest.param({"expires_in": "300"}, 54, id="no number"),
        pytest.param({"expires_in": True}, 54, id="a truth"),
        pytest.param({"expires_in": 10**30}, 77760, id="a day is the most"),
    ],
)
def test_how_long_a_token_is_used(answer: dict[str, Any], expected: float) -> None:
    assert lifetime_seconds(answer, NOW) == pytest.approx(expected, abs=0.01)


def saying(**answer: Any) -> Any:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(**answer)

    return handle


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        pytest.param({"body": b"<html>"}, "no JSON object", id="HTML"),
        pytest.param({"body": b"[]"}, "no JSON object", id="a list"),
        pytest.param({"body": b'{"a":' * 100_000}, "no JSON object", id="deeper than the stack"),
        pytest.param({"body": b"{}"}, "no usable token", id="no token"),
        pytest.param({"body": b'{"token": 7}'}, "no usable token", id="a number"),
        pytest.param({"body": b'{"token": "a\\r\\nX-Evil: 1"}'}, "no usable token", id="a header more"),
        pytest.param({"body": b'{"token": "' + b"a" * 20_000 + b'"}'}, "no usable token", id="a very long one"),
        pytest.param({"body": b" " * (1024 * 1024 + 1)}, "more than 1048576 bytes", id="too much"),
        pytest.param({"status": 404}, "it answered 404", id="no token server"),
        pytest.param({"status": 302, "headers": {"Location": "/x"}}, "it redirects", id="a redirect"),
    ],
)
async def test_a_token_server_that_cannot_be_used_is_told(
    registry: Registry, tokens: TokenServer, client: Registries, answer: dict[str, Any], told: str
) -> None:
    tokens.instead = saying(**answer)
    error = await refusal(client.head(image(registry, "app:1"), [ANN]))
    assert error.reason == "InternalError"
    assert f"token server {tokens.host}: " in str(error)
    assert told in str(error)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_token_server_that_says_later_is_unavailable(
    registry: Registry, tokens: TokenServer, client: Registries, status: int
) -> None:
    tokens.instead = saying(status=status, headers={"Retry-After": "7"})
    error = await refusal(client.head(image(registry, "app:1"), [ANN]), RegistryUnavailable)
    assert isinstance(error, RegistryUnavailable)
    assert error.retry_after_seconds == 7


async def test_a_token_server_that_is_down_does_not_make_the_registry_plain_http(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    tokens.host = "127.0.0.1:1"
    error = await refusal(client.head(image(registry, "app:1"), [ANN]), RegistryUnavailable)
    assert "token server 127.0.0.1:1: no connection" in str(error)
    assert len(registry.seen) == 1


@pytest.mark.parametrize("realm", ["/token", "ftp://x/token", "http://", "http://[::1/", "http://x:99999/", ""])
async def test_a_realm_that_is_no_url_is_told(registry: Registry, client: Registries, realm: str) -> None:
    registry.instead = saying(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})
    error = await refusal(client.head(image(registry, "app:1"), [ANN]))
    assert error.reason == ("InternalError" if realm else "Unauthorized")


async def test_a_login_inside_the_realm_is_not_used(
    registry: Registry, tokens: TokenServer, client: Registries
) -> None:
    host = tokens.host
    tokens.host = f"mallory:hunter2@{host}"
    await client.head(image(registry, "public:1"))
    assert [request.authorization for request in tokens.seen] == [""]


# Name and password


async def test_name_and_password_go_along_from_the_second_question_on(basic: Registry, client: Registries) -> None:
    for _ in range(2):
        await client.head(image(basic, "app:1"), [ANN])
    assert [request.authorization for request in basic.seen] == ["", *[login("ann", ANN.password)] * 2]


async def test_without_a_login_nothing_is_sent(basic: Registry, client: Registries) -> None:
    await client.head(image(basic, "app:1"), [ANN])
    basic.seen.clear()
    await client.head(image(basic, "public:1"))
    assert [request.authorization for request in basic.seen] == [""]


async def test_a_wrong_password_is_told(basic: Registry, client: Registries) -> None:
    error = await refusal(client.head(image(basic, "app:1"), [WRONG]))
    assert error.reason == "Unauthorized"
    assert str(error) == (
        f'incorrect username or password for the container image "{basic.host}/app:1": '
        f"correct the pull secret for {basic.host}"
    )


async def test_an_identity_token_is_of_no_use_for_a_password(basic: Registry, client: Registries) -> None:
    error = await refusal(client.head(image(basic, "app:1"), [IDENTITY]))
    assert error.reason == "Unauthorized"
    assert all(not request.authorization for request in basic.seen)


async def test_a_login_that_is_not_known_here_is_no_access(basic: Registry, client: Registries) -> None:
    basic.instead = saying(status=401, headers={"WWW-Authenticate": "Negotiate"})
    assert (await refusal(client.head(image(basic, "app:1"), [ANN]))).reason == "Unauthorized"


async def test_of_two_ways_the_token_is_taken(registry: Registry, tokens: TokenServer, client: Registries) -> None:
    async def both(request: web.Request) -> web.StreamResponse | None:
        if "Authorization" in request.headers:
            return None
        headers = [
            ("WWW-Authenticate", 'Basic realm="x"'),
            ("WWW-Authenticate", f'Bearer realm="{tokens.url}/token",service="the-registry"'),
        ]
        answer = web.Response(status=401)
        for name, value in headers:
            answer.headers.add(name, value)
        return answer

    registry.instead = both
    await client.head(image(registry, "app:1"), [ANN])
    assert registry.seen[-1].authorization == "Bearer token-0"


# One login after the other


async def test_the_next_login_is_tried_and_at_last_none(basic: Registry, client: Registries) -> None:
    assert (await client.head(image(basic, "app:1"), [WRONG, BOB, ANN])).media_type == MANIFEST
    assert isinstance(await client.head(image(basic, "public:1"), [WRONG]), Described)


async def test_a_public_image_is_found_in_spite_of_a_wrong_password(registry: Registry, client: Registries) -> None:
    assert isinstance(await client.head(image(registry, "public:1"), [WRONG]), Described)


async def test_no_more_than_eight_logins_are_tried(basic: Registry, client: Registries) -> None:
    many = [Credential(f"user-{number}", "x") for number in range(20)]
    await refusal(client.head(image(basic, "app:1"), many))
    assert len({request.authorization for request in basic.seen}) == 9


async def test_a_registry_that_asks_for_nothing_is_asked_once() -> None:
    open_to_all = Registry()
    async with running(open_to_all), registries(open_to_all) as client:
        error = await refusal(client.head(image(open_to_all, "gone:1"), [ANN, BOB]))
        assert error.reason == "NotFound"
        assert open_to_all.asked() == ["HEAD /v2/gone/manifests/1", "GET /v2/"]


async def test_a_registry_that_denies_without_asking_is_asked_what_it_wants(
    basic: Registry, client: Registries
) -> None:
    async def hide(request: web.Request) -> web.StreamResponse | None:
        return None if "Authorization" in request.headers or request.path == "/v2/" else web.Response(status=404)

    basic.instead = hide
    assert isinstance(await client.head(image(basic, "app:1"), [ANN]), Described)


@pytest.mark.parametrize(
    ("name", "credentials", "hides", "reason", "told"),
    [
        pytest.param("app:gone", [ANN], False, "NotFound", "not found", id="not there, said to who may look"),
        pytest.param("app:gone", [WRONG, ANN], False, "NotFound", "not found", id="after a wrong password"),
        pytest.param(
            "app:gone", [BOB, ANN], True, "NotFound", "not found", id="hidden from one, not there for another"
        ),
        pytest.param("app:1", [WRONG], True, "Unauthorized", "incorrect username", id="hidden, and a wrong password"),
        pytest.param("app:1", [WRONG, BOB], False, "Unauthorized", "incorrect username", id="the first is told"),
        pytest.param("app:1", [BOB, WRONG], False, "Unauthorized", "you may not have access", id="whatever it is"),
        pytest.param("app:1", [], True, "NotFound", "needs a pull secret", id="hidden, and no login"),
        pytest.param("app:1", [], False, "Unauthorized", "add a pull secret", id="no login"),
        pytest.param("public:gone", [], False, "NotFound", "not found", id="not there"),
    ],
)
async def test_tells_the_failure_that_helps(
    registry: Registry,
    client: Registries,
    name: str,
    credentials: list[Credential],
    hides: bool,
    reason: str,
    told: str,
) -> None:
    registry.hides = hides
    error = await refusal(client.head(image(registry, name), credentials))
    assert error.reason == reason
    assert told in str(error)
    assert f"{registry.host}/{name}" in str(error)


async def test_a_403_is_no_access(registry: Registry, client: Registries) -> None:
    registry.instead = saying(status=403)
    assert (await refusal(client.head(image(registry, "app:1"), [ANN]))).reason == "Unauthorized"


async def test_a_registry_that_changes_its_mind_for_ever_is_given_up() -> None:
    fickle = Server()
    numbers = iter(range(1000))

    async def ask_anew(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/token"):
            return web.json_response({"token": "t"})
        realm = f"{fickle.url}/token/{next(numbers)}"
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})

    fickle.instead = ask_anew
    async with running(fickle), registries(fickle) as client:
        assert (await refusal(client.head(image(fickle, "app:1")))).reason == "Unauthorized"
        assert len(fickle.seen) < 10
