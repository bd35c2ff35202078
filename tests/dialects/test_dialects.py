"""The table of dialects, and finding the one a delivery is written in."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from listener import dialects
from listener.core.events import Delivery, Parsed


def test_every_dialect_stands_under_its_own_name() -> None:
    assert all(name == dialect.name for name, dialect in dialects.DIALECTS.items())
    assert all(dialect.patience_seconds > 0 for dialect in dialects.DIALECTS.values())


def test_each_has_a_module_of_its_name() -> None:
    modules = {Path(file.name).stem for file in resources.files("listener.dialects").iterdir() if file.is_file()}
    assert {name.replace("-", "_") for name in dialects.DIALECTS} <= modules


@pytest.mark.parametrize(
    ("delivery", "name"),
    [
        pytest.param(
            Delivery({"content-type": "application/vnd.docker.distribution.events.v2+json"}, {}, b"{}"),
            "distribution",
            id="by header",
        ),
        pytest.param(Delivery({}, {}, b'{"events": []}'), "distribution", id="by body"),
        pytest.param(Delivery({"content-type": "application/json"}, {}, b'{"zen": "x"}'), None, id="none we know"),
        pytest.param(Delivery({}, {}, b""), None, id="empty"),
    ],
)
def test_detects(delivery: Delivery, name: str | None) -> None:
    found = dialects.detect(delivery)
    assert (found.name if found else None) == name
    if found:
        assert found.parse(delivery) == Parsed()
