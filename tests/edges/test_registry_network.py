"""The way to a registry: addresses, TLS, redirects, waiting; and that no secret shows on it."""

from __future__ import annotations

import asyncio
import ssl
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from structlog.testing import capture_logs

from listener.core import references
from listener.core.hosts import HostPolicy
from listener.core.keyring import Credential
from listener.edges.registry import HostSettings, Registries
from listener.edges.registry.certificates import Certificates
from listener.edges.registry.failures import End, Failed
from listener.edges.registry.tokens import Endpoint, Tokens, Wanted
from listener.edges.registry.transport import Transport, retry_after_seconds
from listener.errors import RegistryError, RegistryUnavailable, SettingsError
from tests.edges.fake_registry import Registry, Server, TokenServer, login, manifest, running
from tests.edges.test_registry import image, refusal, registries

ANN = Credential("ann", "secret-of-ann")


def client_of(hosts: dict[str, HostSettings], *, allowed: tuple[str, ...] = ()) -> Registries:
    return Registries(hosts, HostPolicy(allowed, tuple(hosts)), rate=10_000, burst=10_000)


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    found = Registry()
    found.push("app", "1", manifest("a"))
    async with running(found):
        yield found


# Addresses


async def test_a_stranger_at_a_private_address_is_not_called(registry: Registry) -> None:
    port = registry.host.rpartition(":")[2]
    async with client_of({}) as client:
        for host in (registry.host, f"localhost:{port}", f"[::ffff:7f00:1]:{port}", f"0x7f.1:{port}"):
            error = await refusal(client.head(references.parse(f"{host}/app:1"), insecure=True))
            assert error.reason == "Forbidden", error
            assert "imports.allowed" in str(error)
    assert registry.seen == []


@pytest.mark.parametrize("host", ["2130706433", "127.1", "017700000001", "127.0.0.1"])
async def test_odd_spellings_of_an_address_lead_nowhere(registry: Registry, host: str) -> None:
    port = registry.host.rpartition(":")[2]
    async with client_of({}) as client:
        error = await refusal(client.head(references.parse(f"{host}:{port}/app:1"), insecure=True))
        assert error.reason == "Forbidden"
    assert registry.seen == []


async def test_an_allowed_host_is_called_wherever_it_is(registry: Registry) -> None:
    async with client_of({}, allowed=("127.0.0.*",)) as client:
        await client.head(image(registry, "app:1"), insecure=True)
        error = await refusal(client.head(references.parse("quay.io/app:1")))
        assert error.reason == "Forbidden"
        assert str(error).startswith("importing images from registry quay.io is forbidden: quay.io is not on the list")


async def test_a_token_server_of_a_trusted_registry_may_be_internal(registry: Registry) -> None:
    tokens = TokenServer(logins={"ann": ANN.password})
    registry.tokens, registry.readers = tokens, {"app": {"ann"}}
    async with running(tokens), registries(registry) as client:
        await client.head(image(registry, "app:1"), [ANN])
    assert len(tokens.seen) == 1


async def test_a_token_server_of_a_stranger_may_not_be_internal() -> None:
    tokens = TokenServer()
    transport = Transport(rate=1000, burst=1000, max_connections=10)
    transport.open()
    fetching = Tokens(transport, Certificates({}))
    stranger = Endpoint("registry.example", "https", verified=True, anywhere=False)
    async with running(tokens):
        for host in (tokens.host, f"localhost:{tokens.host.rpartition(':')[2]}"):
            with pytest.raises(Failed) as caught:
                await fetching.get(Wanted(stranger, f"http://{host}/token", "the-registry", "", None))
            assert caught.value.failure.end is End.FORBIDDEN
            assert "no public address" in str(caught.value)
    await fetching.close()
    await transport.close()
    assert tokens.seen == []


async def test_a_kept_connection_to_an_internal_token_server_serves_no_stranger(registry: Registry) -> None:
    tokens = TokenServer()
    registry.tokens = tokens
    async with running(tokens), registries(registry) as client:
        await client.head(image(registry, "app:1"))
        tokens.seen.clear()
        error = await refusal(client.head(references.parse(f"{tokens.host}/app:1"), insecure=True))
        assert error.reason == "Forbidden"
        assert tokens.seen == []


async def test_a_redirect_to_an_internal_address_is_not_followed(registry: Registry) -> None:
    internal = Registry()
    async with running(internal), registries(registry) as client:
        registry.instead = redirect(f"{internal.url}/v2/app/manifests/1")
        error = await refusal(client.head(image(registry, "app:1"), [ANN]))
        assert error.reason == "Forbidden"
        assert internal.seen == []


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "no-such-host.invalid", "[::::]:5000", "[]:5000"])
@pytest.mark.parametrize("trusted", [True, False])
async def test_a_host_that_is_none_is_told(host: str, trusted: bool) -> None:
    async with client_of({host: HostSettings()} if trusted else {}) as client:
        with pytest.raises(RegistryError) as caught:
            await client.head(references.Reference(host, "app", "1"))
        assert host in str(caught.value)


# Redirects


def redirect(location: str, status: int = 307, *, path: str = "/v2/app/manifests/1") -> Any:
    async def handle(request: web.Request) -> web.StreamResponse | None:
        if request.path != path:
            return None
        return web.Response(status=status, headers={"Location": location})

    return handle


async def test_a_redirect_on_the_same_server_keeps_the_login(registry: Registry) -> None:
    registry.logins, registry.readers = {"ann": ANN.password}, {"moved/app": {"ann"}}
    registry.push("moved/app", "1", manifest("a"))
    registry.instead = redirect("/v2/moved/app/manifests/1")
    async with registries(registry) as client:
        await client.head(image(registry, "app:1"), [ANN])
    assert registry.seen[-1].target == "/v2/moved/app/manifests/1"
    assert registry.seen[-1].authorization == login("ann", ANN.password)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_server_carries_no_login(registry: Registry, status: int) -> None:
    other = Registry()
    other.push("app", "1", manifest("a"))
    registry.logins, registry.readers = {"ann": ANN.password}, {"app": {"ann"}}

    async def once_logged_in(request: web.Request) -> web.StreamResponse | None:
        if "Authorization" not in request.headers:
            return None
        return web.Response(status=status, headers={"Location": f"http://eve:hunter2@{other.host}{request.path}"})

    registry.instead = once_logged_in
    async with running(other), registries(registry, other) as client:
        await client.head(image(registry, "app:1"), [ANN])
    assert registry.seen[-1].authorization == login("ann", ANN.password)
    (request,) = other.seen
    assert (request.method, request.authorization) == ("HEAD", "")


async def test_a_login_does_not_come_back_with_a_second_redirect(registry: Registry) -> None:
    other = Server()
    registry.logins, registry.readers = {"ann": ANN.password}, {"app": {"ann"}}

    async def away(request: web.Request) -> web.StreamResponse | None:
        logged_in = "Authorization" in request.headers
        return web.Response(status=307, headers={"Location": f"{other.url}/"}) if logged_in else None

    registry.instead = away
    async with running(other), registries(registry, other) as client:
        other.instead = redirect(f"{registry.url}/v2/secrets/manifests/1", path="/")
        await refusal(client.tags(image(registry, "app"), [ANN]))
    assert [(seen.target, seen.authorization) for seen in registry.seen[-3:-1]] == [
        ("/v2/app/tags/list?n=1000", login("ann", ANN.password)),
        ("/v2/secrets/manifests/1", ""),
    ]


async def test_another_servers_challenge_is_not_met(registry: Registry) -> None:
    tokens = TokenServer()
    other = Registry(tokens=tokens)
    async with running(other), running(tokens), registries(registry, other) as client:
        registry.instead = redirect(f"{other.url}/v2/app/manifests/1")
        assert (await refusal(client.head(image(registry, "app:1"), [ANN]))).reason == "Unauthorized"
        assert tokens.seen == []


async def test_another_servers_challenge_is_not_taken_for_the_registrys_own(registry: Registry) -> None:
    tokens = TokenServer()
    other = Registry(tokens=tokens)
    async with running(other), running(tokens), registries(registry, other) as client:
        registry.instead = redirect(f"{other.url}/v2/", path="/v2/")
        assert (await refusal(client.head(image(registry, "app:gone"), [ANN]))).reason == "NotFound"
        assert other.asked() == ["GET /v2/"]
        assert tokens.seen == []


async def test_redirects_without_end_are_given_up(registry: Registry) -> None:
    registry.instead = redirect("/v2/app/manifests/1")
    async with registries(registry) as client:
        assert "redirects more than 5 times" in str(await refusal(client.head(image(registry, "app:1"))))
    assert len(registry.seen) == 6


@pytest.mark.parametrize("location", ["ftp://x/", "http://[::1/", "mailto:x", "http://x:99999/"])
async def test_a_redirect_to_what_is_no_url_is_told(registry: Registry, location: str) -> None:
    registry.instead = redirect(location)
    async with registries(registry) as client:
        assert "no http or https URL" in str(await refusal(client.head(image(registry, "app:1"))))


async def test_a_redirect_to_a_server_that_is_down_is_told(registry: Registry) -> None:
    registry.instead = redirect("http://127.0.0.1:1/x")
    async with client_of({registry.host: HostSettings(insecure=True), "127.0.0.1:1": HostSettings()}) as client:
        error = await refusal(client.head(image(registry, "app:1")), RegistryUnavailable)
        assert "redirected to 127.0.0.1:1: no connection" in str(error)


# Waiting


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("0", 0),
        ("", None),
        ("-7", None),
        ("1.5", None),
        ("soon", None),
        ("\u0667", None),
        ("9" * 5000, 3600),
        (formatdate(NOW + 30, usegmt=True), 30),
        (formatdate(NOW - 30, usegmt=True), 0),
        (formatdate(NOW + 10**6, usegmt=True), 3600),
    ],
)
def test_reads_how_long_to_wait(value: str, expected: float | None) -> None:
    assert retry_after_seconds(value, NOW) == expected


@pytest.mark.parametrize("as_date", [False, True])
async def test_a_registry_that_wants_to_be_left_alone_is(registry: Registry, as_date: bool) -> None:
    async def busy(_: web.Request) -> web.StreamResponse:
        value = formatdate(time.time() + 30, usegmt=True) if as_date else "30"
        return web.Response(status=429, headers={"Retry-After": value})

    async with registries(registry) as client:
        registry.instead = busy
        for _ in range(3):
            error = await refusal(client.head(image(registry, "app:1"), [ANN]), RegistryUnavailable)
            assert isinstance(error, RegistryUnavailable)
            assert error.retry_after_seconds == pytest.approx(30, abs=3)
        assert len(registry.seen) == 1
        registry.instead = None
        # Others are not held for what was said to ann.
        await client.head(image(registry, "app:1"))


async def test_it_is_asked_again_when_the_time_is_over(registry: Registry) -> None:
    async def busy(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"Retry-After": "1"})

    async with registries(registry) as client:
        registry.instead = busy
        await refusal(client.head(image(registry, "app:1")), RegistryUnavailable)
        registry.instead = None
        await asyncio.sleep(1)
        await client.head(image(registry, "app:1"))


# TLS


def certificate(ca: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
async def secure(ca: trustme.CA) -> AsyncIterator[Registry]:
    found = Registry()
    found.push("app", "1", manifest("a"))
    async with running(found, tls=certificate(ca)):
        yield found


async def test_a_ca_file_is_believed_for_its_host(secure: Registry, ca_file: Path) -> None:
    async with client_of({secure.host: HostSettings(ca_file=ca_file)}) as client:
        await client.head(image(secure, "app:1"))


@pytest.mark.parametrize("insecure", [False, True])
async def test_a_certificate_that_is_not_trusted_is_told(secure: Registry, insecure: bool) -> None:
    async with client_of({secure.host: HostSettings()}) as client:
        if insecure:
            await client.head(image(secure, "app:1"), insecure=True)
        error = await refusal(client.head(image(secure, "app:1")), RegistryUnavailable)
        assert "its certificate is not trusted" in str(error)
        assert "caFile" in str(error)


async def test_a_certificate_for_another_name_is_told(ca: trustme.CA, ca_file: Path) -> None:
    impostor = Registry()
    async with running(impostor, tls=certificate(ca, "registry.example")):  # noqa: SIM117 - it has no name before
        async with client_of({impostor.host: HostSettings(ca_file=ca_file)}) as client:
            error = await refusal(client.head(image(impostor, "app:1")), RegistryUnavailable)
            assert "its certificate is not trusted" in str(error)


async def test_a_ca_file_is_read_again_when_it_changes(secure: Registry, ca: trustme.CA, ca_file: Path) -> None:
    trustme.CA().cert_pem.write_to_path(ca_file)
    async with client_of({secure.host: HostSettings(ca_file=ca_file)}) as client:
        await refusal(client.head(image(secure, "app:1")), RegistryUnavailable)
        new = ca_file.with_suffix(".new")
        ca.cert_pem.write_to_path(new)
        new.replace(ca_file)
        await client.head(image(secure, "app:1"))
        with capture_logs() as logged:
            for broken in ("no PEM", None):
                if broken is None:
                    ca_file.unlink()
                else:
                    new.write_text(broken)
                    new.replace(ca_file)
                for _ in range(3):
                    await client.head(image(secure, "app:1"))
        assert [line["event"] for line in logged] == ["registry.ca_file_unusable"] * 2


@pytest.mark.parametrize("content", [None, "no PEM"])
def test_a_ca_file_that_cannot_be_used_stops_the_start(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=r"caFile .*ca\.pem cannot be used"):
        client_of({"r.example": HostSettings(ca_file=file)})


async def test_a_token_server_is_believed_by_the_registrys_ca(secure: Registry, ca: trustme.CA, ca_file: Path) -> None:
    tokens = TokenServer(logins={"ann": ANN.password})
    secure.tokens, secure.readers = tokens, {"app": {"ann"}}
    async with running(tokens, tls=certificate(ca)), client_of({secure.host: HostSettings(ca_file=ca_file)}) as client:
        await client.head(image(secure, "app:1"), [ANN])


async def test_an_insecure_registrys_token_server_is_not_verified_either(
    registry: Registry, secure: Registry, ca: trustme.CA
) -> None:
    tokens = TokenServer(logins={"ann": ANN.password})
    async with running(tokens, tls=certificate(ca)):
        for server in (registry, secure):
            server.tokens, server.readers = tokens, {"app": {"ann"}}
            async with client_of({server.host: HostSettings()}) as client:
                await client.head(image(server, "app:1"), [ANN], insecure=True)


async def test_credentials_are_not_sent_to_a_token_server_without_tls(secure: Registry, ca_file: Path) -> None:
    tokens = TokenServer(logins={"ann": ANN.password})
    secure.tokens, secure.readers = tokens, {"app": {"ann"}}
    async with running(tokens):
        for insecure in (False, True):
            async with client_of({secure.host: HostSettings(insecure, None if insecure else ca_file)}) as client:
                error = await refusal(client.head(image(secure, "app:1"), [ANN]))
                assert error.reason == "Unauthorized"
                assert "without TLS" in str(error)
        assert {request.authorization for request in tokens.seen} == {""}


async def test_what_was_learned_without_verifying_is_not_believed_when_verifying(
    secure: Registry, ca: trustme.CA, ca_file: Path
) -> None:
    mallory = TokenServer()
    tokens = TokenServer(logins={"ann": ANN.password})
    secure.readers = {"app": {"ann"}}
    async with running(mallory), running(tokens, tls=certificate(ca)):  # noqa: SIM117 - they belong together
        async with client_of({secure.host: HostSettings(ca_file=ca_file)}) as client:
            secure.tokens = mallory
            await refusal(client.head(image(secure, "app:1"), insecure=True))
            assert mallory.seen
            mallory.seen.clear()
            secure.tokens = tokens
            await client.head(image(secure, "app:1"), [ANN])
            assert mallory.seen == []


async def test_a_redirect_from_tls_to_plain_http_is_not_followed(
    registry: Registry, secure: Registry, ca_file: Path
) -> None:
    secure.instead = redirect(f"{registry.url}/v2/app/manifests/1")
    hosts = {secure.host: HostSettings(ca_file=ca_file), registry.host: HostSettings()}
    async with client_of(hosts) as client:
        assert "without TLS" in str(await refusal(client.head(image(secure, "app:1"))))
    assert registry.seen == []


async def test_to_be_insecure_is_said_of_one_host_and_not_of_where_it_redirects(
    registry: Registry, secure: Registry
) -> None:
    target = f"localhost:{secure.host.rpartition(':')[2]}"
    registry.instead = redirect(f"https://{target}/v2/app/manifests/1")
    async with client_of({registry.host: HostSettings(insecure=True), target: HostSettings()}) as client:
        error = await refusal(client.head(image(registry, "app:1")), RegistryUnavailable)
        assert f"redirected to {target}: its certificate is not trusted" in str(error)
    assert secure.seen == []


async def test_plain_http_that_was_not_asked_for_is_told(registry: Registry) -> None:
    registry.logins, registry.readers = {"ann": ANN.password}, {"app": {"ann"}}
    async with client_of({registry.host: HostSettings()}) as client:
        error = await refusal(client.head(image(registry, "app:1"), [ANN]))
        assert error.reason == "BadRequest"
        assert f"registry {registry.host} is HTTP only" in str(error)
        assert "insecure" in str(error)
    assert all(not request.authorization for request in registry.seen)


async def test_what_speaks_neither_is_unreachable() -> None:
    async with client_of({"127.0.0.1:1": HostSettings()}) as client:
        for insecure in (False, True):
            error = await refusal(
                client.head(references.parse("127.0.0.1:1/app:1"), insecure=insecure), RegistryUnavailable
            )
            assert "registry 127.0.0.1:1: no connection" in str(error)


async def test_insecure_speaks_tls_where_there_is_some(secure: Registry) -> None:
    async with client_of({secure.host: HostSettings()}) as client:
        await client.head(image(secure, "app:1"), insecure=True)


async def test_the_scheme_of_a_host_is_remembered(registry: Registry) -> None:
    """A relay before the registry sees with what each connection begins: TLS with 0x16, HTTP with a letter."""
    begins: list[bytes] = []
    host, _, port = registry.host.rpartition(":")

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begin = await reader.read(65536)
        begins.append(begin[:1])
        if begin[:1] != b"\x16":
            there, back = await asyncio.open_connection(host, int(port))
            back.write(begin)
            writer.write(await there.read(65536))
            back.close()
        writer.close()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        name = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client_of({name: HostSettings(insecure=True)}) as client:
            for _ in range(3):
                await client.head(references.parse(f"{name}/app:1"))
    assert begins[:1] == [b"\x16"]
    assert begins.count(b"\x16") == 1
    assert b"H" in begins


async def test_a_registry_that_begins_to_speak_tls_is_found_again(ca: trustme.CA) -> None:
    found = Registry()
    found.push("app", "1", manifest("a"))
    async with AsyncExitStack() as stack:
        async with running(found):
            port = int(found.host.rpartition(":")[2])
            client = await stack.enter_async_context(client_of({found.host: HostSettings(insecure=True)}))
            await client.head(image(found, "app:1"))
        async with running(found, tls=certificate(ca), port=port):
            with pytest.raises(RegistryError):
                await client.head(image(found, "app:1"))
            await client.head(image(found, "app:1"))


async def test_an_answer_that_breaks_off_is_unavailable(registry: Registry) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with registries(registry) as client:
        registry.instead = hang_up
        error = await refusal(client.head(image(registry, "app:1")), RegistryUnavailable)
        assert "broke off" in str(error)


async def test_an_answer_that_is_no_http_is_told() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(b"HTTP/1.1 200 OK\r\nX-Long: " + b"secret-of-ann" * 10_000 + b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        name = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client_of({name: HostSettings(insecure=True)}) as client:
            with pytest.raises(RegistryError) as caught:
                await client.head(references.parse(f"{name}/app:1"))
    assert "secret" not in "".join(traceback.format_exception(caught.value))


# Secrets


async def test_no_secret_shows_in_any_failure(secure: Registry, ca: trustme.CA, ca_file: Path) -> None:
    """Every way to fail that these tests know, with credentials; and nobody is told them."""
    tokens = TokenServer(logins={"ann": ANN.password}, extra={"token": "token-0"})
    secure.tokens, secure.readers = tokens, {"app": {"ann"}}
    digest = secure.push("app", "index", b'{"manifests":[7]}')
    failures: list[BaseException] = []
    identity = Credential("ann", "", "identity-of-ann")
    secrets = ("secret-of", "not-her", "identity-of", "token-0", "hunter2", "service=", "scope=", "Basic ", "Bearer ")

    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    def saying(**answer: Any) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse | None:
            return web.Response(**answer) if "Authorization" in request.headers else None

        return handle

    async def try_it(client: Registries, name: str, *credentials: Credential, insecure: bool = False) -> None:
        reference = image(secure, name)
        for asking in (client.head, client.tags, client.children):
            try:
                await asking(reference, credentials, insecure=insecure)
            except RegistryError as error:
                failures.append(error)

    with capture_logs() as logged:
        async with running(tokens, tls=certificate(ca)):
            hosts = {secure.host: HostSettings(ca_file=ca_file)}
            realm = f"https://eve:hunter2@{tokens.host}/token?secret=hunter2"
            for of_tokens in (None, saying(status=500), saying(status=302), saying(body=b"secret-of-ann"), hang_up):
                tokens.instead = of_tokens
                async with client_of(hosts) as client:
                    await try_it(client, "app:1", Credential("ann", "not-her-secret"), identity)
                    await try_it(client, f"app@{digest}", ANN)
            tokens.instead = None
            for of_registry in (
                saying(status=500),
                saying(status=429, headers={"Retry-After": "9"}),
                saying(status=400, text='{"code":"hunter2 token-0"}'),
                saying(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'}),
                saying(status=307, headers={"Location": "https://eve:hunter2@127.0.0.1:1/?token=hunter2"}),
                saying(status=307, headers={"Location": "https://eve:hunter2@[::1/?token=hunter2"}),
                saying(status=200, body=b"hunter2", content_type="text/html"),
                hang_up,
            ):
                secure.instead = of_registry
                async with client_of(hosts) as client:
                    await try_it(client, "app:1", ANN)
                    await try_it(client, f"app@{digest}", ANN)
        async with client_of(hosts) as client:
            secure.instead = None
            await try_it(client, "app:1", ANN)  # no token server any more
        async with client_of({}) as client:
            await try_it(client, "app:1", ANN)
    assert len(failures) > 50
    for error in failures:
        told = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
        seen: BaseException | None = error
        while seen is not None:
            told += repr(seen) + repr(seen.args)
            seen = seen.__cause__ or seen.__context__
        # The lines of our own source, which a traceback quotes, hold no value.
        told = "\n".join(line for line in told.splitlines() if not line.startswith("    "))
        for secret in secrets:
            assert secret not in told
    assert logged == []
