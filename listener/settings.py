"""The settings: one YAML file, checked as a whole, with the path of each mistake. Explained where each field stands.

Scalars outside lists can be overridden by the environment: `history.limit` by LISTENER_HISTORY_LIMIT,
`fanOut.maxInFlight` by LISTENER_FAN_OUT_MAX_IN_FLIGHT. Secrets are never in the file: it names a file or a variable
that holds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_origin

import msgspec
import yaml

from listener.core import authentication
from listener.core.imports import interval_seconds
from listener.core.kinds import KINDS, Kind, custom
from listener.core.origins import Origin
from listener.core.references import canonical_registry
from listener.core.renewal import canonical_host
from listener.errors import SettingsError

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Duration = Annotated[str, msgspec.Meta(pattern=r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$", min_length=2)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
HeaderName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9-]{1,64}$")]
Https = Annotated[str, msgspec.Meta(pattern=r"^https://[^\s/?#@]+(/[^\s?#]*)?$")]
Topic = Annotated[
    str,
    msgspec.Meta(pattern=r"^arn:aws(-[a-z]+)*:sns:[a-z]{2}(-[a-z]+)+-[0-9]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$"),
]
NamespacedName = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
]
LeaseName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
Host = Annotated[str, msgspec.Meta(pattern=r"^(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9._-]*[a-z0-9])?)(:[0-9]{1,5})?$")]


_LABELS: Final = ("unknown", "other")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """Frozen, and an unknown key is a mistake."""


class Listen(_Section, frozen=True, kw_only=True):
    """Where we listen, as HOST:PORT."""

    hooks: str = "0.0.0.0:8080"
    """POST /hooks/NAME."""
    monitoring: str = "0.0.0.0:8081"
    """/livez /readyz /healthz /metrics. Not meant for the outside."""
    admission: str = "0.0.0.0:8443"
    """POST /lookup over TLS, for the API server; only with `lookup.enabled`."""
    proxies: tuple[str, ...] = ()
    """The networks, as 10.0.0.0/8, of the proxies in front of the hooks. Their X-Forwarded-For says who calls us, and
    limits are by who calls; with a proxy that is not named here, all its callers share one limit."""


class SecretSource(_Section, frozen=True, kw_only=True):
    """Where a secret is kept; exactly one of the two. A file is read again when it changes.

    It may hold several secrets, one a line, that are all valid: for as long as a rotation takes.
    """

    secret_file: str | None = None
    secret_env: str | None = None


class BasicAuth(SecretSource, frozen=True, kw_only=True):
    """HTTP Basic. The secret is the password."""

    username: str


class HeaderAuth(SecretSource, frozen=True, kw_only=True):
    """A header whose whole value is the secret, for senders that send a bare token (GitLab, Harbor)."""

    name: HeaderName


class HmacAuth(SecretSource, frozen=True, kw_only=True):
    """A header with the HMAC of the raw body (GitHub, Gitea). What is not written here is as the dialect says."""

    header: HeaderName | None = None
    """Must be written with the dialect `auto`, and with one whose sender does not sign by itself."""
    algorithm: Literal["sha1", "sha256", "sha512"] | None = None
    prefix: Annotated[str, msgspec.Meta(pattern=r"^[!-~]{0,32}$")] | None = None
    """What stands before the hexadecimal digits, such as `sha256=`."""


class QueryAuth(SecretSource, frozen=True, kw_only=True):
    """A parameter of the URL is the secret, for senders that can do nothing else (Docker Hub, Quay). Proxies log it."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "secret"


class OidcAuth(_Section, frozen=True, kw_only=True):
    """A token of an OpenID Connect issuer, as bearer token (Google Pub/Sub, CI systems). It needs no secret here."""

    issuer: Annotated[str, msgspec.Meta(pattern=r"^(https://[^\s/?#@]+(/[^\s?#]*)?|accounts\.google\.com)$")]
    """As the tokens have it in `iss`: https://accounts.google.com, or whichever it is."""
    audience: Text
    """Whom the token must be made for, as the sender is told."""
    claims: dict[Text, str | bool | int]
    """What else the token must say, such as `email` (Google), `sub` or `repository`."""
    jwks_uri: Https | None = None
    """Where the issuer's keys are; null: as its discovery document says."""


class SnsAuth(_Section, frozen=True, kw_only=True):
    """The signature of Amazon SNS. It needs no secret here. A subscription is confirmed when it asks for that."""

    topics: Annotated[tuple[Topic, ...], msgspec.Meta(min_length=1)]
    """The ARNs of the topics whose messages are taken."""


class Auth(_Section, frozen=True, kw_only=True):
    """How a registry proves that a delivery is its own; exactly one of these."""

    bearer: SecretSource | None = None
    basic: BasicAuth | None = None
    header: HeaderAuth | None = None
    hmac: HmacAuth | None = None
    oidc: OidcAuth | None = None
    sns: SnsAuth | None = None
    query: QueryAuth | None = None
    none: bool | None = None
    """`true`: whoever reaches the hook is heard. What was pushed is then asked of the registry, by its tag; a digest in
    the delivery is not believed."""

    def secret(self) -> SecretSource | None:
        """Where the secret is kept; None for what needs none."""
        return self.bearer or self.basic or self.header or self.hmac or self.query

    def scheme(self, signature: authentication.Signature | None) -> authentication.Scheme:
        """How that secret is carried. `signature` is the dialect's. Not for oidc and sns, whose secrets are not ours.

        Raises SettingsError if nothing says in which header a signature is; its path begins below `auth`.
        """
        if self.basic:
            return authentication.Basic(self.basic.username)
        if self.header:
            return authentication.Header(self.header.name.lower())
        if self.bearer:
            return authentication.Bearer()
        if self.query:
            return authentication.Query(self.query.name)
        if self.hmac:
            return _signature(self.hmac, signature)
        if self.none:
            return authentication.Open()
        raise ValueError("what oidc and sns sign is signed with no secret of ours")


def _signature(hmac: HmacAuth, dialect: authentication.Signature | None) -> authentication.Signature:
    header = hmac.header or (dialect.header if dialect else None)
    if header is None:
        raise SettingsError("hmac.header: expected the header with the signature, since no dialect says which it is")
    algorithm = hmac.algorithm or (dialect.algorithm if dialect else "sha256")
    # Those who write `sha256=` write `sha1=` too.
    usual = dialect.prefix.replace(dialect.algorithm, algorithm) if dialect else ""
    prefix = usual if hmac.prefix is None else hmac.prefix
    return authentication.Signature(header.lower(), algorithm, prefix)


# Every token has them, or we check them anyway: they do not tell one holder from another.
_CLAIMS_OF_ALL: Final = frozenset({"iss", "aud", "exp", "nbf", "iat", "email_verified"})


class Registry(_Section, frozen=True, kw_only=True):
    """A registry that calls us."""

    name: Name
    """Its hook is POST /hooks/NAME."""
    host: Host
    """As it stands in pull specs, with the port if there is one. Docker Hub's names are one, docker.io."""
    aliases: tuple[Host, ...] = ()
    """What it may call itself in its events (an internal name, another port). Other hosts are refused."""
    dialect: str = "auto"
    """How it writes; `auto` finds out from each delivery."""
    auth: Auth
    integrated: bool = False
    """Its repository NAMESPACE/NAME is the ImageStream NAME in NAMESPACE, made on the first push."""
    public_host: Host | None = None
    """With `integrated`: what the registry is called outside the cluster, where that differs."""
    verify: bool = True
    """Ask the registry where a tag stands: a moment after each hook, and before a hook that may be an old one moves it.
    Without, hooks are believed in the order of their times: so what has no digest in it cannot be verified, and with
    `auth: {none: true}` it takes `believeAnybody`."""
    when_unreachable: Literal["refuse", "believe"] = "refuse"
    """What becomes of a hook while the registry cannot be asked: `refuse` has its sender come again (503), `believe`
    takes it as it stands, unless it may be an old one, and the registry is asked later. Not with `auth: {none: true}`.
    """
    believe_anybody: bool = False
    """Must be true where nothing is secret and nothing verified: anybody who reaches the hook moves any tag of this
    registry to any digest, and so chooses what the cluster runs. For a lab."""
    insecure: bool = False
    """Whether we may speak plain http to it, and skip the check of its certificate."""
    ca_file: str | None = None
    """The certificates to check its own with, instead of the system's. Read again when it changes."""

    def origin(self) -> Origin:
        """What its hook takes, and believes."""
        return Origin(
            self.name,
            self.host,
            frozenset(name for name in (*self.aliases, self.public_host) if name),
            self.integrated,
            self.verify,
            believes_unverified=self.when_unreachable == "believe",
            is_proven=not self.auth.none,
        )


class PerHost(_Section, frozen=True, kw_only=True):
    """How fast any one registry host is asked."""

    rate: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 10
    """Requests a second."""
    burst: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 20
    """Requests at once, after a pause."""


class Imports(_Section, frozen=True, kw_only=True):
    """How tags are imported from registries. Durations are written as 90s, 15m, 1h30m."""

    interval: Duration = "15m"
    """How often a scheduled tag is imported."""
    min_interval: Duration = "1m"
    """The shortest interval that a tag's annotation imagestreams.dev/import-interval may ask for."""
    max_interval: Duration = "4h"
    """How far the polls of a tag are stretched, step by step, while its registry's hooks prove alive."""
    per_host: PerHost = PerHost()
    max_tags: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
    """How many tags of a whole repository (spec.dockerImageRepository) become tags of the stream."""
    allowed: tuple[Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.*?:\[\]_-]+$")], ...] = ()
    """The hosts that streams may import from, as globs (`*.example.com`, `registry.corp:5000`). A host named here may
    be at any address. Empty: any host, at public addresses only. `registries` are always allowed."""


class History(_Section, frozen=True, kw_only=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    """Items kept for each tag; the oldest go first."""


class FanOut(_Section, frozen=True, kw_only=True):
    max_in_flight: Annotated[int, msgspec.Meta(ge=1, le=250)] = 100
    """Patches sent at the same time. API servers queue some 300 requests of one client before they answer 429."""
    max_per_second: Annotated[float, msgspec.Meta(gt=0, le=10_000)] | None = None
    """Patches sent in a second, at most; null: as many as the API server takes well."""
    change_cause: bool = True
    """Set kubernetes.io/change-cause with each patch, so that `kubectl rollout history` explains itself."""


class WorkloadKind(_Section, frozen=True, kw_only=True):
    """A kind of workload that Kubernetes itself does not have, with a pod spec somewhere in its objects."""

    api_version: Annotated[str, msgspec.Meta(pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?v[0-9][a-z0-9]*$")]
    kind: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Za-z0-9]{0,62}$")]
    pod_spec_path: Annotated[
        str, msgspec.Meta(pattern=r"^(?!metadata(\.|$))[A-Za-z][A-Za-z0-9]*(\.[A-Za-z][A-Za-z0-9]*){0,9}$")
    ]
    """Such as spec.template.spec. The trigger annotation's fieldPath begins with it."""
    plural: Annotated[str, msgspec.Meta(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")] | None = None
    """What its resource is called in paths; null: as the cluster's discovery says."""


class Lookup(_Section, frozen=True, kw_only=True):
    """Whether images of pod specs may name stream tags (`ruby:2.7`), and the certificate of the webhook for that.

    With `secret` the certificate is our own, with `cert_file` and `key_file` somebody else's; exactly one of the two.
    """

    enabled: bool = False
    secret: NamespacedName | None = None
    """The Secret, as NAMESPACE/NAME, that our certificate and its authority are kept in. It must exist, be it empty."""
    hosts: tuple[Text, ...] = ()
    """What the API server calls us, names or addresses: our certificate is for these."""
    webhook: Text | None = None
    """The MutatingWebhookConfiguration that gets the authority's certificate (caBundle), with `secret`."""
    cert_file: str | None = None
    """A certificate in PEM, with those it needs to be trusted. Read again when it changes, as its key is."""
    key_file: str | None = None


class LeaderElection(_Section, frozen=True, kw_only=True):
    """Of several replicas one fans out and imports, the one that holds the Lease; all of them take hooks."""

    enabled: bool = True
    """Without it each process believes that it is alone. Two of them would do everything twice."""
    lease: LeaseName = "imagestream-listener"
    """The Lease's name. It is in our own namespace: the Pod's, or that of the kubeconfig's context."""


class Logging(_Section, frozen=True, kw_only=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """`auto`: for people on a terminal, JSON elsewhere."""


class Settings(_Section, frozen=True, kw_only=True):
    listen: Listen = Listen()
    registries: tuple[Registry, ...] = ()
    imports: Imports = Imports()
    history: History = History()
    fan_out: FanOut = FanOut()
    workloads: tuple[WorkloadKind, ...] = ()
    """More kinds that are followed; they need the rights get, list, watch and patch."""
    namespaces: tuple[Name, ...] = ()
    """Where streams and workloads are looked for; empty: everywhere. A stream elsewhere cannot be followed."""
    lookup: Lookup = Lookup()
    leader_election: LeaderElection = LeaderElection()
    logging: Logging = Logging()

    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that are followed: ours, then those of `workloads`."""
        more = (
            custom(each.api_version, each.kind, tuple(each.pod_spec_path.split(".")), each.plural or "")
            for each in self.workloads
        )
        return (*KINDS, *more)


def load(file: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read the file (none: the defaults), then the environment. Raises SettingsError naming the key."""
    if file is None:
        return parse({}, environment)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {file} cannot be read: {error}") from error
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"settings file {file} is not YAML: {' '.join(str(error).split())}") from error
    if found is None:
        found = {}
    if not isinstance(found, dict):
        raise SettingsError(f"settings file {file} must hold a mapping of keys, not a {type(found).__name__}")
    try:
        return parse(found, environment)
    except SettingsError as error:
        raise SettingsError(f"settings file {file}: {error}") from error


def parse(found: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Turn a mapping into settings, overridden by the environment. Raises SettingsError."""
    merged: dict[str, Any] = dict(found)
    for path, kind, variable in _overridable(Settings):
        if variable in environment:
            try:
                # Not strict only where the environment spoke: it knows nothing but text.
                value = msgspec.convert(environment[variable], kind, strict=False)
            except msgspec.ValidationError as error:
                raise SettingsError(f"{'.'.join(path)}: {error} (from the variable {variable})") from error
            _override(merged, path, value)
    try:
        settings = msgspec.convert(merged, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(_readable(str(error))) from error
    _check(settings)
    named = tuple(
        msgspec.structs.replace(registry, host=canonical_registry(registry.host)) for registry in settings.registries
    )
    return msgspec.structs.replace(settings, registries=named)


def _overridable(section: type[_Section], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Path, type and variable of each scalar in a section."""
    for field in msgspec.structs.fields(section):
        here = (*path, field.encode_name)
        if isinstance(field.type, type) and issubclass(field.type, _Section):
            yield from _overridable(field.type, here)
        elif path and get_origin(field.type) is not tuple:
            yield here, field.type, "LISTENER_" + re.sub(r"([A-Z])", r"_\1", "_".join(here)).upper()


def _override(found: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    """Set a value, unless something on the way is no section: that is a mistake to be reported as it stands."""
    section, *rest = path
    if not rest:
        found[section] = value
        return
    inner = found.get(section, {})
    if isinstance(inner, Mapping):
        found[section] = dict(inner)
        _override(found[section], tuple(rest), value)


def _readable(message: str) -> str:
    """msgspec says "Expected `int`, got `str` - at `$.history.limit`"; a person reads the key first."""
    what, _, where = message.partition(" - at ")
    where = where.removeprefix("`key` in ").strip("`").removeprefix("$").removeprefix(".")
    return f"{where or 'top level'}: {what}"


def _check(settings: Settings) -> None:
    seen: dict[str, int] = {}
    for number, registry in enumerate(settings.registries):
        where = f"registries[{number}]"
        if registry.name in _LABELS:
            raise SettingsError(f"{where}.name: {registry.name!r} is what metrics call those that are not configured")
        if (other := seen.setdefault(registry.name, number)) != number:
            raise SettingsError(f"{where}.name: {registry.name!r} is the name of registries[{other}] already")
        _check_auth(registry.auth, f"{where}.auth")
        _check_belief(registry, where)
        if registry.auth.sns and registry.dialect != "aws-sns":
            raise SettingsError(
                f"{where}.dialect: expected aws-sns with auth.sns: its signature covers what SNS wrote, and nothing"
                " that another dialect would read beside it"
            )
        if registry.public_host and not registry.integrated:
            raise SettingsError(f"{where}.publicHost: only an integrated registry serves streams; set integrated: true")
    _check_workloads(settings.workloads)
    _check_imports(settings.imports)
    _check_proxies(settings.listen.proxies)
    _check_lookup(settings.lookup)
    for key in ("hooks", "monitoring", "admission"):
        value = getattr(settings.listen, key)
        if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+):\d{1,5}", value) or int(value.rpartition(":")[2]) > 65535:
            raise SettingsError(f"listen.{key}: expected HOST:PORT such as 0.0.0.0:8080, found {value!r}")


def _check_lookup(found: Lookup) -> None:
    files = bool(found.cert_file), bool(found.key_file)
    if any(files) and not all(files):
        raise SettingsError(f"lookup.{'keyFile' if files[0] else 'certFile'}: a certificate and its key go together")
    if any(files) and found.secret:
        raise SettingsError("lookup.secret: expected either secret, or certFile and keyFile; found both")
    if any(files) and (found.hosts or found.webhook):
        key = "hosts" if found.hosts else "webhook"
        raise SettingsError(f"lookup.{key}: goes with a certificate of our own (secret), not with certFile and keyFile")
    if found.enabled and not (found.secret or any(files)):
        raise SettingsError(
            "lookup.secret: API servers call webhooks over TLS only; expected the Secret, as NAMESPACE/NAME, to keep a"
            " certificate in, or certFile and keyFile"
        )
    if found.enabled and found.secret and not found.hosts:
        raise SettingsError("lookup.hosts: expected what the API server calls us, such as NAME.NAMESPACE.svc")
    for number, host in enumerate(found.hosts):
        try:
            canonical_host(host)
        except ValueError as error:
            raise SettingsError(f"lookup.hosts[{number}]: {error}") from error


def _check_proxies(found: Sequence[str]) -> None:
    for number, text in enumerate(found):
        try:
            network = ip_network(text)
        except ValueError as error:
            raise SettingsError(
                f"listen.proxies[{number}]: expected a network such as 10.0.0.0/8, or an address: {error}"
            ) from error
        if not network.prefixlen:
            raise SettingsError(f"listen.proxies[{number}]: {text} would let everybody say who they are")


def _check_auth(auth: Auth, where: str) -> None:
    given = [field.encode_name for field in msgspec.structs.fields(auth) if getattr(auth, field.name)]
    if len(given) != 1:
        raise SettingsError(
            f"{where}: expected exactly one of bearer, basic, header, hmac, oidc, sns, query, none: true;"
            f" found {', '.join(given) or 'none of them'}."
            " Without a secret anybody could move this registry's tags, so even that must be written out"
        )
    source = auth.secret()
    if source and bool(source.secret_file) == bool(source.secret_env):
        raise SettingsError(f"{where}.{given[0]}: expected exactly one of secretFile, secretEnv")
    if auth.oidc:
        _check_claims(auth.oidc, f"{where}.oidc.claims")


def _check_claims(oidc: OidcAuth, where: str) -> None:
    """A token of a public issuer is anybody's who asks for one; only what it says of its holder tells them apart."""
    if not oidc.claims.keys() - _CLAIMS_OF_ALL:
        raise SettingsError(
            f"{where}: expected at least one claim besides issuer and audience, such as sub or email:"
            " anybody can get a token of a public issuer, for any audience, so a valid one proves nothing"
        )
    is_google = oidc.issuer.removeprefix("https://").rstrip("/") == "accounts.google.com"
    if is_google and not isinstance(oidc.claims.get("email"), str):
        raise SettingsError(
            f"{where}: expected email, the service account that Google's token is made for:"
            " anybody with a Google account can get a token for any audience, so a valid one proves nothing"
        )


def _check_belief(registry: Registry, where: str) -> None:
    believes_all = bool(registry.auth.none) and not registry.verify
    if believes_all and not registry.believe_anybody:
        raise SettingsError(
            f"{where}.verify: false together with auth: {{none: true}} lets anybody who reaches the hook move every tag"
            " of this registry; set verify: true, or a secret in auth, or say believeAnybody: true"
        )
    if registry.believe_anybody and not believes_all:
        raise SettingsError(
            f"{where}.believeAnybody: means something only with verify: false and auth: {{none: true}}; take it out"
        )
    if registry.auth.none and registry.when_unreachable == "believe":
        raise SettingsError(
            f"{where}.whenUnreachable: believe needs a secret in auth; with none: true a stranger's hook would be"
            " believed whenever the registry is down"
        )


def _check_workloads(found: Sequence[WorkloadKind]) -> None:
    known = {(kind.name, kind.api_version.rpartition("/")[0]): "followed anyway" for kind in KINDS}
    for number, kind in enumerate(found):
        name = (kind.kind, kind.api_version.rpartition("/")[0])
        if name in known:
            raise SettingsError(f"workloads[{number}]: {kind.kind} of {kind.api_version} is {known[name]}; take it out")
        known[name] = f"named by workloads[{number}] already"


def _check_imports(found: Imports) -> None:
    for key, text in (("interval", found.interval), ("minInterval", found.min_interval)):
        if not interval_seconds(text):
            raise SettingsError(f"imports.{key}: expected a duration above zero, such as 15m; found {text!r}")
    if seconds(found.interval) < seconds(found.min_interval):
        raise SettingsError(
            f"imports.interval: {found.interval} is shorter than imports.minInterval, {found.min_interval}; lower that"
        )
    for number, pattern in enumerate(found.allowed):
        if not pattern.strip("*?.:"):
            raise SettingsError(
                f"imports.allowed[{number}]: {pattern!r} would allow every address inside the cluster too;"
                " leave the list empty to allow any public host, or name hosts"
            )


def seconds(duration: str) -> float:
    """The seconds of a duration that was checked."""
    return interval_seconds(duration) or 0.0
