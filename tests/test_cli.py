"""The command line as a shell sees it: exit codes, one line where something is wrong, and no waiting for help."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from listener import __version__
from listener.cli import COMMANDS, cli

# What `--help` must not wait for.
HEAVY = ("kubernetes_asyncio", "aiohttp", "msgspec", "yaml", "structlog", "prometheus_client", "asyncio")


def listener(*args: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LISTENER_", "KUBE"))}
    return subprocess.run(
        [sys.executable, "-m", "listener", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def lines(text: str) -> list[str]:
    return text.rstrip("\n").split("\n")


def test_help_names_every_command() -> None:
    done = listener("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name, text in COMMANDS.items():
        assert name in done.stdout
        assert text.split(",")[0].split(":")[0] in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_module_and_its_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.help


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_a_commands_own_help_says_what_it_does(flag: str) -> None:
    done = listener("serve", flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Take registry webhooks" in done.stdout
    assert "--kubeconfig" in done.stdout


def test_the_version() -> None:
    done = listener("--version")
    assert (done.returncode, done.stdout.split()[-1]) == (0, __version__)


@pytest.mark.parametrize(
    ("args", "what"),
    [
        pytest.param(("srve",), "there is no command 'srve'; there are serve,", id="no such command"),
        pytest.param(("--loud",), "--loud", id="no such option"),
        pytest.param(("serve", "--loud"), "--loud", id="no such option of a command"),
        pytest.param(("serve", "what"), "what", id="an argument too many"),
        pytest.param(("serve", "--config"), "--config", id="an option without its value"),
        pytest.param((), "Usage", id="nothing"),
    ],
)
def test_wrong_usage_is_exit_code_2(args: tuple[str, ...], what: str) -> None:
    done = listener(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert what in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_that_cannot_be_used_are_exit_code_1_and_one_line(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("registries: [{name: team, host: r.example}]")
    done = listener("serve", "--config", file)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = lines(done.stderr)
    assert line == f"listener: settings file {file}: registries[0]: Object missing required field `auth`"


def test_a_missing_settings_file_is_exit_code_1_and_one_line(tmp_path: Path) -> None:
    done = listener("serve", "--config", tmp_path / "none.yaml")
    assert done.returncode == 1
    [line] = lines(done.stderr)
    assert f"{tmp_path}/none.yaml cannot be read" in line


@pytest.mark.parametrize("text", [None, "a: [", "users: 5"], ids=["missing", "no YAML", "odd"])
def test_a_kubeconfig_that_cannot_be_used_is_exit_code_1_and_one_line(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)
    done = listener("serve", "--kubeconfig", file)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = lines(done.stderr)
    assert line.startswith(f"listener: kubeconfig {file} cannot be used: ")
    assert line.endswith("Name a usable one with --kubeconfig")


@pytest.mark.parametrize(
    ("registry", "what"),
    [
        pytest.param(
            "{name: a, host: b, auth: {bearer: {secretFile: /nowhere/secret}}}",
            "registries[0].auth: secretFile /nowhere/secret cannot be read",
            id="secret",
        ),
        pytest.param(
            "{name: a, host: b, dialect: klingon, auth: {none: true}}",
            "registries[0].dialect: 'klingon' is not one of auto, ",
            id="dialect",
        ),
        pytest.param(
            "{name: a, host: b, auth: {hmac: {secretEnv: HOME}}}",
            "registries[0].auth.hmac.header: expected the header",
            id="signature in no header",
        ),
        pytest.param(
            "{name: a, host: b, dialect: dockerhub, verify: false, auth: {query: {secretEnv: HOME}}}",
            "registries[0].verify: the dialect dockerhub sends no digests",
            id="nothing to believe",
        ),
    ],
)
def test_what_only_the_service_can_check_is_exit_code_1_and_one_line(tmp_path: Path, registry: str, what: str) -> None:
    config, kubeconfig = tmp_path / "settings.yaml", tmp_path / "kubeconfig"
    config.write_text(f"registries: [{registry}]")
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],"
        " clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {token: t}}]}"
    )
    done = listener("serve", "--config", config, "--kubeconfig", kubeconfig)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = lines(done.stderr)
    assert line.startswith(f"listener: {what}")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom listener.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"print('IMPORTED', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert lines(done.stdout)[-1] == "IMPORTED"


def test_help_answers_in_under_100_ms_more_than_python_takes_itself() -> None:
    def seconds(*args: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *args], capture_output=True, check=True, timeout=30)
        return time.perf_counter() - started

    # The machine may be busy: the best of five is what the program itself takes.
    bare = min(seconds("-c", "") for _ in range(5))
    best = min(seconds("-m", "listener", "--help") for _ in range(5))
    assert best - bare < 0.1
