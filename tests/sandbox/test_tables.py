"""What tables are made of: ages and JSONPaths."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from listener.sandbox.cluster import jsonpath, tables

AGES = {
    0: "0s",
    119: "119s",
    120: "2m",
    150: "2m30s",
    600: "10m",
    3 * 3600 - 1: "179m",
    3 * 3600 + 60: "3h1m",
    8 * 3600: "8h",
    47 * 3600: "47h",
    48 * 3600: "2d",
    51 * 3600: "2d3h",
    8 * 86400: "8d",
    400 * 86400: "400d",
    800 * 86400: "2y70d",
    9 * 365 * 86400: "9y",
    -60: "<invalid>",
}


@pytest.mark.parametrize(("seconds", "shown"), AGES.items(), ids=AGES.values())
def test_ages_grow_coarser(seconds: int, shown: str) -> None:
    assert tables.human(timedelta(seconds=seconds)) == shown


OBJECT: dict[str, Any] = {
    "metadata": {"annotations": {"a.b/c": "dotted"}},
    "spec": {"tags": [{"name": "x", "n": 1}, {"name": "y", "n": 2}], "on": True},
    "status": {"conditions": [{"type": "Old", "status": "False"}, {"type": "Ready", "status": "True"}]},
}
PATHS = {
    ".spec.on": True,
    "spec.on": True,
    ".spec.tags[1].name": "y",
    ".spec.tags[-1].name": "y",
    ".spec.tags[*].name": "x",
    ".spec.tags[?(@.n==2)].name": "y",
    '.status.conditions[?(@.type=="Ready")].status': "True",
    ".status.conditions[?(@.type!='Old')].type": "Ready",
    ".metadata.annotations['a.b/c']": "dotted",
    ".metadata.annotations.a\\.b/c": "dotted",
    ".spec.nothing": None,
    ".spec.tags[7].name": None,
    ".spec.on.deeper": None,
    ".spec[": None,
}


@pytest.mark.parametrize(("path", "value"), PATHS.items(), ids=PATHS)
def test_finds_the_first_value(path: str, value: object) -> None:
    assert jsonpath.first(OBJECT, path) == value
