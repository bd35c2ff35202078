"""A run that claims to have tried the real thing has tried it: what a missing part and a skip come to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from listener.sandbox import images
from tests import real_parts
from tests.real_parts import DockerRegistry, Skopeo, missing, run

PROJECT = Path(__file__).parents[1]

RunsPytest = Callable[..., str]


@pytest.fixture
def summary_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunsPytest:
    """Run a test module under our conftest and return pytest's closing lines."""

    def run_pytest(module: str, *options: str, required: bool) -> str:
        monkeypatch.setenv("LISTENER_REQUIRE_REAL", "1" if required else "0")
        (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider --strict-markers -rs\n")
        (tmp_path / "test_module.py").write_text("import pytest\n" + module)
        command = [sys.executable, "-m", "pytest", "-p", "tests.options", "-p", "tests.conftest", *options]
        command.append(str(tmp_path / "test_module.py"))
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False).stdout

    return run_pytest


def test_a_missing_part_skips_the_test_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTENER_REQUIRE_REAL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="promtool is missing: install prometheus"):
        missing("promtool", "install prometheus")


def test_a_missing_part_fails_the_test_where_every_part_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTENER_REQUIRE_REAL", "1")
    with pytest.raises(pytest.fail.Exception, match="promtool is missing: install prometheus"):
        missing("promtool", "install prometheus")


@pytest.mark.parametrize(
    "module",
    [
        pytest.param("def test_it(): pytest.skip('not today')", id="a skip in a test"),
        pytest.param("@pytest.mark.skip(reason='not today')\ndef test_it(): pass", id="a mark"),
        pytest.param("pytest.skip('not today', allow_module_level=True)", id="a whole module"),
    ],
)
def test_a_skip_is_a_failure_where_every_part_is_required(summary_of: RunsPytest, module: str) -> None:
    told = summary_of(module, required=True)
    assert "not today" in told
    assert "skipped, but LISTENER_REQUIRE_REAL=1 takes no skips" in told
    assert "1 failed" in told or "1 error" in told


def test_a_skip_is_a_skip_otherwise(summary_of: RunsPytest) -> None:
    assert "1 skipped" in summary_of("def test_it(): pytest.skip('not today')", required=False)


def test_an_expected_failure_is_no_skip(summary_of: RunsPytest) -> None:
    assert "1 xfailed" in summary_of("@pytest.mark.xfail\ndef test_it(): assert False", required=True)


def test_what_only_the_sandbox_can_do_is_skipped_on_a_real_cluster(summary_of: RunsPytest) -> None:
    module = "@pytest.mark.sandbox_only(reason='it cuts the line')\ndef test_it(): pass"
    assert "1 passed" in summary_of(module, required=True)
    told = summary_of(module, "--kubeconfig=some-file", required=True)
    assert "only on the sandbox: it cuts the line" in told
    assert "1 skipped" in told


def test_a_kubectl_that_is_too_old_counts_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "kubectl"
    old.write_text("#!/bin/sh\necho 'Client Version: v1.32.4'\n")
    old.chmod(0o755)
    monkeypatch.setenv("KUBECTL", str(old))
    monkeypatch.setenv("LISTENER_REQUIRE_REAL", "1")
    with pytest.raises(pytest.fail.Exception, match=r"kubectl 1\.36 is missing: KUBECTL=.* is older"):
        real_parts.kubectl()


async def test_kubectl_and_helm_run(kubectl: Path, helm: Path) -> None:
    assert "v1." in await run(kubectl, "version", "--client")
    assert "v4." in await run(helm, "version", "--short")


async def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(subprocess.CalledProcessError) as failure:
        await run(sys.executable, "-c", "import sys; sys.exit('the disk is full')")
    assert failure.value.__notes__ == ["the disk is full\n"]


async def test_skopeo_pushes_to_docker_registry(docker_registry: Callable[..., DockerRegistry], skopeo: Skopeo) -> None:
    registry, image = docker_registry(), images.make_image("one")
    assert await skopeo.push(image, f"{registry.host}/team/web:1.0") == image.digest
    async with (
        aiohttp.ClientSession() as session,
        session.head(f"{registry.url}/v2/team/web/manifests/1.0", headers={"Accept": image.media_type}) as response,
    ):
        assert response.headers["Docker-Content-Digest"] == image.digest
