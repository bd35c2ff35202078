"""The image of the Dockerfile: built by buildah, looked through, and run as Kubernetes runs it, on a read-only root.

No registry is asked for the base: it is put together from this machine's Python, and stands for the official images,
which have the same in the same places. So what is printed as its size is not theirs; the size of what we add is ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from listener import __version__
from tests import real_parts
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.parts import eventually
from tests.real_parts import Buildah

PROJECT = Path(__file__).parents[1]
BASE = "localhost/python:test"
USER = 65532
# In seconds: what `buildah --timestamp` and SOURCE_DATE_EPOCH are told.
DATE = 1_700_000_000
LISTENER = Path("usr/local/listener")
# All that the image may be made from.
DEFINITION = "charts/imagestream-listener/files/imagestreams.yaml"
SOURCES = ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE", "listener", DEFINITION)


@dataclass(frozen=True, slots=True)
class Built:
    """An image, and the files of a container made of it."""

    id: str
    root: Path
    configuration: Mapping[str, Any]

    def command(self, folder: Path, *arguments: str, entrypoint: Sequence[str] = ()) -> list[str | Path]:
        """What starts the container's process as the chart's security context has it: the image's user, no group and
        no capability besides, no new privileges, a read-only root with `folder` at /mnt and no room to write.
        """
        user, _, group = self.configuration["User"].partition(":")
        program = entrypoint or self.configuration["Entrypoint"]
        return [
            *("unshare", "--mount", "sh", "-euc", _CONTAINER, "sh", self.root, folder),
            *("env", "--ignore-environment", *self.configuration["Env"]),
            *("/usr/bin/setpriv", "--no-new-privs", "--bounding-set=-all,+setuid,+setgid,+sys_chroot"),
            *("/usr/sbin/chroot", "--groups=", f"--userspec={user}:{group}", self.root, *program, *arguments),
        ]

    def run(self, folder: Path, *arguments: str, entrypoint: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        command = self.command(folder, *arguments, entrypoint=entrypoint)
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )


Build = Callable[..., dict[str, Any]]

# The mounts are the process's own, and go with it.
_CONTAINER = """
root=$1 folder=$2
shift 2
mount --bind "$root" "$root"
mount --bind "$folder" "$root/mnt"
mount --bind /dev "$root/dev"
mount -o remount,bind,ro "$root/mnt"
mount -o remount,bind,ro "$root"
exec "$@"
"""


@pytest.fixture(scope="module")
def buildah() -> Iterator[Buildah]:
    with real_parts.buildah() as buildah:
        yield buildah


@pytest.fixture(scope="module")
def wheels(buildah: Buildah) -> Path:
    """The packages, so that two builds get the same, from wherever this machine's pip takes them."""
    folder = buildah.folder / "wheels"
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    needed = [*project["build-system"]["requires"], *project["project"]["dependencies"], *extras["speed"]]
    real_parts.download_wheels(folder, "pip", *needed, *extras["otel"])
    return folder


@pytest.fixture(scope="module")
def base(buildah: Buildah, wheels: Path) -> str:
    container, root = buildah.mounted("scratch")
    real_parts.python_root(root, wheels)
    (root / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /mnt\n")
    buildah.run("config", "--env", "PATH=/usr/local/bin:/usr/bin", container)
    buildah.run("commit", "--quiet", "--rm", container, BASE)
    return BASE


@pytest.fixture(scope="module")
def build(buildah: Buildah, wheels: Path, base: str) -> Build:
    def build(name: str, context: Path, *options: str | Path) -> dict[str, Any]:
        """Build the image from `context`; return what is told of it."""
        buildah.run(
            *("build-using-dockerfile", "--isolation", "chroot", "--no-cache", "--pull-never"),
            *("--build-arg", f"BASE={base}", "--build-arg", f"SOURCE_DATE_EPOCH={DATE}", "--timestamp", str(DATE)),
            *("--volume", f"{wheels}:/mnt:ro", *options, "--tag", name, context),
        )
        told: dict[str, Any] = json.loads(buildah.run("inspect", "--type", "image", name))
        return told

    return build


@pytest.fixture(scope="module")
def image(buildah: Buildah, build: Build) -> Built:
    told = build("localhost/listener:one", PROJECT)
    _, root = buildah.mounted("localhost/listener:one")
    return Built(told["FromImageID"], root, told["OCIv1"]["config"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the container sees at /mnt; pytest's own folders are for its user alone."""
    folder = tmp_path / "mnt"
    folder.mkdir(mode=0o755)
    return folder


def files(root: Path) -> dict[str, str]:
    """Every file, link and folder below: its kind, mode and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(root))] = f"{about.st_mode:o} {about.st_uid}:{about.st_gid} {content}"
    return found


def mebibytes(root: Path) -> float:
    return sum(path.lstat().st_size for path in root.rglob("*")) / 2**20


def test_the_image_tells_what_it_is_and_how_to_run_it(image: Built) -> None:
    found = image.configuration
    assert (found["User"], found["Entrypoint"], found["Cmd"]) == (f"{USER}:{USER}", ["listener"], ["serve"])
    assert set(found["ExposedPorts"]) == {"8080/tcp", "8081/tcp", "8443/tcp"}
    assert "Healthcheck" not in found
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in found["Labels"].items()}
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert labels["title"] == project["name"]
    assert labels["version"] == __version__
    assert labels["licenses"] == project["license"]
    assert labels["base.name"] == BASE
    assert labels["description"]


def test_nothing_is_left_that_builds_or_installs(image: Built) -> None:
    tools = re.compile(r"(pip|setuptools|wheel|ensurepip|hatchling|gcc|cc|g\+\+|make|ld)([0-9.]*|-[0-9].*)")
    found = [path for path in image.root.rglob("*") if tools.fullmatch(path.name)]
    assert found == []
    assert not (image.root / "source").exists()
    assert not list((image.root / "tmp").iterdir())


def test_the_service_owns_nothing_and_can_change_nothing_of_its_own(image: Built) -> None:
    owned = [path for path in image.root.rglob("*") if USER in (path.lstat().st_uid, path.lstat().st_gid)]
    writable = [
        path for path in (image.root / LISTENER).rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022
    ]
    assert (owned, writable) == ([], [])


def test_what_the_image_adds_is_small(image: Built) -> None:
    ours, all_of_it = mebibytes(image.root / LISTENER), mebibytes(image.root)
    sys.stdout.write(f"{all_of_it:.0f} MiB unpacked, of which {ours:.0f} MiB are the service and its packages\n")
    assert ours < 90


def test_what_serve_imports_has_its_bytecode_in_the_image(image: Built, folder: Path) -> None:
    program = "import listener.app, uvloop, sys, os; print(*{m.__cached__ for m in sys.modules.values()"
    program += " if getattr(m, '__cached__', None) and not os.path.exists(m.__cached__)})"
    done = image.run(folder, "-c", program, entrypoint=("python",))
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


def test_two_builds_of_the_same_sources_are_the_same_image(
    buildah: Buildah, build: Build, image: Built, tmp_path: Path
) -> None:
    """The second from a copy, in another place and with other dates, of just what the image is made from."""
    for name in SOURCES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, tmp_path / name, symlinks=True)
        else:
            shutil.copyfile(PROJECT / name, tmp_path / name)
    for path in tmp_path.rglob("*"):
        os.utime(path, (DATE + 9, DATE + 9), follow_symlinks=False)
    versions = (image.root / LISTENER / "versions.txt").read_text()
    told = build("localhost/listener:two", tmp_path, "--build-arg", f"VERSIONS={versions}")
    if told["FromImageID"] != image.id:
        _, root = buildah.mounted("localhost/listener:two")
        ones, others = files(image.root), files(root)
        differing = sorted(path for path in ones.keys() | others.keys() if ones.get(path) != others.get(path))
        pytest.fail(f"{len(differing)} files differ (if none does, their dates do): {differing[:20]}")


def test_the_versions_that_are_named_are_the_ones_installed(image: Built) -> None:
    versions = dict(line.split("==") for line in (image.root / LISTENER / "versions.txt").read_text().split())
    (packages,) = (image.root / LISTENER / "lib").glob("python*/site-packages")
    installed = {
        path.name.removesuffix(".dist-info").lower().replace("_", "-") for path in packages.glob("*.dist-info")
    }
    named = {f"{name.lower()}-{version}".replace("_", "-") for name, version in versions.items() if name != "hatchling"}
    assert installed == {*named, f"imagestream-listener-{__version__}"}
    assert re.fullmatch(r"[0-9.]+", versions["hatchling"])


# --- as Kubernetes runs it


def test_it_tells_its_version(image: Built, folder: Path) -> None:
    done = image.run(folder, "--version")
    assert (done.returncode, done.stdout.split()[-1], done.stderr) == (0, __version__, "")


@pytest.mark.parametrize("place", ["/file", "/tmp/file", "/usr/local/listener/file"])  # noqa: S108 - open to all
def test_nothing_can_be_written(image: Built, folder: Path, place: str) -> None:
    done = image.run(folder, "-c", f"open('{place}', 'w')", entrypoint=("python",))
    assert done.returncode == 1
    assert f"Read-only file system: '{place}'" in done.stderr


def test_a_settings_error_is_one_line_that_names_the_key(image: Built, folder: Path) -> None:
    (folder / "config.yaml").write_text("registries: [{name: team, host: registry.example.com}]\n")
    done = image.run(folder, "serve", "--config", "/mnt/config.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "listener: settings file /mnt/config.yaml: registries[0]: Object missing required field `auth`\n"
    )


async def test_it_serves(image: Built, folder: Path, cluster: ClusterUnderTest) -> None:
    async with serving(image, folder, cluster) as (process, monitoring), aiohttp.ClientSession() as session:

        async def ready() -> bool:
            async with session.get(f"{monitoring}/readyz") as response:
                return response.status == 200

        await eventually(ready, what="the service is ready")
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(USER)}
        assert (status["Groups"].split(), int(status["CapEff"], 16), status["NoNewPrivs"]) == ([], 0, "1")
        assert int(status["CapPrm"], 16) == 0
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0


@asynccontextmanager
async def serving(
    image: Built, folder: Path, cluster: ClusterUnderTest
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run the image's own command until the block ends. It is the process itself, and its monitoring's URL."""
    settings = {
        "listen": {"hooks": "127.0.0.1:0", "monitoring": "127.0.0.1:0"},
        "leaderElection": {"enabled": False},
        "logging": {"format": "json"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    shutil.copyfile(cluster.kubeconfig, folder / "kubeconfig")
    (folder / "kubeconfig").chmod(0o644)
    options = ("--config", "/mnt/config.yaml", "--kubeconfig", "/mnt/kubeconfig")
    command = image.command(folder, *image.configuration["Cmd"], *options)
    log = folder.parent / "serve.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL, stderr=output)
    try:

        async def started() -> dict[str, Any] | None:
            assert process.returncode is None, log.read_text()
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
            return next((line for line in lines if line["event"] == "listener.started"), None)

        line = await eventually(started, what="the service has started")
        assert line is not None
        yield process, f"http://127.0.0.1:{line['monitoring']}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        sys.stdout.write(log.read_text())
