"""Kinds as a person writes them on a command line: `deploy`, `cronjobs.batch`, `Rollout.argoproj.io`.

After kubectl: a kind by its name, its plural or its short name, in any case, alone or with its group (and version).
This room must not know which workloads there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from listener.core.kinds import Kind
from listener.core.names import InvalidName

_SHORT: Final[Mapping[str, str]] = {
    "Deployment": "deploy",
    "StatefulSet": "sts",
    "DaemonSet": "ds",
    "CronJob": "cj",
    "ReplicaSet": "rs",
    "ReplicationController": "rc",
    "Pod": "po",
    "DeploymentConfig": "dc",
    "BuildConfig": "bc",
}
_MORE: Final = "more kinds come from the settings' `workloads`: name that file with --config"


def parse(text: str, kinds: Sequence[Kind]) -> tuple[Kind, str]:
    """Read `KIND/NAME`. Raises InvalidName."""
    kind, slash, name = text.partition("/")
    if not (slash and kind and name) or "/" in name:
        raise InvalidName(f"{text!r} names no workload; write KIND/NAME, such as deployment/web")
    return find(kind, kinds), name


def find(text: str, kinds: Sequence[Kind]) -> Kind:
    """Find a kind by what a person calls it; of several the first, as kubectl does. Raises InvalidName."""
    wanted = text.lower()
    for kind in kinds:
        if any(wanted in _written(name, kind) for name in _names(kind)):
            return kind
    known = ", ".join(_shown(kind) for kind in kinds)
    raise InvalidName(f"{text!r} is no kind that follows tags; those are {known}; {_MORE}")


def _names(kind: Kind) -> Iterator[str]:
    name = kind.name.lower()
    yield name
    # Discovery alone knows the plural of a custom kind, and asking it is too much for a word: this one is the custom.
    yield kind.plural or f"{name}s"
    if short := _SHORT.get(kind.name):
        yield short


def _written(name: str, kind: Kind) -> tuple[str, ...]:
    group, slash, version = kind.api_version.rpartition("/")
    return (name, f"{name}.{group}", f"{name}.{version}.{group}") if slash else (name, f"{name}.core")


def _shown(kind: Kind) -> str:
    name = kind.name.lower() if kind.label == kind.name else kind.label
    short = _SHORT.get(kind.name)
    return f"{name} ({short})" if short else name
