"""Tokens and messages that somebody signed with a key of their own: real keys, real TLS servers, on loopback."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import ssl
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import aiohttp
import jwt
import pytest
import trustme
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from listener.core.events import Delivery, Parsed, PushEvent
from listener.core.receipts import Arrival, Receipt
from listener.dialects import DIALECTS
from listener.edges.signers import Fetching, OidcGate, SnsGate, fetching, keys
from listener.edges.web import Address, Hook, Hooks, Server
from listener.errors import ListenerError, SignerUnavailable, Unauthenticated

ISSUER = "https://issuer.example/realm"
GOOGLE = "https://accounts.google.com"
AUDIENCE = "https://listener.example/hooks/team"
CLAIMS: Mapping[str, Any] = {"sub": "ci", "trusted": True}
DISCOVERY = "/.well-known/openid-configuration"
KEYS_URL = "https://keys.example/jwks"

SNS = "sns.eu-west-1.amazonaws.com"
SNS_CHINA = "sns.cn-north-1.amazonaws.com.cn"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:ecr-push"
TOPIC_CHINA = "arn:aws-cn:sns:cn-north-1:123456789012:ecr-push"
CERTIFICATE_URL = f"https://{SNS}/SimpleNotificationService-0123.pem"
HOSTS = ("issuer.example", "keys.example", "elsewhere.example", "accounts.google.com", SNS, SNS_CHINA)


@cache
def _made(name: str, bits: int) -> rsa.RSAPrivateKey:
    assert name
    return rsa.generate_private_key(65537, bits)


def rsa_key(name: str = "ours", bits: int = 2048) -> rsa.RSAPrivateKey:
    """The key of this name: made once, for that takes long."""
    return _made(name, bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


# A stage on which names lead to loopback


@dataclass
class Stage(AbstractResolver):
    """All hosts of the world: one TLS server, with the answers by host and path, and what it was asked."""

    port: int = 0
    answers: dict[str, web.StreamResponse | Callable[[], web.Response]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.host}{request.path_qs}")
        self.arrived.set()
        if self.hold is not None:
            await self.hold.wait()
        answer = self.answers.get(f"{request.host}{request.path}")
        if answer is None:
            return web.Response(status=404)
        return answer() if callable(answer) else answer

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002
    ) -> list[ResolveResult]:
        assert port == 443
        self.resolved.append(host)
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=self.port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing is kept."""

    def publish(self, *jwks: Mapping[str, Any], issuer: str = ISSUER, **headers: str) -> None:
        host = issuer.removeprefix("https://")
        document = {"issuer": issuer, "jwks_uri": KEYS_URL}
        self.answers[host + DISCOVERY] = lambda: web.json_response(document)
        self.answers["keys.example/jwks"] = lambda: web.json_response({"keys": jwks}, headers=headers)

    def certify(self, pem: bytes, url: str = CERTIFICATE_URL) -> None:
        self.answers[url.removeprefix("https://")] = lambda: web.Response(body=pem)


@asynccontextmanager
async def on_stage(stage: Stage, tls: ssl.SSLContext) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stage.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    stage.port = runner.addresses[0][1]
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.fixture(scope="session")
def served(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*HOSTS).configure_cert(context)
    return context


@pytest.fixture(scope="session")
def believed(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(context)
    return context


@pytest.fixture
async def stage(served: ssl.SSLContext) -> AsyncIterator[Stage]:
    found = Stage()
    async with on_stage(found, served):
        yield found


@pytest.fixture
async def fetch(stage: Stage, believed: ssl.SSLContext) -> AsyncIterator[Fetching]:
    async with Fetching(tls=believed, resolver=stage) as found:
        yield found


async def refused(gate: OidcGate | SnsGate, delivery: Delivery) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await gate.admit(delivery)
    assert str(caught.value).startswith("the delivery ")
    return str(caught.value)


async def unavailable(doing: Awaitable[object]) -> SignerUnavailable:
    with pytest.raises(SignerUnavailable) as caught:
        await doing
    return caught.value


# Tokens


def jwk(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, name: str = "k1", **more: Any) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        found = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        found = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**found, "kid": name, **more}


def token(
    key: Any = None, algorithm: str = "RS256", *, name: str | None = "k1", without: str = "", **claims: Any
) -> str:
    now = int(time.time())
    found = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 300, "iat": now, **CLAIMS, **claims}
    found.pop(without, None)
    headers = {} if name is None else {"kid": name}
    return jwt.encode(found, rsa_key() if key is None else key, algorithm, headers=headers)


def bearing(text: str) -> Delivery:
    return Delivery({"authorization": f"Bearer {text}"}, {}, b"")


def oidc(fetch: Fetching, **changes: Any) -> OidcGate:
    options: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, "claims": CLAIMS, **changes}
    return OidcGate("team", fetch, **options)


@pytest.mark.parametrize(
    ("key", "algorithm", "more"),
    [
        pytest.param(rsa_key, "RS256", {"alg": "RS256", "use": "sig"}, id="RS256"),
        pytest.param(rsa_key, "RS256", {}, id="RS256, and the key does not say so"),
        pytest.param(rsa_key, "RS512", {"alg": "RS512"}, id="RS512"),
        pytest.param(ec_key, "ES256", {}, id="ES256"),
    ],
)
async def test_who_carries_the_issuers_token_is_admitted(
    stage: Stage, fetch: Fetching, key: Callable[[], Any], algorithm: str, more: Mapping[str, str]
) -> None:
    stage.publish(jwk(key(), **more))
    await oidc(fetch).admit(bearing(token(key(), algorithm)))
    assert stage.asked == ["issuer.example/realm" + DISCOVERY, "keys.example/jwks"]


async def test_the_audience_may_be_one_of_several_and_clocks_may_be_a_little_apart(
    stage: Stage, fetch: Fetching
) -> None:
    stage.publish(jwk(rsa_key()))
    now = int(time.time())
    await oidc(fetch).admit(bearing(token(aud=["other", AUDIENCE], exp=now - 30, nbf=now + 30, iat=now + 30)))


def _forged(header: Mapping[str, Any], signature: bytes = b"") -> str:
    claims = json.loads(base64.urlsafe_b64decode(token().split(".")[1] + "=="))
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def _by_the_public_key() -> str:
    """The oldest trick: a shared-secret signature, with what everybody knows for the secret."""
    pem = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = _forged({"alg": "HS256", "kid": "k1"}).rpartition(".")[0]
    mac = hmac.new(pem, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def _deep() -> str:
    header = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":' + b"[" * 5000).decode().rstrip("=")
    return f"{header}.e30.AAAA"


NOW: Final = int(time.time())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param(lambda: "", "none in the header", id="none"),
        pytest.param(lambda: "zebra", "no JWT", id="some word"),
        pytest.param(lambda: "a.b.c", "no JWT", id="three words"),
        pytest.param(lambda: "é.é.é", "no JWT", id="not ASCII"),
        pytest.param(_deep, "no JWT", id="a deep header"),
        pytest.param(lambda: _forged({"alg": "none", "kid": "k1"}), "another way", id="not signed"),
        pytest.param(lambda: _forged({"alg": "RS256", "kid": "k1"}), "signature is wrong", id="an empty signature"),
        pytest.param(lambda: _forged({"alg": "RS256", "kid": ["k1"]}), "no JWT", id="a list for a key"),
        pytest.param(_by_the_public_key, "another way", id="HMAC by the public key"),
        pytest.param(lambda: token(rsa_key("theirs")), "signature is wrong", id="somebody else's key"),
        pytest.param(lambda: token(algorithm="RS384"), "another way", id="another hash than the key's"),
        pytest.param(lambda: token(name="k2"), "does not publish", id="a key nobody knows"),
        pytest.param(lambda: token(name=None), "does not publish", id="no name of a key"),
        pytest.param(lambda: token(aud="https://other.example"), "another audience", id="for somebody else"),
        pytest.param(lambda: token(without="aud"), "lacks", id="for nobody"),
        pytest.param(lambda: token(iss="https://other.example"), "another issuer", id="another issuer"),
        pytest.param(lambda: token(iss=ISSUER + "/"), "another issuer", id="nearly the issuer"),
        pytest.param(lambda: token(exp=NOW - 3600), "expired", id="expired"),
        pytest.param(lambda: token(without="exp"), "lacks", id="for ever"),
        pytest.param(lambda: token(nbf=NOW + 3600), "not valid yet", id="to come"),
        pytest.param(lambda: token(sub="other"), "its claim sub", id="another holder"),
        pytest.param(lambda: token(without="sub"), "its claim sub", id="no holder"),
        pytest.param(lambda: token(trusted=1), "its claim trusted", id="a claim of another type"),
        pytest.param(lambda: token(trusted="true"), "its claim trusted", id="a claim as text"),
        pytest.param(lambda: token(without="trusted"), "its claim trusted", id="one claim of two"),
    ],
)
async def test_everybody_else_is_refused_and_told_why(
    stage: Stage, fetch: Fetching, text: Callable[[], str], why: str
) -> None:
    stage.publish(jwk(rsa_key()))
    sent = text()
    with capture_logs() as logs, pytest.raises(Unauthenticated, match=why) as caught:
        await oidc(fetch).admit(bearing(sent))
    seen = "".join(traceback.format_exception(caught.value)) + repr(logs)
    for part in sent.split("."):
        assert len(part) < 20 or part not in seen


@pytest.mark.parametrize("header", [{}, {"authorization": "Basic eA=="}, {"authorization": ""}])
async def test_without_a_token_nobody_is_asked(stage: Stage, fetch: Fetching, header: Mapping[str, str]) -> None:
    assert "none in the header" in await refused(oidc(fetch), Delivery(header, {}, b""))
    assert stage.asked == []


ROBOT = "robot@project.example"


@pytest.mark.parametrize("issuer", [GOOGLE, "accounts.google.com"], ids=["as a URL", "as a name"])
@pytest.mark.parametrize("writes", [GOOGLE, "accounts.google.com"], ids=["writes a URL", "writes a name"])
async def test_google_writes_its_name_in_two_ways(stage: Stage, fetch: Fetching, issuer: str, writes: str) -> None:
    stage.publish(jwk(rsa_key()), issuer=GOOGLE)
    gate = oidc(fetch, issuer=issuer, claims={"email": ROBOT})
    await gate.admit(bearing(token(iss=writes, email=ROBOT, email_verified=True)))


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"email": ROBOT}, id="not said"),
        pytest.param({"email": ROBOT, "email_verified": False}, id="not verified"),
        pytest.param({"email": ROBOT, "email_verified": "true"}, id="said as text"),
        pytest.param({"email": "other@project.example", "email_verified": True}, id="another account"),
        pytest.param({"email_verified": True}, id="no account"),
    ],
)
async def test_google_vouches_for_the_address(stage: Stage, fetch: Fetching, claims: Mapping[str, Any]) -> None:
    stage.publish(jwk(rsa_key()), issuer=GOOGLE)
    gate = oidc(fetch, issuer=GOOGLE, claims={"email": ROBOT})
    assert "its claim email" in await refused(gate, bearing(token(iss=GOOGLE, **claims)))


async def test_the_keys_may_be_named_and_then_nothing_is_discovered(stage: Stage, fetch: Fetching) -> None:
    stage.publish(jwk(rsa_key()))
    await oidc(fetch, jwks_uri=KEYS_URL).admit(bearing(token()))
    assert stage.asked == ["keys.example/jwks"]


@pytest.mark.parametrize(
    "published",
    [
        pytest.param({"kty": "oct", "k": "c2VjcmV0LW9mLXNvbWVib2R5LWVsc2UtMzItYnl0ZXM"}, id="a shared secret"),
        pytest.param({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}, id="a shared secret, named"),
        pytest.param({"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}, id="another kind"),
        pytest.param({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, id="hardly a key"),
        pytest.param({"kty": "RSA"}, id="no numbers"),
        pytest.param({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, id="no point"),
        pytest.param({"kty": 5}, id="no kind"),
        pytest.param(lambda: jwk(rsa_key(), use="enc"), id="for encryption"),
        pytest.param(lambda: jwk(rsa_key(), alg="none"), id="for nothing"),
        pytest.param(lambda: jwk(rsa_key(), alg="HS256"), id="for HMAC"),
        pytest.param(lambda: jwk(rsa_key(), alg="RSA-OAEP"), id="for wrapping"),
        pytest.param(lambda: jwk(rsa_key(), alg="PS256"), id="for a family that is not taken"),
        pytest.param(lambda: jwk(rsa_key(), alg=["RS256"]), id="a list of algorithms"),
        pytest.param(lambda: jwk(rsa_key(), name=5), id="a number for a name"),  # type: ignore[arg-type]
        pytest.param(lambda: jwk(rsa_key("short", 1024)), id="too short"),
    ],
)
async def test_a_key_that_cannot_sign_is_none(stage: Stage, fetch: Fetching, published: Any) -> None:
    found = published() if callable(published) else {"kid": "k1", **published}
    stage.publish(found)
    error = await unavailable(oidc(fetch).admit(bearing(token())))
    assert "no keys that can be used" in str(error)
    stage.publish("junk", found, jwk(rsa_key()))  # type: ignore[arg-type]
    await oidc(fetch).admit(bearing(token()))


async def test_keys_are_fetched_once_for_all_who_come_at_once(stage: Stage, fetch: Fetching) -> None:
    stage.publish(jwk(rsa_key()))
    gate = oidc(fetch)
    await asyncio.gather(*(gate.admit(bearing(token())) for _ in range(30)))
    await gate.admit(bearing(token()))
    assert stage.asked == ["issuer.example/realm" + DISCOVERY, "keys.example/jwks"]


async def test_a_flood_of_unknown_keys_is_no_flood_of_requests(stage: Stage, fetch: Fetching) -> None:
    stage.publish(jwk(rsa_key()))
    gate = oidc(fetch)
    flood = [token(name=f"k{number}") for number in range(100, 150)]
    kinds: set[type] = set()
    for _ in range(3):
        answers = await asyncio.gather(*(gate.admit(bearing(text)) for text in flood), return_exceptions=True)
        kinds |= {type(answer) for answer in answers}
        await gate.admit(bearing(token()))
    assert kinds == {Unauthenticated, SignerUnavailable}  # looked for, and not to be looked for now
    assert stage.asked == ["issuer.example/realm" + DISCOVERY, "keys.example/jwks"]


async def test_nobody_is_asked_about_the_tokens_of_other_issuers(stage: Stage, fetch: Fetching) -> None:
    stage.publish(jwk(rsa_key()))
    gate = oidc(fetch)
    assert "another issuer" in await refused(gate, bearing(token(iss="https://elsewhere.example", name="k9")))
    assert stage.asked == []


async def test_one_who_gives_up_does_not_stop_the_fetch(stage: Stage, fetch: Fetching) -> None:
    stage.publish(jwk(rsa_key()))
    stage.hold = asyncio.Event()
    gate = oidc(fetch)
    first, second = (asyncio.create_task(gate.admit(bearing(token()))) for _ in range(2))
    await stage.arrived.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    stage.hold.set()
    await second
    assert len(stage.asked) == 2


async def test_closing_ends_a_fetch_that_hangs(stage: Stage, fetch: Fetching) -> None:
    stage.publish(jwk(rsa_key()))
    stage.hold = asyncio.Event()
    gate = oidc(fetch)
    waiting = asyncio.create_task(gate.admit(bearing(token())))
    await stage.arrived.wait()
    await gate.close()
    assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)


def _document(**changes: Any) -> web.Response:
    return web.json_response({"issuer": ISSUER, "jwks_uri": KEYS_URL, **changes})


WELL_KNOWN, JWKS = "issuer.example/realm" + DISCOVERY, "keys.example/jwks"


@pytest.mark.parametrize(
    ("where", "answer", "why"),
    [
        pytest.param(WELL_KNOWN, lambda: web.Response(status=500), "answered 500", id="an error"),
        pytest.param(WELL_KNOWN, lambda: web.Response(text="<html>"), "no JSON object", id="no JSON"),
        pytest.param(WELL_KNOWN, lambda: web.json_response([]), "no JSON object", id="a list"),
        pytest.param(WELL_KNOWN, lambda: web.Response(text="[" * 100_000), "no JSON object", id="a deep list"),
        pytest.param(WELL_KNOWN, lambda: _document(issuer=GOOGLE), "another issuer", id="of another issuer"),
        pytest.param(
            WELL_KNOWN, lambda: _document(jwks_uri="http://keys.example/jwks"), "no jwks_uri", id="keys without TLS"
        ),
        pytest.param(WELL_KNOWN, lambda: _document(jwks_uri="file:///etc/passwd"), "no jwks_uri", id="keys in a file"),
        pytest.param(
            WELL_KNOWN, lambda: _document(jwks_uri="https://a:b@keys.example/"), "no jwks_uri", id="with a login"
        ),
        pytest.param(WELL_KNOWN, lambda: _document(jwks_uri="https://[/"), "no jwks_uri", id="keys nowhere"),
        pytest.param(WELL_KNOWN, lambda: _document(jwks_uri=5), "no jwks_uri", id="a number for a URL"),
        pytest.param(
            WELL_KNOWN,
            lambda: web.Response(status=302, headers={"Location": "https://elsewhere.example/"}),
            "answered 302",
            id="a redirect",
        ),
        pytest.param(
            JWKS,
            lambda: web.Response(status=307, headers={"Location": "https://elsewhere.example/"}),
            "answered 307",
            id="a redirect of the keys",
        ),
        pytest.param(JWKS, lambda: web.json_response({"keys": []}), "no keys", id="no keys"),
        pytest.param(JWKS, lambda: web.json_response({"keys": {"k1": {}}}), "no keys", id="keys in no list"),
        pytest.param(JWKS, lambda: web.json_response({}), "no keys", id="nothing"),
        pytest.param(JWKS, lambda: web.Response(body=b" " * 300_000), "more than 262144 bytes", id="too much"),
    ],
)
async def test_while_there_are_no_keys_the_sender_shall_come_again(
    stage: Stage, fetch: Fetching, where: str, answer: Callable[[], web.Response], why: str
) -> None:
    stage.publish(jwk(rsa_key()))
    stage.answers[where] = answer
    error = await unavailable(oidc(fetch).admit(bearing(token())))
    assert why in str(error)
    assert ISSUER in str(error)
    assert "elsewhere.example" not in stage.resolved


async def test_a_server_that_hangs_is_not_waited_for(
    stage: Stage, fetch: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_TOTAL_SECONDS", 0.2)
    stage.publish(jwk(rsa_key()))
    stage.hold = asyncio.Event()
    assert "no whole answer" in str(await unavailable(oidc(fetch).admit(bearing(token()))))
    stage.hold.set()


async def test_a_server_that_nobody_vouches_for_is_not_believed(stage: Stage) -> None:
    stage.publish(jwk(rsa_key()))
    async with Fetching(resolver=stage) as fetch:
        assert "not trusted" in str(await unavailable(oidc(fetch).admit(bearing(token()))))
    assert stage.asked == []


async def test_keys_without_tls_are_not_fetched(stage: Stage, fetch: Fetching) -> None:
    error = await unavailable(oidc(fetch, jwks_uri="http://keys.example/jwks").admit(bearing(token())))
    assert "only https" in str(error)
    assert stage.resolved == []


# How long keys hold, by a clock of the tests' own


@dataclass
class Published:
    """An issuer: the names of its keys now, or why it does not answer."""

    names: tuple[str, ...] = ("k1",)
    seconds: float = 3600
    failure: str = ""
    fetches: int = 0

    async def fetch(self) -> keys.Fetched:
        self.fetches += 1
        if self.failure:
            raise SignerUnavailable(self.failure)
        return keys.Fetched({name: jwt.PyJWK(jwk(ec_key(), name)) for name in self.names}, self.seconds)


async def test_a_new_key_is_found_but_nobody_is_asked_more_than_once_a_minute() -> None:
    issuer = Published()
    known = keys.Keys(ISSUER, issuer.fetch)
    assert await known.get("k1", 0)
    issuer.names = ("k1", "k2")
    early = await unavailable(known.get("k2", 59))
    assert (early.retry_after_seconds, issuer.fetches) == (1, 1)
    assert await known.get("k2", 60)
    assert issuer.fetches == 2
    for second in range(60, 120):
        assert "deliver again" in str(await unavailable(known.get("k3", second)))
    assert issuer.fetches == 2
    assert await known.get("k3", 120) is None  # this time it was looked for
    assert issuer.fetches == 3


async def test_a_key_that_was_taken_back_is_gone_when_the_keys_are_stale() -> None:
    issuer = Published(names=("k1", "k2"))
    known = keys.Keys(ISSUER, issuer.fetch)
    await known.get("k1", 0)
    issuer.names = ("k2",)
    assert await known.get("k1", 3599)
    assert await known.get("k1", 3600) is None
    assert await known.get("k2", 3600)


async def test_old_keys_hold_while_new_ones_cannot_be_fetched() -> None:
    issuer = Published()
    known = keys.Keys(ISSUER, issuer.fetch)
    await known.get("k1", 0)
    issuer.failure = "issuer.example: it answered 503"
    with capture_logs() as logs:
        for second in range(3600, 3660):
            assert await known.get("k1", second)
    assert issuer.fetches == 2
    assert [(line["event"], line["known"]) for line in logs] == [("oidc.keys_unavailable", 1)]
    assert "answered 503" in str(await unavailable(known.get("k2", 3660)))
    issuer.failure, issuer.names = "", ("k2",)
    assert await known.get("k2", 3720)
    await unavailable(known.get("k1", 3721))
    assert await known.get("k1", 3780) is None


async def test_without_any_keys_it_is_tried_again_soon_but_not_by_each_delivery() -> None:
    issuer = Published(failure="issuer.example: it answered 503")
    known = keys.Keys(ISSUER, issuer.fetch)
    for moment in (0, 1, 2, 4.9):
        assert "answered 503" in str(await unavailable(known.get("k1", moment)))
    assert issuer.fetches == 1
    issuer.failure = ""
    assert await known.get("k1", 5)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 3600),
        ("public, max-age=20000, must-revalidate", 20000),
        ("Max-Age=1000", 1000),
        ("max-age=0", 300),
        ("max-age=99999999", 86400),
        ("s-max-age=20000", 3600),
        ("no-store", 300),
        ("no-cache", 300),
        ("max-age=soon", 3600),
    ],
)
def test_how_long_keys_are_kept(header: str, seconds: float) -> None:
    assert keys.kept_seconds(header) == seconds


# SNS


@cache
def certificate(days: tuple[int, int] = (-1, 1), *, bits: int = 2048, elliptic: bool = False) -> bytes:
    key: Any = ec_key() if elliptic else rsa_key(bits=bits)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    found = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .sign(rsa_key(), hashes.SHA256())
    )
    return found.public_bytes(Encoding.PEM)


SUBSCRIBE_URL = f"https://{SNS}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=zebra0123"
NOTIFICATION: Mapping[str, str] = {
    "Type": "Notification",
    "MessageId": "m1",
    "TopicArn": TOPIC,
    "Message": '{"detail-type": "ECR Image Action"}\n',
    "Timestamp": "2026-11-23T00:00:04.751Z",
    "SignatureVersion": "1",
    "SigningCertURL": CERTIFICATE_URL,
}
CONFIRMATION: Mapping[str, str] = {
    **NOTIFICATION,
    "Type": "SubscriptionConfirmation",
    "Token": "zebra0123",
    "SubscribeURL": SUBSCRIBE_URL,
}


def signed(message: Mapping[str, str], key: rsa.RSAPrivateKey | None = None) -> dict[str, str]:
    """Sign as SNS does it; the string to sign is spelled out, for it is what is tested."""
    if message["Type"] == "Notification":
        text = f"Message\n{message['Message']}\nMessageId\n{message['MessageId']}\n"
        if "Subject" in message:
            text += f"Subject\n{message['Subject']}\n"
        text += f"Timestamp\n{message['Timestamp']}\nTopicArn\n{message['TopicArn']}\nType\n{message['Type']}\n"
    else:
        text = (
            f"Message\n{message['Message']}\nMessageId\n{message['MessageId']}\n"
            f"SubscribeURL\n{message['SubscribeURL']}\nTimestamp\n{message['Timestamp']}\nToken\n{message['Token']}\n"
            f"TopicArn\n{message['TopicArn']}\nType\n{message['Type']}\n"
        )
    algorithm = hashes.SHA256() if message["SignatureVersion"] == "2" else hashes.SHA1()  # noqa: S303 - as SNS does
    signature = (key or rsa_key()).sign(text.encode(), padding.PKCS1v15(), algorithm)
    return {**message, "Signature": base64.b64encode(signature).decode()}


def posted(message: Mapping[str, Any], **headers: str) -> Delivery:
    return Delivery({"content-type": "text/plain; charset=UTF-8", **headers}, {}, json.dumps(message).encode())


def sns(fetch: Fetching, *topics: str) -> SnsGate:
    return SnsGate("team", fetch, topics=topics or (TOPIC,))


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "message",
    [
        pytest.param(NOTIFICATION, id="notification"),
        pytest.param({**NOTIFICATION, "Subject": "a push"}, id="with a subject"),
        pytest.param({**NOTIFICATION, "Message": "Grüße, 世界"}, id="beyond ASCII"),
        pytest.param({**NOTIFICATION, "UnsubscribeURL": "https://x.example/"}, id="with members that are not signed"),
        pytest.param(CONFIRMATION, id="confirmation"),
        pytest.param({**CONFIRMATION, "Type": "UnsubscribeConfirmation"}, id="end of a subscription"),
    ],
)
async def test_what_sns_signed_is_admitted(
    stage: Stage, fetch: Fetching, message: Mapping[str, str], version: str
) -> None:
    stage.certify(certificate())
    await sns(fetch).admit(posted(signed({**message, "SignatureVersion": version})))


async def test_a_subject_that_is_null_is_none(stage: Stage, fetch: Fetching) -> None:
    stage.certify(certificate())
    await sns(fetch).admit(posted({**signed(NOTIFICATION), "Subject": None}))


async def test_china_has_hosts_of_its_own(stage: Stage, fetch: Fetching) -> None:
    url = f"https://{SNS_CHINA}/SimpleNotificationService-0123.pem"
    stage.certify(certificate(), url)
    message = {**NOTIFICATION, "TopicArn": TOPIC_CHINA, "SigningCertURL": url}
    await sns(fetch, TOPIC, TOPIC_CHINA).admit(posted(signed(message)))


GOOD: Final = signed(NOTIFICATION)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        pytest.param({**GOOD, "Message": "{}"}, "signature is wrong", id="another message"),
        pytest.param({**GOOD, "Subject": "added"}, "signature is wrong", id="a subject added"),
        pytest.param({**GOOD, "SignatureVersion": "2"}, "signature is wrong", id="another version"),
        pytest.param(signed(NOTIFICATION, rsa_key("theirs")), "signature is wrong", id="somebody else's key"),
        pytest.param({**CONFIRMATION, "Signature": GOOD["Signature"]}, "signature is wrong", id="another type"),
        pytest.param({**GOOD, "Message": "\ud800"}, "no JSON object", id="half a character"),
        pytest.param(signed({**NOTIFICATION, "TopicArn": TOPIC + "2"}), "no topic", id="another topic"),
        pytest.param({**GOOD, "TopicArn": TOPIC_CHINA}, "no topic", id="a topic elsewhere"),
        pytest.param({**GOOD, "TopicArn": None}, "no topic", id="no topic"),
        pytest.param({**GOOD, "SignatureVersion": "3"}, "neither 1 nor 2", id="an unknown version"),
        pytest.param({**GOOD, "SignatureVersion": 1}, "no JSON object", id="a number for the version"),
        pytest.param({**GOOD, "Type": "notification"}, "its Type", id="an unknown type"),
        pytest.param({**GOOD, "MessageId": 5}, "no JSON object", id="a number for the id"),
        pytest.param({**GOOD, "Signature": ""}, "no Signature", id="an empty signature"),
        pytest.param({**GOOD, "Signature": "é!"}, "no Signature", id="no base64"),
        pytest.param({**GOOD, "Signature": None}, "no Signature", id="no signature"),
        pytest.param({**GOOD, "Signature": "AAAA"}, "signature is wrong", id="a short signature"),
    ],
)
async def test_what_sns_did_not_sign_is_refused(
    stage: Stage, fetch: Fetching, message: Mapping[str, Any], why: str
) -> None:
    stage.certify(certificate())
    assert why in await refused(sns(fetch), posted(message))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"\xff", b"[" * 100_000])
async def test_what_is_no_message_is_refused(stage: Stage, fetch: Fetching, body: bytes) -> None:
    assert "no JSON object" in await refused(sns(fetch), Delivery({}, {}, body))
    assert stage.asked == []


async def test_a_forged_megabyte_costs_little_before_its_signature_is_looked_for(fetch: Fetching) -> None:
    body = json.dumps({**GOOD, "TopicArn": TOPIC + "2"}).encode()[:-1] + b', "x": [' + b"[]," * 340_000 + b"[]]}"
    began = time.process_time()
    assert "no topic" in await refused(sns(fetch), Delivery({}, {}, body))
    assert time.process_time() - began < 0.1


async def test_raw_delivery_is_refused_and_told_how_to_switch_it_off(stage: Stage, fetch: Fetching) -> None:
    stage.certify(certificate())
    why = await refused(sns(fetch), posted(GOOD, **{"x-amz-sns-rawdelivery": "true"}))
    assert "switch raw message delivery off" in why


async def test_what_is_compressed_is_refused_for_something_else_is_signed(stage: Stage, fetch: Fetching) -> None:
    stage.certify(certificate())
    assert "Content-Encoding" in await refused(sns(fetch), posted(GOOD, **{"content-encoding": "deflate"}))


FOREIGN: Final = [
    pytest.param(f"http://{SNS}/a.pem", id="without TLS"),
    pytest.param(f"http://{SNS}:443/a.pem", id="without TLS, at its port"),
    pytest.param("https://elsewhere.example/a.pem", id="another host"),
    pytest.param(f"https://{SNS}.elsewhere.example/a.pem", id="a host that begins so"),
    pytest.param(f"https://elsewhere.example/{SNS}/a.pem", id="in the path"),
    pytest.param(f"https://{SNS}@elsewhere.example/a.pem", id="as a user"),
    pytest.param(f"https://{SNS}:x@elsewhere.example/a.pem", id="as a user with a password"),
    pytest.param(f"https://me@{SNS}/a.pem", id="with a user"),
    pytest.param(f"https://{SNS}:8443/a.pem", id="another port"),
    pytest.param(f"https://{SNS}:99999/a.pem", id="no port"),
    pytest.param(f"https://elsewhere.example\\@{SNS}/a.pem", id="a backslash"),
    pytest.param(f"https://elsewhere.example#@{SNS}/a.pem", id="a fragment"),
    pytest.param("https://sns.us-east-1.amazonaws.com/a.pem", id="another region"),
    pytest.param("https://sns.s3-eu-west-1.amazonaws.com/a.pem", id="a bucket called sns"),
    pytest.param("https://sns.eu-west-1.amazonaws.com.cn/a.pem", id="China's"),
    pytest.param("https://127.0.0.1/a.pem", id="loopback"),
    pytest.param("https://[::1]/a.pem", id="loopback, IPv6"),
    pytest.param("//" + SNS + "/a.pem", id="no scheme"),
    pytest.param("file:///a.pem", id="a file"),
    pytest.param("https://[", id="no URL"),
    pytest.param("", id="nothing"),
]


@pytest.mark.parametrize("url", FOREIGN)
async def test_a_certificate_from_elsewhere_is_not_even_fetched(stage: Stage, fetch: Fetching, url: str) -> None:
    assert "SigningCertURL is not https at" in await refused(sns(fetch), posted({**GOOD, "SigningCertURL": url}))
    assert stage.resolved == []


@pytest.mark.parametrize("path", ["/", "/a.pem/", "/?a.pem", "/a.pem?x=1", "/a.txt#.pem"])
async def test_only_a_pem_file_is_a_certificate(stage: Stage, fetch: Fetching, path: str) -> None:
    url = f"https://{SNS}{path}"
    assert "no .pem file" in await refused(sns(fetch), posted({**GOOD, "SigningCertURL": url}))
    assert stage.resolved == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(lambda: web.Response(body=certificate((-3, -1))), "not valid now", id="expired"),
        pytest.param(lambda: web.Response(body=certificate((1, 3))), "not valid now", id="to come"),
        pytest.param(lambda: web.Response(body=certificate(bits=1024)), "no RSA key", id="a short key"),
        pytest.param(lambda: web.Response(body=certificate(elliptic=True)), "no RSA key", id="another kind of key"),
        pytest.param(lambda: web.Response(body=b"-----BEGIN"), "no certificate", id="no PEM"),
        pytest.param(lambda: web.Response(status=403), "answered 403", id="no access"),
        pytest.param(
            lambda: web.Response(status=302, headers={"Location": "https://elsewhere.example/a.pem"}),
            "answered 302",
            id="a redirect",
        ),
    ],
)
async def test_a_certificate_that_proves_nothing_is_refused(
    stage: Stage, fetch: Fetching, answer: Callable[[], web.Response], why: str
) -> None:
    stage.answers[CERTIFICATE_URL.removeprefix("https://")] = answer
    assert why in await refused(sns(fetch), posted(GOOD))
    assert "elsewhere.example" not in stage.resolved


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_while_its_certificate_cannot_be_had_sns_shall_come_again(
    stage: Stage, fetch: Fetching, status: int
) -> None:
    gate = sns(fetch)
    stage.answers[CERTIFICATE_URL.removeprefix("https://")] = lambda: web.Response(status=status)
    assert f"answered {status}" in str(await unavailable(gate.admit(posted(GOOD))))
    stage.certify(certificate())
    await gate.admit(posted(GOOD))


async def test_a_certificate_is_fetched_once(stage: Stage, fetch: Fetching) -> None:
    stage.certify(certificate())
    gate = sns(fetch)
    await asyncio.gather(*(gate.admit(posted(GOOD)) for _ in range(30)))
    await gate.admit(posted(GOOD))
    assert stage.asked == [CERTIFICATE_URL.removeprefix("https://")]


def invented(number: int, source: str) -> Delivery:
    message = posted({**GOOD, "SigningCertURL": f"https://{SNS}/{number}.pem"})
    return message._replace(source=source)


async def test_who_invents_certificates_keeps_nobody_else_from_theirs(stage: Stage, fetch: Fetching) -> None:
    stage.certify(certificate())
    gate = sns(fetch)
    flood = [invented(number, "192.0.2.66") for number in range(200)]
    answers = await asyncio.gather(*(gate.admit(delivery) for delivery in flood), return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unauthenticated, SignerUnavailable}
    assert len(stage.asked) == 5
    await gate.admit(posted(GOOD)._replace(source="192.0.2.1"))
    await gate.admit(posted(GOOD)._replace(source="192.0.2.66"))  # it is known by now
    assert len(stage.asked) == 6


async def test_many_who_invent_certificates_are_no_flood_of_requests(stage: Stage, fetch: Fetching) -> None:
    stage.certify(certificate())
    gate = sns(fetch)
    flood = [invented(number, f"192.0.2.{number % 100}") for number in range(300)]
    await asyncio.gather(*(gate.admit(delivery) for delivery in flood), return_exceptions=True)
    assert len(stage.asked) == 60
    await unavailable(gate.admit(posted(GOOD)))


async def test_no_certificate_that_signed_nothing_moves_one_out_that_did(stage: Stage, fetch: Fetching) -> None:
    stage.certify(certificate())
    gate = sns(fetch)
    await gate.admit(posted(GOOD))
    for number in range(20):
        stage.answers[f"{SNS}/{number}.pem"] = lambda: web.Response(body=certificate(bits=4096))
        assert "its signature is wrong" in await refused(gate, invented(number, f"192.0.2.{number}"))
    asked = len(stage.asked)
    await gate.admit(posted(GOOD))
    assert len(stage.asked) == asked


async def test_a_subscription_is_confirmed(stage: Stage, fetch: Fetching) -> None:
    stage.answers[f"{SNS}/"] = lambda: web.Response(text="<ConfirmSubscriptionResponse/>")
    with capture_logs() as logs:
        await sns(fetch).confirm(SUBSCRIBE_URL)
    assert stage.asked == [SUBSCRIBE_URL.removeprefix("https://")]
    assert [(line["event"], line["topic"]) for line in logs] == [("sns.subscription_confirmed", TOPIC)]
    assert "zebra" not in repr(logs)


@pytest.mark.parametrize("url", FOREIGN)
async def test_a_confirmation_elsewhere_is_not_asked_for(stage: Stage, fetch: Fetching, url: str) -> None:
    with pytest.raises(Unauthenticated, match="SubscribeURL is not https at"):
        await sns(fetch).confirm(url.replace("/a.pem", "/?Action=ConfirmSubscription"))
    assert stage.resolved == []


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(f"https://{SNS}/?Action=Publish&TopicArn={TOPIC}", id="another action"),
        pytest.param(f"https://{SNS}/?Action=ConfirmSubscription&TopicArn={TOPIC}2", id="another topic"),
        pytest.param(f"https://{SNS}/", id="nothing"),
    ],
)
async def test_nothing_but_a_confirmation_is_asked_for(stage: Stage, fetch: Fetching, url: str) -> None:
    with pytest.raises(Unauthenticated, match="confirms no subscription"):
        await sns(fetch).confirm(url)
    assert stage.resolved == []


@pytest.mark.parametrize("status", [302, 400, 503])
async def test_a_subscription_that_is_not_confirmed_makes_sns_come_again(
    stage: Stage, fetch: Fetching, status: int
) -> None:
    headers = {"Location": "https://elsewhere.example/"} if status == 302 else {}
    stage.answers[f"{SNS}/"] = lambda: web.Response(status=status, headers=headers)
    error = await unavailable(sns(fetch).confirm(SUBSCRIBE_URL))
    assert f"answered {status}" in str(error)
    assert _hides_the_token(error)
    assert "elsewhere.example" not in stage.resolved


async def test_the_token_of_a_subscription_is_in_no_failure() -> None:
    """Nobody listens there: the HTTP library's own error names the URL."""
    nowhere = Stage(port=1)
    async with Fetching(resolver=nowhere) as fetch:
        error = await unavailable(sns(fetch).confirm(SUBSCRIBE_URL))
    assert "no connection" in str(error)
    assert _hides_the_token(error)


def _hides_the_token(error: ListenerError) -> bool:
    assert error.__cause__ is None
    assert error.__context__ is None
    return "zebra" not in "".join(traceback.format_exception(error))


# At the door


class _Meter:
    def hook_answered(self, registry: str, outcome: str, seconds: float) -> None:
        """Nobody looks."""


async def test_sns_subscribes_and_delivers_through_the_door(stage: Stage, fetch: Fetching) -> None:
    """As it comes over the wire, with the dialect behind the gate."""
    stage.certify(certificate())
    stage.answers[f"{SNS}/"] = lambda: web.Response(text="<ConfirmSubscriptionResponse/>")
    taken: list[PushEvent] = []

    async def take(parsed: Parsed, _arrival: Arrival, _seconds: float) -> Receipt:
        taken.extend(parsed.pushes)
        return Receipt()

    gate = sns(fetch)
    hooks = Hooks({"team": Hook("team", DIALECTS["aws-sns"], gate, take, gate.confirm)}, _Meter())
    server = Server(hooks.connections())
    url = f"http://127.0.0.1:{await server.start(Address('127.0.0.1', 0))}/hooks/team"
    detail = {
        "result": "SUCCESS",
        "action-type": "PUSH",
        "repository-name": "team/web",
        "image-digest": "sha256:" + "a" * 64,
        "image-tag": "1.5.0",
    }
    event = {
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": "123456789012",
        "region": "eu-west-1",
        "id": "1",
        "detail": detail,
    }
    notification = signed({**NOTIFICATION, "Message": json.dumps(event)})
    try:
        async with aiohttp.ClientSession() as client:

            async def status(message: Mapping[str, str]) -> int:
                headers = {
                    "Content-Type": "text/plain; charset=UTF-8",
                    "x-amz-sns-message-type": message["Type"],
                    "x-amz-sns-topic-arn": message["TopicArn"],
                }
                async with client.post(url, data=json.dumps(message).encode(), headers=headers) as response:
                    return response.status

            assert await status({**signed(CONFIRMATION), "Token": "another"}) == 401
            assert stage.asked == [CERTIFICATE_URL.removeprefix("https://")]
            assert await status(signed(CONFIRMATION)) == 200
            assert stage.asked[1:] == [SUBSCRIBE_URL.removeprefix("https://")]
            assert await status(notification) == 200
            assert await status({**notification, "MessageId": "m2"}) == 401
    finally:
        await server.close()
    assert [(push.repository, push.tag, push.digest) for push in taken] == [
        ("team/web", "1.5.0", detail["image-digest"])
    ]
