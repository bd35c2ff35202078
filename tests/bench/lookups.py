"""AdmissionReviews a second that the door answers, ÷ what a bare aiohttp handler answers that lets everything pass.

Aim: 2,000 a second on one core, and 0.5 of the bare handler, which reads no more of a review than its uid. Both
servers are processes of their own on one core, over TLS, and are asked in turns by as many connections as
`--workloads` says, each of which sends its next review as soon as the last is answered. Their processor time is theirs
alone, so it is what tells how many a core answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import statistics
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
import trustme
from aiohttp import web

from listener import logs
from listener.cli.options import run as run_on_our_loop
from listener.core.history import TagHistory, TagItem
from listener.core.kinds import KINDS
from listener.core.streams import Stream, StreamKey
from listener.edges.admission import Door
from listener.edges.listening import Address, Server
from listener.edges.metrics import Metrics
from tests.bench.hooks import Load, load
from tests.bench.world import World, digest

_ROUNDS = 7
_SECONDS = 2.0
_UID = "705ab4f5-6393-11e8-b7cc-42010a800002"
_STREAMS = 1000
_ALLOWED = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class _Running:
    port: int
    pid: int

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass(frozen=True, slots=True)
class _Round:
    load: Load
    cpu_seconds: float

    @property
    def microseconds(self) -> float:
        """Of the processor, for each review."""
        return self.cpu_seconds / self.load.statuses.total() * 1e6


async def run(world: World, connections: int) -> dict[str, object]:
    reviews = {
        "resolved": _review(_deployment("ruby:2.7")),
        "nothing": _review(_deployment("registry.example.com/shop/ruby:2.7")),
        "pod": _review(_pod("ruby:2.7")),
        "update": _review(_deployment("ruby:2.7"), _deployment("ruby:2.6")),
    }
    certificates = _certificates(world.folder)
    found: dict[str, list[tuple[_Round, _Round]]] = {}
    async with _server("bare", world.folder) as bare, _server("door", world.folder) as door:
        for name, body in reviews.items():
            found[name] = await _rounds(bare, door, body, connections, certificates)
    answers = Counter[int]()
    for rounds in found.values():
        for _, ours in rounds:
            answers.update(ours.load.statuses)
    return {
        "bench": "lookups",
        **{name: _summary(rounds) | {"body_bytes": len(reviews[name])} for name, rounds in found.items()},
        "answers": answers.total(),
        "not_200": {status: number for status, number in answers.items() if status != 200},
        "connections": connections,
    }


def _summary(rounds: list[tuple[_Round, _Round]]) -> dict[str, object]:
    return {
        "ratio": round(statistics.median(bare.microseconds / ours.microseconds for bare, ours in rounds), 3),
        "us_of_a_core": round(statistics.median(ours.microseconds for _, ours in rounds)),
        "us_of_a_core_bare": round(statistics.median(bare.microseconds for bare, _ in rounds)),
        "a_second": round(statistics.median(ours.load.a_second for _, ours in rounds)),
        "a_second_bare": round(statistics.median(bare.load.a_second for bare, _ in rounds)),
        "p99_ms": round(statistics.median(ours.load.p99 for _, ours in rounds) * 1000, 2),
    }


async def _rounds(
    bare: _Running, door: _Running, body: bytes, connections: int, tls: ssl.SSLContext
) -> list[tuple[_Round, _Round]]:
    """Ask both servers in turns, after a turn that does not count."""
    rounds = []
    for number in range(_ROUNDS + 1):
        seconds = _SECONDS if number else 0.5
        found = []
        for server in (bare, door):
            before = server.cpu_seconds
            seen = await load(server.port, partial(_request, server.port, body), connections, seconds, tls)
            found.append(_Round(seen, server.cpu_seconds - before))
        rounds.append(found)
    return [(first, second) for first, second in rounds[1:]]


@cache
def _request(port: int, body: bytes, _connection: int) -> bytes:
    head = (
        f"POST /lookup?timeout=2s HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: kube-apiserver-admission\r\n"
        f"Content-Length: {len(body)}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\n"
        "Accept-Encoding: gzip\r\n\r\n"
    )
    return head.encode() + body


def _review(obj: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> bytes:
    group, _, version = obj["apiVersion"].rpartition("/")
    resource = f"{obj['kind'].lower()}s"
    request = {
        "uid": _UID,
        "kind": {"group": group, "version": version, "kind": obj["kind"]},
        "resource": {"group": group, "version": version, "resource": resource},
        "requestKind": {"group": group, "version": version, "kind": obj["kind"]},
        "requestResource": {"group": group, "version": version, "resource": resource},
        "name": "web",
        "namespace": "shop",
        "operation": "UPDATE" if old else "CREATE",
        "userInfo": {"username": "system:serviceaccount:ci:deployer", "groups": ["system:authenticated"]},
        "object": obj,
        "oldObject": old,
        "dryRun": False,
        "options": {
            "kind": "CreateOptions",
            "apiVersion": "meta.k8s.io/v1",
            "fieldManager": "kubectl-client-side-apply",
        },
    }
    return json.dumps({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}).encode()


def _deployment(image: str) -> dict[str, Any]:
    """A typical one: two containers, some environment, probes, what kubectl and the API server add."""
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": _template(image)}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _metadata(spec), "spec": spec, "status": {}}


def _pod(image: str) -> dict[str, Any]:
    spec = _template(image)["spec"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(spec),
        "spec": spec,
        "status": {"phase": "Pending"},
    }


def _template(image: str) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10}
    containers = [
        {
            "name": name,
            "image": found,
            "env": [{"name": f"SETTING_{number}", "value": f"the value of {number}"} for number in range(8)],
            "ports": [{"containerPort": 8080, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "livenessProbe": probe,
            "readinessProbe": probe,
            "imagePullPolicy": "IfNotPresent",
        }
        for name, found in (("web", image), ("sidecar", "registry.example.com/mesh/proxy:v1.29"))
    ]
    return {
        "metadata": {"labels": {"app": "web", "tier": "front"}},
        "spec": {"containers": containers, "restartPolicy": "Always", "serviceAccountName": "web"},
    }


def _metadata(spec: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        f"f:{name}": {} for name in ("env", "image", "name", "ports", "resources", "livenessProbe")
    }
    return {
        "name": "web",
        "namespace": "shop",
        "uid": _UID,
        "labels": {"app": "web", "tier": "front"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"spec": spec})},
        "managedFields": [{"manager": "kubectl", "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": fields}],
    }


# The servers


def _certificates(folder: Path) -> ssl.SSLContext:
    """Make what the servers show, and return what trusts it."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "serving.pem")
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    return tls


@asynccontextmanager
async def _server(name: str, folder: Path) -> AsyncIterator[_Running]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.lookups", name, str(folder / "serving.pem")),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield _Running(int(await process.stdout.readline()), process.pid)
    finally:
        process.terminate()
        await process.wait()


async def _serve(name: str, certificate: str) -> None:
    logs.configure("info", "json")  # as the service does
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    if name == "door":
        port = await Server(_door().connections()).start(Address("127.0.0.1", 0), tls)
    else:
        runner = web.AppRunner(_bare(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        port = runner.addresses[0][1]
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def _door() -> Door:
    streams = {stream.key: stream for stream in map(_stream, range(_STREAMS))}
    ruby = replace(_stream(0), key=StreamKey("shop", "ruby"))
    streams[ruby.key] = ruby

    async def ready() -> None:
        pass

    return Door(KINDS, streams.get, ready, Metrics())


def _stream(number: int) -> Stream:
    items = (TagItem("", f"registry.example.com/shop/ruby@{digest(number)}", digest(number), 1),)
    tags = tuple(TagHistory(tag, items) for tag in ("2.6", "2.7", "3.0", "latest"))
    key = StreamKey(f"team-{number}", "app")
    return Stream(key, "u", "1", 1, "", "registry.example.com/shop/ruby", (), tags, local_lookup=True)


class _Uid(msgspec.Struct):
    uid: str


class _Asked(msgspec.Struct):
    request: _Uid


def _bare() -> web.Application:
    decoder, encoder = msgspec.json.Decoder(_Asked), msgspec.json.Encoder()

    async def answer(request: web.Request) -> web.Response:
        asked = decoder.decode(await request.read())
        allowed = _ALLOWED | {"response": {"uid": asked.request.uid, "allowed": True}}
        return web.Response(body=encoder.encode(allowed), content_type="application/json")

    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post("/lookup", answer)
    return app


if __name__ == "__main__":
    run_on_our_loop(_serve(*sys.argv[1:]))
