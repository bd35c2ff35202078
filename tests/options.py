"""`pytest --kubeconfig FILE PATH…`, or `pytest --kubeconfig=FILE`.

Apart from conftest.py, for pytest must know the option before it can tell FILE from a test's path. Even so, without
PATH and with a blank before FILE, it looks for its own settings beside FILE.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        help="run the end-to-end tests against this cluster, in namespaces of their own; default: a fresh sandbox",
    )
