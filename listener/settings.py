"""The settings: one YAML file, checked as a whole, with the path of each mistake. Explained where each field stands.

Scalars outside lists can be overridden by the environment: `history.limit` by LISTENER_HISTORY_LIMIT,
`fanOut.maxInFlight` by LISTENER_FAN_OUT_MAX_IN_FLIGHT. Secrets are never in the file: it names a file or a variable
that holds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from listener.errors import SettingsError

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
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


class History(_Section, frozen=True, kw_only=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    """Items kept for each tag; the oldest go first."""


class FanOut(_Section, frozen=True, kw_only=True):
    max_in_flight: Annotated[int, msgspec.Meta(ge=1, le=250)] = 100
    """Patches sent at the same time. API servers queue some 300 requests of one client before they answer 429."""
    change_cause: bool = True
    """Set kubernetes.io/change-cause with each patch, so that `kubectl rollout history` explains itself."""


class Logging(_Section, frozen=True, kw_only=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """`auto`: for people on a terminal, JSON elsewhere."""


class Settings(_Section, frozen=True, kw_only=True):
    listen: Listen = Listen()
    registries: tuple[Registry, ...] = ()
    history: History = History()
    fan_out: FanOut = FanOut()
    namespaces: tuple[Name, ...] = ()
    """Where streams and workloads are looked for; empty: everywhere."""
    logging: Logging = Logging()


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
    for section, key, kind, variable in _overridable():
        inner = merged.get(section, {})
        if variable in environment and isinstance(inner, Mapping):
            try:
                # Not strict only where the environment spoke: it knows nothing but text.
                value = msgspec.convert(environment[variable], kind, strict=False)
            except msgspec.ValidationError as error:
                raise SettingsError(f"{section}.{key}: {error} (from the variable {variable})") from error
            merged[section] = {**inner, key: value}
    try:
        settings = msgspec.convert(merged, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(_readable(str(error))) from error
    _check(settings)
    return settings


def _overridable() -> Iterator[tuple[str, str, Any, str]]:
    """Section, key, type and variable of each."""
    for section in msgspec.structs.fields(Settings):
        if isinstance(section.type, type) and issubclass(section.type, _Section):
            for field in msgspec.structs.fields(section.type):
                words = re.sub(r"([A-Z])", r"_\1", f"{section.encode_name}_{field.encode_name}").upper()
                yield section.encode_name, field.encode_name, field.type, f"LISTENER_{words}"


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
    for key, value in (("hooks", settings.listen.hooks), ("monitoring", settings.listen.monitoring)):
        if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+):\d{1,5}", value) or int(value.rpartition(":")[2]) > 65535:
            raise SettingsError(f"listen.{key}: expected HOST:PORT such as 0.0.0.0:8080, found {value!r}")
