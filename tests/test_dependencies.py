"""What others wrote and we need: declared, used, licensed as we may use it, and each with its reason in SECURITY.md."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
EXTRAS = ("otel", "speed")

ALLOWED = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0"}
# Not everybody writes SPDX.
SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


@cache
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def asked_for(*extras: str) -> list[Requirement]:
    """What we ask for, as it stands in pyproject.toml, which may be ahead of what is installed."""
    texts = [*project()["dependencies"]]
    for extra in extras:
        texts += project()["optional-dependencies"][extra]
    return [each for each in map(Requirement, texts) if each.name != project()["name"]]


def declared(*extras: str) -> set[str]:
    return {canonicalize_name(each.name) for each in asked_for(*extras)}


def is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def closure() -> list[str]:
    """Everything that the service is installed with, as far as it is installed here: `speed` may not be."""
    seen: dict[tuple[str, frozenset[str]], None] = {}
    ahead = asked_for("otel") + [each for each in asked_for(*EXTRAS) if is_installed(each.name)]
    while ahead:
        each = ahead.pop()
        key = canonicalize_name(each.name), frozenset(each.extras)
        if key not in seen:
            seen[key] = None
            environments = [{"extra": extra} for extra in ("", *each.extras)]
            found = [Requirement(text) for text in metadata.requires(each.name) or ()]
            ahead += [need for need in found if not need.marker or any(map(need.marker.evaluate, environments))]
    return sorted({name for name, _ in seen})


@cache
def owners() -> dict[str, str]:
    """Which distribution each module is of."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = canonicalize_name(distribution.name)
        for line in (distribution.read_text("RECORD") or "").splitlines():
            path, is_python, _ = line.partition(".py,")
            if is_python:
                found[path.removesuffix("/__init__").replace("/", ".")] = name
            elif ".so," in line:
                found[path.partition(".")[0].replace("/", ".")] = name
    return found


@cache
def imported(folder: str) -> dict[str, set[str]]:
    """The distributions that modules below a folder import, and which modules do."""
    found: dict[str, set[str]] = {}
    for file in (ROOT / folder).rglob("*.py"):
        for names in _imports(ast.parse(file.read_bytes()).body):
            top = names[0].partition(".")[0]
            if top not in sys.stdlib_module_names and top not in ("listener", "tests"):
                owner = next((owners()[name] for name in names if name in owners()), canonicalize_name(top))
                found.setdefault(owner, set()).add(str(file.relative_to(ROOT)))
    return found


def _imports(statements: list[ast.stmt]) -> Iterator[tuple[str, ...]]:
    """What each import may mean, the most exact name first: `from a import b` has a module `a.b`, or `b` from `a`."""
    for each in statements:
        match each:
            case ast.Import():
                yield from ((alias.name,) for alias in each.names)
            case ast.ImportFrom(module=str(module), level=0):
                yield from ((f"{module}.{alias.name}", module) for alias in each.names)
            case _:
                for inner in ("body", "orelse", "handlers", "finalbody"):
                    yield from _imports(getattr(each, inner, []))


def licence(name: str) -> set[str]:
    """The licences that a distribution names: all of an expression, or what it says in older words."""
    about = metadata.metadata(name)
    for expression in about.get_all("License-Expression") or ():
        return set(re.findall(r"[\w.+-]+", expression)) - {"AND", "OR", "WITH"}
    text = "".join(about.get_all("License") or ()).strip()
    if text in ALLOWED or text in SPELLINGS:
        return {SPELLINGS.get(text, text)}
    classes = [
        each.rpartition(" :: ")[2] for each in about.get_all("Classifier") or () if each.startswith("License ::")
    ]
    return {SPELLINGS.get(each, each) for each in classes if each != "OSI Approved"} or {text[:60] or "none"}


def test_what_is_imported_is_declared() -> None:
    known = declared(*EXTRAS)
    assert not {name: files for name, files in imported("listener").items() if name not in known}


def test_what_is_declared_is_imported() -> None:
    assert declared(*EXTRAS) <= set(imported("listener"))


def test_what_only_tests_import_is_declared_for_them() -> None:
    known = declared(*EXTRAS, "dev")
    assert not {name: files for name, files in imported("tests").items() if name not in known}


@pytest.mark.parametrize("name", closure())
def test_a_licence_is_one_that_asks_for_no_more_than_ours(name: str) -> None:
    assert licence(name) <= ALLOWED


def test_each_dependency_has_its_reason() -> None:
    page = (ROOT / ".github" / "SECURITY.md").read_text(encoding="utf-8")
    table = page.partition("## Dependencies")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:2] == "| "]
    told = {canonicalize_name(name): row for row in rows[1:] for name in re.findall(r"`([^`]+)`", row[0])}
    assert set(told) == declared(*EXTRAS)
    assert all(cell for row in told.values() for cell in row)
    # A licence that changes is a reason to look again.
    stated = {name: set(re.findall(r"[A-Z][\w.+-]+", told[name][2])) - {"AND", "OR"} for name in told}
    assert {name: stated[name] for name in told if is_installed(name)} == {
        name: licence(name) for name in told if is_installed(name)
    }
