"""`listener hook`: what a saved delivery would do, and sending it again. For the hook that does not work."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from listener import __version__
from listener.cli import deliveries, output
from listener.cli.deliveries import Saved, delivery_arguments
from listener.cli.options import Common, run
from listener.cli.streams import CommandFailed, line, settings_of
from listener.core import authentication, events, pushes
from listener.core.authentication import Basic, Bearer, Header, Open, Query, Scheme, Signature
from listener.core.events import LARGEST_BODY, LARGEST_PROVEN_BODY, Delivery, Parsed, PushEvent, Remark
from listener.dialects import DIALECTS, Dialect, detect, payload
from listener.edges.secrets import Secret
from listener.errors import BadInput, MalformedDelivery, NotPosted, SettingsError

if TYPE_CHECKING:
    from listener.settings import Registry, Settings

_SIGNED_TOKEN = re.compile(r"[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}", re.ASCII)
_SECRET_NAME = re.compile(
    r"(?:.*[-_.])?(?:token|secret|auth|authorization|password|signature|signature-256|api-?key|code|key)", re.IGNORECASE
)
_HOOKS: Final = "/hooks/"
_ANSWER_SHOWN: Final = 2000
_ANSWER_SECONDS: Final = 60
# What the connection needs and not the delivery; the client writes its own.
_OF_THE_CONNECTION: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect"}
    | {"accept-encoding", "proxy-authorization", "proxy-connection"}
)


@dataclass(frozen=True, slots=True)
class _Sign:
    """What a product says in a header, and nowhere in its body. `keys` are members of bodies that it may belong to."""

    dialect: str
    header: str
    value: str
    keys: frozenset[str]


_SIGNS: Final = (
    _Sign("github", "X-GitHub-Event", "package", frozenset({"package", "registry_package", "zen"})),
    _Sign("gitea", "X-Gitea-Event", "package", frozenset({"package"})),
    _Sign("forgejo", "X-Forgejo-Event", "package", frozenset({"package"})),
    _Sign("nexus", "X-Nexus-Webhook-ID", "rm:repository:component", frozenset({"nodeId", "repositoryName"})),
    _Sign("aws-sns", "x-amz-sns-message-type", "Notification", frozenset({"TopicArn", "SubscribeURL"})),
    _Sign("distribution", "Content-Type", "application/vnd.docker.distribution.events.v1+json", frozenset()),
)


@dataclass(frozen=True, slots=True)
class _Explained:
    """What a delivery would do. `failure` is why it could not be read, for exit code 1."""

    dialect: Dialect | None
    authentication: str
    registry: Registry | None = None
    parsed: Parsed = field(default_factory=Parsed)
    failure: str = ""

    @property
    def is_admitted(self) -> bool:
        return ": refused" not in self.authentication


@click.group("hook")
def command() -> None:
    """Find out why a hook does not work: explain a saved delivery, or send it again."""


_dialect_option = click.option(
    "--dialect",
    "dialect_name",
    type=click.Choice(list(DIALECTS)),
    metavar="NAME",
    help="How the delivery is written, see `listener dialects`. Default: as the registry's settings say, or found out.",
)
_registry_option = click.option(
    "--registry", "registry_name", metavar="NAME", help="One of the settings' `registries`; with --config."
)
_config_option = click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="The settings, a YAML file."
)
_output_option = click.option(
    "-o",
    "--output",
    "how",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    help="How to print the result. Default: table, for people.",
)


@command.command("explain", short_help="Show what a saved delivery would do, offline.")
@delivery_arguments
@_dialect_option
@_registry_option
@_config_option
@_output_option
def explain(
    file: str,
    headers: Mapping[str, str],
    query: Mapping[str, str],
    dialect_name: str | None,
    registry_name: str | None,
    config: Path | None,
    how: str,
) -> None:
    """Show what a saved delivery would do, without a cluster, a registry or the network.

    FILE (- for stdin) is the body as it came, or the whole HTTP request. With --registry it is judged as that
    registry's hook would: its secret, its dialect, its names.
    """
    settings, registry = _registry(config, registry_name)
    saved = deliveries.read(file, headers, query)
    for note in (*saved.notes, *_sent_elsewhere(saved, settings, registry)):
        output.note(note)
    found = _explain(saved, dialect_name, settings, registry)
    if how != "table":
        output.say(output.document(_document(found), how))
    elif not found.failure:
        output.say(_text(found))
    if found.failure:
        raise CommandFailed(found.failure)


@command.command("send", short_help="Send a saved delivery to a running service.")
@delivery_arguments
@click.option("--url", required=True, metavar="URL", help="The hook, or with --registry only the service.")
@_dialect_option
@_registry_option
@_config_option
@click.option(
    "--auth",
    metavar="KIND",
    help="How to carry the secret where --registry does not tell: bearer, basic:USERNAME, header:NAME, hmac[:HEADER],"
    " query:NAME.",
)
@click.option(
    "--secret-file", type=click.Path(path_type=Path), metavar="FILE", help="With --auth: where the secret is."
)
@click.option("--secret-env", metavar="VARIABLE", help="With --auth: the variable that holds it.")
@_output_option
def send(
    file: str,
    headers: Mapping[str, str],
    query: Mapping[str, str],
    url: str,
    dialect_name: str | None,
    registry_name: str | None,
    config: Path | None,
    auth: str | None,
    secret_file: Path | None,
    secret_env: str | None,
    how: str,
) -> None:
    """Send a saved delivery, byte for byte, to a running service, and show what it answers.

    FILE (- for stdin) is the body as it came, or the whole HTTP request, whose headers are sent too. With --registry,
    or --auth and a secret, it carries the secret that the service asks for; of several in the file, the first. Exit
    code 1 if the answer is not 2xx.
    """
    _check_usage(url, registry_name, auth, bool(secret_file) + bool(secret_env))
    _, registry = _registry(config, registry_name)
    saved = deliveries.read(file, headers, query)
    for note in (*saved.notes, *([str(saved.fault)] if saved.fault else [])):
        output.note(note)
    sent = _completed(saved, dialect_name or (registry.dialect if registry else ""))
    added: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
    if registry:
        added = _own_credentials(registry, saved.sent.body)
    elif auth:
        secret = Secret(file=secret_file, env=secret_env)
        scheme = _scheme_of(auth, DIALECTS.get(dialect_name or "") or detect(saved.delivery))
        added = authentication.credentials(scheme, secret.values()[0], saved.sent.body)
    if registry and urlsplit(url).path in ("", "/"):
        url = url.rstrip("/") + f"/hooks/{registry.name}"
    run(_send(sent, url, *added, how=how))


def _registry(config: Path | None, name: str | None) -> tuple[Settings | None, Registry | None]:
    if name is None:
        return None, None
    if config is None:
        raise click.UsageError("--registry is one of the settings' registries: name their file with --config")
    settings = settings_of(Common(None, None, None, "table", config))
    for registry in settings.registries:
        if registry.name == name:
            return settings, registry
    known = ", ".join(registry.name for registry in settings.registries) or "none"
    raise CommandFailed(f"there is no registry {name!r} in {config}; there are: {known}")


# What it would do


def _sent_elsewhere(saved: Saved, settings: Settings | None, registry: Registry | None) -> list[str]:
    """What is to be said of a request that went to another hook than its registry's."""
    if not (saved.path and settings and registry):
        return []
    hook = saved.path.removeprefix(_HOOKS).removesuffix("/") if saved.path.startswith(_HOOKS) else ""
    if hook == registry.name:
        return []
    if not hook:
        where = "a path that is none of ours: unless a proxy rewrites it, the service answers 404"
    elif hook in {each.name for each in settings.registries}:
        where = f"the hook of registry {hook}"
    else:
        where = "a hook that is none of the settings': there the service answers 404"
    return [f"the delivery was sent to {where}, and is judged as at that of {registry.name}"]


def _explain(
    saved: Saved, dialect_name: str | None, settings: Settings | None, registry: Registry | None
) -> _Explained:
    named = DIALECTS.get(dialect_name or (registry.dialect if registry else ""))
    if registry and registry.dialect not in ("auto", *DIALECTS):
        raise CommandFailed(f"the settings name {registry.dialect!r} as dialect of {registry.name}, and there is none")
    delivery = saved.delivery
    seen = detect(delivery)
    dialect = named or seen
    judged = _judged(registry, saved.sent, dialect) if registry else _carried(delivery, dialect)
    if saved.method not in ("", "POST", "OPTIONS"):
        return _refused(dialect, judged, registry, NotPosted(f"a hook is posted to, and this is a {saved.method}"))
    if saved.method == "OPTIONS":
        return _asking(dialect, judged, registry)
    if failure := _too_large(saved, registry):
        return _Explained(dialect, judged, registry, failure=failure)
    if saved.fault:
        return _refused(dialect, judged, registry, saved.fault)
    if dialect is None:
        return _Explained(None, judged, registry, failure=_unrecognised(delivery))
    try:
        parsed = dialect.parse(delivery)
    except MalformedDelivery as error:
        failure = f"as {dialect.name} writes it, this is malformed, and the service answers 400: {line(str(error))}"
        if seen and seen is not dialect:
            failure += f". It looks like {seen.name}"
        refused = (Remark("the delivery", str(error)),)
        return _Explained(dialect, judged, registry, Parsed(refused=refused), failure)
    if registry and settings:
        parsed = _at_home(parsed, registry, settings.namespaces)
    return _Explained(dialect, judged, registry, parsed)


def _asking(dialect: Dialect | None, judged: str, registry: Registry | None) -> _Explained:
    """A request that asks whether deliveries may come. It has no body to be read, nor to be signed."""
    scheme = _scheme(registry) if registry else None
    if registry and scheme and authentication.needs_body(scheme):
        judged = f"{_kind(registry)}: not asked for"
    told = Remark("OPTIONS", "it asks whether it may deliver here; what is in it is not read")
    return _Explained(dialect, judged, registry, Parsed(ignored=(told,)))


def _refused(dialect: Dialect | None, judged: str, registry: Registry | None, why: BadInput) -> _Explained:
    """A request that the service answers with an error before it reads what is in it."""
    told = Parsed(refused=(Remark("the delivery", str(why)),))
    return _Explained(dialect, judged, registry, told, f"{why}: the service answers {why.status}")


def _too_large(saved: Saved, registry: Registry | None) -> str:
    """Why the body is more than the service reads, "" if it is not."""
    most = LARGEST_PROVEN_BODY if registry is None or _is_proven_before_the_body(registry) else LARGEST_BODY
    if len(saved.delivery.body) > LARGEST_BODY and saved.delivery.body is not saved.sent.body:
        most = LARGEST_BODY
    if max(len(saved.sent.body), len(saved.delivery.body)) > most:
        return f"the body is larger than {most} bytes: the service answers 413"
    if registry is None and len(saved.sent.body) > LARGEST_BODY:
        output.note(
            f"the body is larger than {LARGEST_BODY} bytes: the service answers 413, unless the registry's secret"
            " stands in a header or in the URL"
        )
    return ""


def _is_proven_before_the_body(registry: Registry) -> bool:
    scheme = _scheme(registry)
    if scheme is None:
        return registry.auth.oidc is not None
    return not isinstance(scheme, Open) and not authentication.needs_body(scheme)


def _unrecognised(delivery: Delivery) -> str:
    """Say what was looked at, and which header may be missing."""
    found, why = _read(delivery)
    if isinstance(found, dict):
        keys = [events.printable(key, 40) for key in list(found)[:8]]
        body = f"a JSON object with {', '.join(keys)}" if keys else "an empty JSON object"
    else:
        body = why or "JSON, but no object"
    names = ", ".join(sorted(events.printable(name, 40) for name in delivery.headers)[:20]) or "none"
    signs = [sign for sign in _SIGNS if sign.dialect in DIALECTS and sign.header.lower() not in delivery.headers]
    if isinstance(found, dict):
        signs = [sign for sign in signs if sign.keys & found.keys()] or signs
    needed = "; ".join(f"{DIALECTS[sign.dialect].title} needs {sign.header}" for sign in signs)
    return (
        f"no dialect is recognised: looked at the headers ({names}) and the body ({body})"
        f"{'. ' if needed else ''}{needed}. Give the headers with --header, or the dialect with --dialect"
    )


def _read(delivery: Delivery) -> tuple[Any, str]:
    """The body's JSON, or what is wrong with it."""
    if not delivery.body.strip():
        return None, "empty"
    try:
        return payload.decoded(delivery, "JSON"), ""
    except MalformedDelivery as error:
        return None, str(error).removeprefix("expected JSON, the body is ")


def _carried(delivery: Delivery, dialect: Dialect | None) -> str:
    """What could prove whose a delivery is; never the secret."""
    headers, found = delivery.headers, []
    signature = dialect.signature if dialect else None
    if signature and _is_mac(signature, headers.get(signature.header, "")):
        found.append(f"hmac in {signature.header}")
    kind, _, rest = headers.get("authorization", "").strip().partition(" ")
    if kind.lower() == "bearer" and rest:
        found.append("bearer (a signed token, as of oidc)" if _SIGNED_TOKEN.fullmatch(rest.strip()) else "bearer")
    elif kind.lower() == "basic" and rest:
        found.append("basic")
    elif kind:
        found.append("header authorization")
    body = payload.peek_object(delivery)
    if payload.text(body, "Signature") and payload.text(body, "SigningCertURL"):
        found.append("sns signature")
    for name in headers:
        if name == "authorization" or not _SECRET_NAME.fullmatch(name):
            continue
        if "signature" not in name:
            found += [f"header {name}"] if f"hmac in {name}" not in found else []
        elif not signature or signature.header not in headers:
            found.append(f"hmac in {name}")
    found += [f"query {name}" for name in delivery.query if _SECRET_NAME.fullmatch(name)]
    return events.printable(", ".join(found) or "none")


def _is_mac(signature: Signature, value: str) -> bool:
    value = value.strip().lower()
    return value.startswith(signature.prefix) and bool(re.fullmatch("[0-9a-f]{40,128}", value[len(signature.prefix) :]))


def _judged(registry: Registry, delivery: Delivery, dialect: Dialect | None) -> str:
    """Whether the registry's `auth` admits it."""
    kind = _kind(registry)
    scheme = _scheme(registry)
    if scheme is None:
        return f"{kind}: not checked offline"
    if isinstance(scheme, Open):
        asked = ": of digest and time, the registry is asked" if registry.verify else ""
        return f"{kind}: accepted, as anybody's would be{asked}"
    try:
        secrets = _secrets(registry)
    except SettingsError as error:
        return f"{kind}: not checked ({error}); the delivery carries: {_carried(delivery, dialect)}"
    if authentication.admits(scheme, secrets, delivery):
        return f"{kind}: accepted"
    why = authentication.complaint(scheme, delivery)
    bare = delivery._replace(body=delivery.body.rstrip(b"\r\n"))
    if bare.body != delivery.body and authentication.admits(scheme, secrets, bare):
        why = "the signature fits the body without the end of line that FILE has and an editor may have added"
    return f"{kind}: refused ({why})"


def _kind(registry: Registry) -> str:
    """The key under `auth`."""
    return next(name for name in registry.auth.__struct_fields__ if getattr(registry.auth, name))


def _scheme(registry: Registry) -> Scheme | None:
    """How the registry's secret is carried, None for what only its sender can sign."""
    if registry.auth.oidc or registry.auth.sns:
        return None
    dialect = DIALECTS.get(registry.dialect)
    try:
        return registry.auth.scheme(dialect.signature if dialect else None)
    except SettingsError as error:
        raise CommandFailed(f"registry {registry.name}: auth.{error}") from error


def _secrets(registry: Registry) -> tuple[bytes, ...]:
    """Raises SettingsError if they cannot be read."""
    source = registry.auth.secret()
    if source is None:
        return (b"",)
    return Secret(file=Path(source.secret_file) if source.secret_file else None, env=source.secret_env).values()


def _at_home(parsed: Parsed, registry: Registry, namespaces: Sequence[str]) -> Parsed:
    """What is left of the pushes at a registry's hook."""
    origin = registry.origin()
    believed, left_out = origin.believed(parsed.pushes)
    kept: list[PushEvent] = []
    refused = [*parsed.refused, *([left_out] if left_out else [])]
    for push in believed:
        why = origin.complaint(push)
        if why is None and registry.integrated and isinstance(own := origin.own_stream(push, namespaces), str):
            why = own
        if why:
            refused.append(Remark(f"push of {push.repository}:{push.tag}", why))
        else:
            kept.append(push)
    return Parsed(tuple(kept), parsed.ignored, tuple(refused), parsed.reply, parsed.confirm)


def _document(found: _Explained) -> dict[str, Any]:
    parsed = found.parsed
    document: dict[str, Any] = {
        "dialect": found.dialect.name if found.dialect else None,
        "authentication": found.authentication,
        "pushes": [_push_document(push, found.registry) for push in parsed.pushes],
        "ignored": [{"what": remark.what, "why": remark.why} for remark in parsed.ignored],
        "refused": [{"what": remark.what, "why": remark.why} for remark in parsed.refused],
    }
    if parsed.reply is not None:
        document["reply"] = dict(parsed.reply)
    if parsed.confirm is not None:
        document["confirm"] = parsed.confirm
    return document


def _push_document(push: PushEvent, registry: Registry | None) -> dict[str, Any]:
    document = {
        "registry": push.registry,
        "repository": push.repository,
        "tag": push.tag,
        "digest": push.digest,
        "mediaType": push.media_type,
        "timestamp": pushes.time_text(push.timestamp) or None,
        "actor": push.actor,
        "id": push.event_id,
    }
    if registry and registry.integrated:
        document["imageStreamTag"] = f"{push.repository}:{push.tag}"
    return document


def _text(found: _Explained) -> str:
    dialect, parsed, registry = found.dialect, found.parsed, found.registry
    facts = [
        ("dialect", f"{dialect.name}: {dialect.title}" if dialect else "none"),
        ("authentication", found.authentication),
    ]
    if registry:
        facts.insert(1, ("registry", f"{registry.name}: {registry.host}"))
    width = max(len(name) for name, _ in facts)
    parts = ["\n".join(f"{name.ljust(width)}   {value}" for name, value in facts)]
    if not found.is_admitted:
        parts.append("The service answers 401, and does nothing of what follows.")
    if parsed.pushes:
        parts.append(output.table(("PUSH", "DIGEST", "AT", "BY", "MOVES"), [_row(p, registry) for p in parsed.pushes]))
    for title, remarks in (("IGNORED", parsed.ignored), ("REFUSED", parsed.refused)):
        if remarks:
            parts.append(output.table((title, "WHY"), [(remark.what, remark.why) for remark in remarks]))
    if parsed.reply is not None:
        parts.append(f"The service answers {events.printable(json.dumps(dict(parsed.reply)), _ANSWER_SHOWN)}")
    if parsed.confirm is not None:
        parts.append(f"The sender wants this to be asked first: {events.printable(parsed.confirm, _ANSWER_SHOWN)}")
    if not (parsed.pushes or parsed.ignored or parsed.refused or parsed.reply or parsed.confirm):
        parts.append("There is nothing in it.")
    return "\n\n".join(parts)


def _row(push: PushEvent, registry: Registry | None) -> tuple[str, ...]:
    name = f"{push.repository}:{push.tag}"
    host = registry.host if registry else push.registry
    follows = f"what follows {host or 'REGISTRY'}/{name}"
    return (
        f"{push.registry}/{name}" if push.registry else name,
        push.digest or "none: the registry is asked",
        pushes.time_text(push.timestamp) or "-",
        push.actor or "-",
        f"ImageStreamTag {name}" if registry and registry.integrated else follows,
    )


# Sending it


def _check_usage(url: str, registry: str | None, auth: str | None, secrets: int) -> None:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise click.BadParameter("expected http://HOST[:PORT]/hooks/NAME, or https", param_hint="--url")
    if "@" in parts.netloc:
        raise click.BadParameter("put no password into it; use --auth basic:USERNAME", param_hint="--url")
    if auth and registry:
        raise click.UsageError("--auth goes with no --registry: its settings say how it carries the secret")
    if auth and secrets != 1:
        raise click.UsageError("--auth goes with one of --secret-file and --secret-env")
    if secrets and not auth:
        raise click.UsageError("a secret goes with --auth, which says how to carry it")
    if auth and not re.fullmatch(r"bearer|basic:.+|header:[A-Za-z0-9-]+|hmac(:[A-Za-z0-9-]+)?|query:.+", auth):
        raise click.BadParameter(
            "expected bearer, basic:USERNAME, header:NAME, hmac[:HEADER] or query:NAME", param_hint="--auth"
        )


def _scheme_of(auth: str, dialect: Dialect | None) -> Scheme:
    """The scheme that `--auth` names. How an HMAC is written is its product's affair."""
    kind, _, name = auth.partition(":")
    match kind:
        case "bearer":
            return Bearer()
        case "basic":
            return Basic(name)
        case "header":
            return Header(name.lower())
        case "query":
            return Query(name)
    known = [found.signature for found in (dialect, *DIALECTS.values()) if found and found.signature]
    if name:
        return next((found for found in known if found.header == name.lower()), Signature(name.lower()))
    if dialect and dialect.signature:
        return dialect.signature
    raise click.UsageError("--auth hmac: name the header, as hmac:HEADER, or the --dialect of a sender that signs")


def _own_credentials(registry: Registry, body: bytes) -> tuple[Mapping[str, str], Mapping[str, str]]:
    scheme = _scheme(registry)
    if scheme is None:
        wanted = _kind(registry)
        output.note(f"registry {registry.name} wants {wanted}, which only its sender can sign: sent as it was saved")
        return {}, {}
    return authentication.credentials(scheme, _secrets(registry)[0], body)


def _completed(saved: Saved, dialect_name: str) -> Delivery:
    """What is to be sent: with what the server, or the dialect, looks for in the headers and was not saved."""
    headers = dict(saved.sent.headers)
    dialect = DIALECTS.get(dialect_name)
    if dialect and not dialect.recognises(saved.delivery):
        for sign in _SIGNS:
            if sign.dialect == dialect.name:
                headers.setdefault(sign.header.lower(), sign.value)
    headers.setdefault("content-type", "application/json")
    return saved.sent._replace(headers=headers)


async def _send(
    delivery: Delivery, url: str, headers: Mapping[str, str], query: Mapping[str, str], *, how: str
) -> None:
    import aiohttp  # noqa: PLC0415 - a fifth of a second to import, which `explain` need not wait for
    from yarl import URL  # noqa: PLC0415

    sent = {name: value for name, value in delivery.headers.items() if name not in _OF_THE_CONNECTION}
    sent = {"user-agent": f"imagestream-listener/{__version__}", **sent, **headers}
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    try:
        target = URL(url).update_query({**delivery.query, **query})
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(target, data=delivery.body, headers=sent, allow_redirects=False) as response,
        ):
            answer = await response.read()
            status, reason = response.status, response.reason or ""
            location = response.headers.get("location", "")
    # Not in the library's words: they hold URLs, and headers, and some of those are secrets.
    except TimeoutError as error:
        raise CommandFailed(f"{_plain(url)} does not answer within {_ANSWER_SECONDS} s") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise CommandFailed(
            f"{_plain(url)} shows a certificate that is not trusted; name its CA by SSL_CERT_FILE"
        ) from error
    except aiohttp.ClientConnectorError as error:
        raise CommandFailed(f"{_plain(url)} cannot be reached: {error.os_error.strerror or 'no address'}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise CommandFailed(f"{_plain(url)} gives no answer that is HTTP: {type(error).__name__}") from error
    except ValueError as error:
        raise CommandFailed("the delivery cannot be sent: a header is no text, or holds what ends a line") from error
    if not 200 <= status < 300:
        told = f"it is at {events.printable(location)}; name that URL" if location else _complaint(answer)
        raise CommandFailed(f"the service answers {status}: {told}")
    _show_answer(status, events.printable(reason), answer, how)


def _plain(url: str) -> str:
    """Without the query, where the secret may be."""
    return url.partition("?")[0]


def _complaint(answer: bytes) -> str:
    found = _decoded(answer)
    error = found.get("error") if isinstance(found, dict) else None
    text = error if isinstance(error, str) else answer.decode(errors="replace")
    return line(events.printable(line(text), _ANSWER_SHOWN)) or "nothing more"


def _show_answer(status: int, reason: str, answer: bytes, how: str) -> None:
    found = _decoded(answer)
    if how != "table":
        shown = found if found is not None else answer.decode(errors="replace")
        output.say(output.document({"status": status, "answer": shown}, how))
        return
    if not (isinstance(found, dict) and isinstance(found.get("outcome"), str)):
        # A handshake, or somebody else's server.
        text = events.printable(line(answer.decode(errors="replace")), _ANSWER_SHOWN)
        output.say(f"{status} {reason}".rstrip() + (f"\n{text}" if text else ""))
        return
    rows = [
        row
        for key in ("moved", "unchanged", "ignored", "refused", "unanswered")
        for row in _answer_rows(key, found.get(key))
    ]
    parts = [f"{status} {reason}: {events.printable(found['outcome'])}"]
    parts += [output.table(("OUTCOME", "WHAT", "DETAIL"), rows)] if rows else []
    if isinstance(found.get("delivery"), str):
        parts.append(f"In the service's log it is delivery {events.printable(found['delivery'])}.")
    output.say("\n\n".join(parts))


def _answer_rows(outcome: str, found: object) -> list[tuple[str, str, str]]:
    rows = []
    for entry in found if isinstance(found, list) else []:
        if isinstance(entry, dict):
            texts = {key: events.printable(str(value)) for key, value in entry.items()}
            name = f"{texts.get('namespace', '')}/{texts.get('stream', '')}:{texts.get('tag', '')}"
            what = texts.get("what") or name
            rows.append((outcome, what, texts.get("why") or texts.get("digest") or ""))
    return rows


def _decoded(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None
