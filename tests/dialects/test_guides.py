"""The guides beside the dialects: what stands in them ready to paste is taken by our own settings."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import pytest
import yaml

from listener.core.authentication import Header, Query, Signature
from listener.dialects import DIALECTS, Dialect
from listener.settings import Registry, parse

each = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


def guide(dialect: Dialect) -> str:
    return resources.files("listener.dialects").joinpath(f"{dialect.name.replace('-', '_')}.md").read_text("utf-8")


def blocks(text: str, kind: str) -> list[Any]:
    return [yaml.safe_load(found) for found in re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def registry(dialect: Dialect) -> Registry:
    (block,) = blocks(guide(dialect), "yaml settings")
    (found,) = parse(block, {}).registries
    return found


@each
def test_our_side_is_ready_to_paste(dialect: Dialect) -> None:
    found = registry(dialect)
    assert found.name == "team"
    assert found.dialect == dialect.name
    assert found.verify


@each
def test_the_secret_is_carried_as_their_side_is_told_to(dialect: Dialect) -> None:
    text, auth = guide(dialect), registry(dialect).auth
    url = "https://listener.example.com/hooks/team"
    if auth.secret() is None:
        assert auth.oidc or auth.sns
        assert url in text
        return
    assert "SECRET" in text
    match auth.scheme(dialect.signature):
        case Query(name=name):
            assert f"{url}?{name}=SECRET" in text
        case Signature() as signature:
            assert signature == dialect.signature or dialect.signature is None
            assert url in text
        case Header(name=name):
            assert name in text.lower()
            assert url in text
        case _:
            assert url in text


@each
def test_fits_a_terminal(dialect: Dialect) -> None:
    text = guide(dialect)
    lines = text.splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100
    assert all(line.isprintable() for line in lines)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_distribution_s_side_is_a_configuration() -> None:
    (block,) = blocks(guide(DIALECTS["distribution"]), "yaml registry")
    (endpoint,) = block["notifications"]["endpoints"]
    assert endpoint["url"] == "https://listener.example.com/hooks/team"
    assert endpoint["headers"] == {"Authorization": ["Bearer SECRET"]}
    assert endpoint["timeout"] == f"{DIALECTS['distribution'].patience_seconds:g}s"
    assert "pull" in endpoint["ignore"]["actions"]
