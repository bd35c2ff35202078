"""What every test may ask for: the real programs, a cluster; and what counts as a skip.

`pytest --kubeconfig FILE tests` (see `options.py`) runs the end-to-end tests on the cluster of that file; without it
each has a fresh sandbox. Where the real parts come from is told in `real_parts.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests import real_parts
from tests.real_parts import DockerRegistry, NotificationEndpoint, Skopeo

if TYPE_CHECKING:
    from tests.cluster_under_test import ClusterUnderTest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "sandbox_only(reason): needs what only the sandbox can do, so it is skipped with --kubeconfig"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("kubeconfig") is None:
        return
    for item in items:
        if marker := item.get_closest_marker("sandbox_only"):
            item.add_marker(pytest.mark.skip(reason=f"only on the sandbox: {marker.kwargs['reason']}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where every real part is required nothing may hide behind a skip, except what says that it must."""
    report = yield
    sandbox_only = (
        item.get_closest_marker("sandbox_only") is not None and item.config.getoption("kubeconfig") is not None
    )
    expected = sandbox_only or hasattr(report, "wasxfail")
    if report.skipped and real_parts.required() and not expected:
        report.outcome = "failed"
        report.longrepr = f"skipped, but LISTENER_REQUIRE_REAL=1 takes no skips: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and real_parts.required():
        report.outcome = "failed"
        report.longrepr = f"skipped, but LISTENER_REQUIRE_REAL=1 takes no skips: {_reason(report)}"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext


@pytest.fixture
def docker_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., DockerRegistry]]:
    """Call it to start Debian's docker-registry, with the endpoints it notifies; each call starts another.

    `ca` and `auth` are as in `real_parts.docker_registry`.
    """
    with ExitStack() as running:

        def start(*endpoints: NotificationEndpoint, **options: Any) -> DockerRegistry:
            folder = tmp_path_factory.mktemp("docker-registry")
            return running.enter_context(real_parts.docker_registry(folder, *endpoints, **options))

        yield start


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """Who certifies the servers of these tests, and is known to nobody else."""
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(file)
    return file


@pytest.fixture(scope="session")
def skopeo() -> Skopeo:
    return Skopeo(real_parts.debian_program("skopeo", "skopeo"))


@pytest.fixture(scope="session")
def kubectl() -> Path:
    """The program. Run it with `real_parts.run(kubectl, "--kubeconfig", cluster.kubeconfig, …)`."""
    return real_parts.kubectl()


@pytest.fixture(scope="session")
def helm() -> Path:
    return real_parts.helm()


@pytest.fixture(scope="session")
def promtool() -> Path:
    return real_parts.debian_program("promtool", "prometheus")


@pytest.fixture
async def cluster(pytestconfig: pytest.Config, tmp_path: Path) -> AsyncIterator[ClusterUnderTest]:
    """A cluster that serves ImageStreams: a sandbox of this test's own, or the one that `--kubeconfig` names."""
    from tests.cluster_under_test import running_cluster, sandbox_cluster  # noqa: PLC0415 - a second to import

    kubeconfig = pytestconfig.getoption("kubeconfig")
    async with sandbox_cluster(tmp_path) if kubeconfig is None else running_cluster(kubeconfig) as cluster:
        yield cluster
