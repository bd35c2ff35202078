"""The settings: one YAML file, checked as a whole, with the path of each mistake. Explained where each field stands.

Scalars outside lists can be overridden by the environment: `history.limit` by LISTENER_HISTORY_LIMIT,
`fanOut.maxInFlight` by LISTENER_FAN_OUT_MAX_IN_FLIGHT. Secrets are never in the file: it names a file or a variable
that holds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import msgspec
import yaml

from listener.core.imports import interval_seconds
from listener.core.kinds import KINDS, Kind, custom
from listener.errors import SettingsError

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Duration = Annotated[str, msgspec.Meta(pattern=r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$", min_length=2)]
Host = Annotated[str, msgspec.Meta(pattern=r"^(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9._-]*[a-z0-9])?)(:[0-9]{1,5})?$")]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """Frozen, and an unknown key is a mistake."""


class Listen(_Section, frozen=True, kw_only=True):
    """Where we listen, as HOST:PORT."""

    hooks: str = "0.0.0.0:8080"
    """POST /hooks/NAME."""
    monitoring: str = "0.0.0.0:8081"
    """/livez /readyz /healthz /metrics. Not meant for the outside."""


class SecretSource(_Section, frozen=True, kw_only=True):
    """Where a secret is kept; exactly one of the two. A file is read again when it changes."""

    secret_file: str | None = None
    secret_env: str | None = None


class BasicAuth(SecretSource, frozen=True, kw_only=True):
    """HTTP Basic. The secret is the password."""

    username: str


class HeaderAuth(SecretSource, frozen=True, kw_only=True):
    """A header whose whole value is the secret, for senders that send a bare token (GitLab, Harbor)."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class Auth(_Section, frozen=True, kw_only=True):
    """How a registry proves that a delivery is its own; exactly one of these."""

    bearer: SecretSource | None = None
    basic: BasicAuth | None = None
    header: HeaderAuth | None = None
    none: bool | None = None
    """`true`: anybody who reaches the hook can move the registry's tags."""


class Registry(_Section, frozen=True, kw_only=True):
    """A registry that calls us."""

    name: Name
    """Its hook is POST /hooks/NAME."""
    host: Host
    """As it stands in pull specs, with the port if there is one."""
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
    Without, hooks are believed in the order of their times."""
    insecure: bool = False
    """Whether we may speak plain http to it, and skip the check of its certificate."""
    ca_file: str | None = None
    """The certificates to check its own with, instead of the system's. Read again when it changes."""


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
    """Where streams and workloads are looked for; empty: everywhere."""
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
    return settings


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
        if (other := seen.setdefault(registry.name, number)) != number:
            raise SettingsError(f"{where}.name: {registry.name!r} is the name of registries[{other}] already")
        given = {
            name: value for name in ("bearer", "basic", "header", "none") if (value := getattr(registry.auth, name))
        }
        if len(given) != 1:
            raise SettingsError(
                f"{where}.auth: expected exactly one of bearer, basic, header, none: true;"
                f" found {', '.join(given) or 'none of them'}."
                " Without a secret anybody could move this registry's tags, so even that must be written out"
            )
        for name, source in given.items():
            if isinstance(source, SecretSource) and bool(source.secret_file) == bool(source.secret_env):
                raise SettingsError(f"{where}.auth.{name}: expected exactly one of secretFile, secretEnv")
        if registry.public_host and not registry.integrated:
            raise SettingsError(f"{where}.publicHost: only an integrated registry serves streams; set integrated: true")
    _check_workloads(settings.workloads)
    _check_imports(settings.imports)
    for key, value in (("hooks", settings.listen.hooks), ("monitoring", settings.listen.monitoring)):
        if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+):\d{1,5}", value) or int(value.rpartition(":")[2]) > 65535:
            raise SettingsError(f"listen.{key}: expected HOST:PORT such as 0.0.0.0:8080, found {value!r}")


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
