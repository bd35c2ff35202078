"""The pages name tests for what they promise, and files to look at: all of them are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / ".github").glob("*.md")), *sorted((ROOT / "charts").glob("*/README.md"))]
_PATH = re.compile(r"`((?:tests|listener|charts)/[\w./-]+|test_\w+\.py)`")


def named(text: str) -> list[str]:
    """The paths in a page; a test without its folder is in that of the one before it."""
    found = []
    folder = ""
    for path in _PATH.findall(text):
        if "/" in path:
            folder = path.rpartition("/")[0]
        found.append(path if "/" in path else f"{folder}/{path}")
    return [path for path in found if "NAME" not in path]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_what_a_page_names_is_there(page: Path) -> None:
    assert [path for path in named(page.read_text(encoding="utf-8")) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", ["README.md", ".github/SECURITY.md"])
def test_each_promise_has_its_test(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    (table,) = re.findall(r"^\|[^|]*\| [Hh]eld by \|\n.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert [row for row in table.splitlines() if not any("/test_" in path for path in named(row))] == []
