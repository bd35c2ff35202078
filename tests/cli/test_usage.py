"""What is wrong with a command line is said before any cluster is looked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.parts import run

NONE = "--kubeconfig=/nowhere/kubeconfig"
DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("args", "why"),
    [
        pytest.param(("tag", "web:1"), "expected SRC and at least one DST", id="tag: no destination"),
        pytest.param(("tag", "web:1", "prod"), "'prod' names no tag; write [NAMESPACE/]STREAM:TAG", id="tag: no tag"),
        pytest.param(("tag", "web:1", "web:-x"), "'-x' is no tag", id="tag: no legal tag"),
        pytest.param(("tag", "https://quay.io/web", "web:1"), "SRC: 'https://quay.io/web'", id="tag: no legal source"),
        pytest.param(
            ("tag", "quay.io/web:1", "web:1", "--alias"),
            "--alias follows a tag of a stream",
            id="tag: alias of an image",
        ),
        pytest.param(
            ("tag", f"web@{DIGEST}", "web:1", "--alias"),
            "--alias follows a tag of a stream",
            id="tag: alias of a digest",
        ),
        pytest.param(
            ("tag", "web:1", "web:2", "--alias", "--scheduled"),
            "--scheduled is for images of a registry",
            id="tag: a scheduled alias",
        ),
        pytest.param(
            ("tag", "web:1", "web:2", "--scheduled"),
            "--scheduled is for images of a registry",
            id="tag: a scheduled tag",
        ),
        pytest.param(
            ("tag", f"web@{DIGEST}", "web:2", "--insecure"),
            "--insecure is for images of a registry",
            id="tag: an insecure image of a stream",
        ),
        pytest.param(("tag", "a", "web:1", "--import-mode", "some"), "'some' is not one of", id="tag: no import mode"),
        pytest.param(
            ("tag", "a", "web:1", "--reference-policy", "any"), "'any' is not one of", id="tag: no reference policy"
        ),
        pytest.param(("tag", "a", "web:1", "--source", "rpm"), "'rpm' is not one of", id="tag: no kind of source"),
        pytest.param(("tag", "-d", "web:1", "--alias"), "--delete goes with no other option", id="delete: an alias"),
        pytest.param(
            ("tag", "-d", "web:1", "--import-mode=legacy"), "--delete goes with no other option", id="delete: a mode"
        ),
        pytest.param(
            ("tag", "-d", "web:1", "--no-scheduled"), "--delete goes with no other option", id="delete: no schedule"
        ),
        pytest.param(
            ("tag", "-d", "web:1", "--source=docker"), "--delete goes with no other option", id="delete: a source"
        ),
        pytest.param(("tag", "-d", "web"), "'web' names no tag", id="delete: no tag"),
        pytest.param(
            ("import", "web:1", "--all"), "--all imports every tag; write web without", id="import: all and one"
        ),
        pytest.param(("import", "web", "--from", "Quay.io/Web"), "--from: 'Quay.io/Web'", id="import: no legal source"),
        pytest.param(
            ("import", "web", "--all", "--from", "quay.io/web:1"),
            "with --all expected a repository without tag",
            id="import: a tag for all",
        ),
        pytest.param(("import",), "Missing argument", id="import: nothing"),
        pytest.param(("history", "web:1:2"), "'1:2' is no tag", id="history: no legal tag"),
        pytest.param(("history", "a/b/web"), "'a/b' is no namespace", id="history: no legal namespace"),
        pytest.param(("history", "web", "-n", "../x"), "'../x' is no namespace", id="no legal namespace option"),
        pytest.param(("history", "web", "-o", "xml"), "'xml' is not one of", id="no such output"),
        pytest.param(("rollback", "web"), "'web' names no tag", id="rollback: no tag"),
        pytest.param(("rollback", "web:1", "--timeout", "-1"), "-1", id="a negative timeout"),
        pytest.param(("hold", "web"), "'web' names no tag", id="hold: no tag"),
        pytest.param(("release", "web:1", "extra"), "extra", id="release: too much"),
    ],
)
async def test_wrong_usage(args: tuple[str, ...], why: str) -> None:
    assert why in (await run(*args, NONE)).misuse


@pytest.mark.parametrize("name", ["tag a b:1", "import a", "history a", "rollback a:1", "hold a:1", "release a:1"])
async def test_a_kubeconfig_that_is_missing_is_one_line(name: str) -> None:
    assert (await run(*name.split(), NONE)).refusal.startswith("kubeconfig /nowhere/kubeconfig cannot be used")


async def test_settings_that_cannot_be_used_are_one_line() -> None:
    refusal = (await run("history", "web", "--config", "/nowhere/settings.yaml")).refusal
    assert "settings file /nowhere/settings.yaml cannot be read" in refusal


def test_a_commands_help_imports_no_kubernetes() -> None:
    program = (
        "import sys\nfrom listener.cli import COMMANDS, main\n"
        "for name in ('tag', 'import', 'history', 'rollback', 'hold', 'release'):\n"
        "  try: main([name, '--help'])\n  except SystemExit: pass\n"
        "print('IMPORTED', *sorted({'kubernetes_asyncio', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.rstrip("\n").split("\n")[-1] == "IMPORTED"
