"""Pull secrets: which credentials a namespace has for an image, the most specific first.

The secrets are Docker's two formats as Kubernetes keeps them, and what matches is what matches for the kubelet
(`pkg/credentialprovider`), so that an image which a Pod can pull can also be imported. Where this room differs: hosts
are compared without case, and every name of Docker Hub is a name for it.

It knows secrets as data. It must not know where they are stored, nor what a credential is used for; and whatever it
says about a secret, it says by the secret's name.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from itertools import islice
from typing import Any, Final

from listener.core.references import Reference, canonical_registry

_TYPES: Final = {
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
    "kubernetes.io/dockercfg": ".dockercfg",
}
_SCHEME: Final = re.compile(r"https?://", re.IGNORECASE)
# Where the daemon's logins of old keep their entries: `https://index.docker.io/v1/`.
_API_VERSION: Final = re.compile(r"^/v[12](?=/|$)")
_PORT: Final = re.compile(r":([0-9]+)$")
# Of all secrets together. One of 1 MiB may hold 20,000, and to read those holds up everybody for seconds.
_MOST_ENTRIES: Final = 1000


@dataclass(frozen=True, slots=True)
class Credential:
    """A login. With an identity token that one counts, and the password is empty."""

    username: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class PullSecret:
    """A secret with its data decoded (no base64 around it any more)."""

    name: str
    type: str
    data: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A credential, and the images it is for."""

    host: str
    path: str
    credential: Credential

    @property
    def is_glob(self) -> bool:
        return not self.host.startswith("[") and any(sign in self.host for sign in "*?[")

    @property
    def rank(self) -> tuple[int, bool, int, str]:
        """Sorts the more specific first: a longer path, then a whole host name, then a longer host."""
        return (-len(self.path), self.is_glob, -len(self.host), self.host)


class Keyring:
    """The credentials of some secrets, ready to be looked up. `problems` says, in sentences, what could not be used."""

    def __init__(self, entries: Iterable[_Entry], problems: Iterable[str] = ()) -> None:
        self.problems = tuple(problems)
        self._named: dict[str, list[_Entry]] = {}
        self._globs: list[tuple[_HostGlob, _Entry]] = []
        for entry in sorted(entries, key=lambda entry: entry.rank):
            if entry.is_glob:
                self._globs.append((_HostGlob(entry.host), entry))
            else:
                self._named.setdefault(entry.host, []).append(entry)

    def matching(self, reference: Reference) -> tuple[Credential, ...]:
        """The credentials for an image, the most specific first, each once."""
        target = reference.with_defaults()
        path = f"/{target.repository}"
        found = [entry for entry in self._named.get(target.registry, ()) if path.startswith(entry.path)]
        by_glob = [
            entry for glob, entry in self._globs if path.startswith(entry.path) and glob.matches(target.registry)
        ]
        if by_glob:
            found = sorted(found + by_glob, key=lambda entry: entry.rank)
        return tuple(dict.fromkeys(entry.credential for entry in found))


def read(secrets: Iterable[PullSecret]) -> Keyring:
    """Make a keyring. Secrets of other types are no business of ours; what is broken in ours becomes a problem."""
    entries: list[_Entry] = []
    problems: list[str] = []
    all_found = ((secret.name, found) for secret in secrets for found in _read_secret(secret))
    for name, found in islice(all_found, _MOST_ENTRIES):
        if isinstance(found, str):
            problems.append(f"pull secret {name}: {found}")
        else:
            entries.append(found)
    if next(all_found, None):
        problems.append(f"the pull secrets have more than {_MOST_ENTRIES} entries; the first {_MOST_ENTRIES} are read")
    return Keyring(entries, problems)


class _HostGlob:
    """A host with wildcards: each label by itself, so `*.example.com` is one label more than `example.com`."""

    def __init__(self, host: str) -> None:
        name, self._port = _split_port(host)
        self._labels = [re.compile(translate(label)).match for label in name.split(".")]

    def matches(self, host: str) -> bool:
        name, port = _split_port(host)
        labels = name.split(".")
        return (
            port == self._port
            and len(labels) == len(self._labels)
            and all(fits(label) is not None for fits, label in zip(self._labels, labels, strict=True))
        )


def _split_port(host: str) -> tuple[str, str]:
    port = _PORT.search(host)
    return (host[: port.start()], port[1]) if port else (host, "")


def _read_secret(secret: PullSecret) -> Iterator[_Entry | str]:
    key = _TYPES.get(secret.type)
    if key is None:
        return
    if key not in secret.data:
        yield f"the key {key} is missing"
        return
    content = _json_object(secret.data[key])
    if content is None:
        yield f"{key} must hold a JSON object"
        return
    auths = content.get("auths") if key == ".dockerconfigjson" else content
    if not isinstance(auths, Mapping):
        yield f'{key} must have an object "auths"'
        return
    for number, (place, login) in enumerate(auths.items(), 1):
        credential = _credential(login)
        entry = credential if isinstance(credential, str) else _entry(place, credential)
        # By its number: some people write a password into the key as well.
        yield f"entry {number} {entry}" if isinstance(entry, str) else entry


def _credential(login: Any) -> Credential | str:
    """Read a login, or say what is wrong with it."""
    if not isinstance(login, Mapping):
        return "must be an object"
    auth, username, password, token = (
        login.get(key) or "" for key in ("auth", "username", "password", "identitytoken")
    )
    if not all(isinstance(value, str) for value in (auth, username, password, token)):
        return "must hold auth, username, password and identitytoken as texts"
    if auth:
        pair = _decoded(auth)
        if pair is None:
            return "must hold in auth the base64 of username:password"
        username, password = pair
    if token:
        return Credential(username, "", token)
    if not (username and password):
        return "holds no credentials: set auth, or username and password, or identitytoken"
    return Credential(username, password)


def _decoded(auth: str) -> tuple[str, str] | None:
    """Take `auth` apart. Padding may be missing, and Docker itself has been seen to end it with NULs."""
    text = "".join(auth.split())
    try:
        pair = base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    username, colon, password = pair.partition(":")
    return (username, password.rstrip("\0")) if colon else None


def _json_object(content: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None


def _entry(place: str, credential: Credential) -> _Entry | str:
    """Read the key of an entry, which may be a URL, a host, or a host and the beginning of a path."""
    host, slash, rest = _SCHEME.sub("", place, count=1).partition("/")
    host = host.rpartition("@")[2]
    if not host:
        return "is for no host"
    path = _API_VERSION.sub("", slash + rest)
    return _Entry(canonical_registry(host), "" if path == "/" else path, credential)
