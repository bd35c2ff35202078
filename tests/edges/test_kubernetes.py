"""kubernetes_asyncio without its models, each time in a process of its own: what is imported stays.

What fails here with another version of that package says that its `__init__` files ask for more than they did.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from tests.edges.api_server import api_server

COUNT = """
import sys

def count():
    generated = ("kubernetes_asyncio.client.models.", "kubernetes_asyncio.client.api.")
    return sum(name.startswith(generated) for name in sys.modules)
"""

CONNECT = """
import asyncio
import listener.cli.serve
from listener.edges.cluster import Cluster

async def connect():
    async with await Cluster.connect(kubeconfig=sys.argv[1]) as cluster:
        await cluster.get("/version")

asyncio.run(connect())
print(count())
"""

DESERIALISE = """
import asyncio
from types import SimpleNamespace

async def deserialise():
    async with kubernetes.ApiClient() as api:
        return type(api.deserialize(SimpleNamespace(data="{}"), "V1Pod"))

found = asyncio.run(deserialise())
"""

CREDENTIAL = {
    "apiVersion": "client.authentication.k8s.io/v1",
    "kind": "ExecCredential",
    "status": {"token": "fresh"},
}
EXEC_PLUGIN = {
    "exec": {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", f"print({json.dumps(CREDENTIAL)!r})"],
        "interactiveMode": "Never",
    }
}


async def run(program: str, *args: Path) -> list[str]:
    """What it prints, line by line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COUNT + program, *map(str, args)), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return output.decode().split("\n")[:-1]


async def answer(request: web.BaseRequest) -> web.Response:
    """An API server and an issuer of tokens in one."""
    match request.path:
        case "/.well-known/openid-configuration":
            return web.json_response({"token_endpoint": f"http://{request.host}/token"})
        case "/token":
            return web.json_response({"id_token": "fresh", "refresh_token": "next"})
    return web.json_response({})


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        pytest.param({"token": "written"}, "Bearer written", id="token"),
        pytest.param(EXEC_PLUGIN, "Bearer fresh", id="exec plugin"),
        pytest.param(
            {"auth-provider": {"name": "oidc", "config": {"id-token": "e30.e30.e30"}}}, "Bearer e30.e30.e30", id="OIDC"
        ),
        pytest.param(
            {
                "auth-provider": {
                    "name": "oidc",
                    "config": {"client-id": "us", "client-secret": "s", "refresh-token": "r", "idp-issuer-url": "HOST"},
                }
            },
            "Bearer fresh",
            id="OIDC, with a token to be fetched",
        ),
        pytest.param({"username": "us", "password": "s"}, "Basic dXM6cw==", id="password"),
    ],
)
async def test_the_service_connects_without_any_model(user: dict[str, Any], sent: str, tmp_path: Path) -> None:
    async with api_server(tmp_path, answer) as server:
        kubeconfig = yaml.safe_load((tmp_path / "kubeconfig").read_text())
        host = kubeconfig["clusters"][0]["cluster"]["server"]
        kubeconfig["users"][0]["user"] = json.loads(json.dumps(user).replace("HOST", host))
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
        assert await run(CONNECT, tmp_path / "kubeconfig") == ["0"]
    assert server.asked[-1].path == "/version"
    assert server.asked[-1].headers["Authorization"] == sent


@pytest.mark.parametrize(
    "use",
    [
        pytest.param("from kubernetes_asyncio import client; found = client.V1Pod", id="the typed client"),
        pytest.param("from kubernetes_asyncio.client import V1Pod as found", id="a model by its name"),
        pytest.param("from kubernetes_asyncio.client import *; found = V1Pod", id="all names"),
        pytest.param("from kubernetes_asyncio.client.models import V1Pod as found", id="the models"),
        pytest.param(
            "import kubernetes_asyncio.client.models as m; found = getattr(m, dir(m)[0]) and m.V1Pod", id="dir"
        ),
        pytest.param("from kubernetes_asyncio import watch, client; found = client.V1Pod", id="its Watch"),
        pytest.param(DESERIALISE, id="an answer that is to become a model"),
    ],
)
async def test_who_uses_the_whole_library_later_finds_it_whole(use: str) -> None:
    program = f"""
from listener.edges import kubernetes
before = count()
{use}
import kubernetes_asyncio
from kubernetes_asyncio import client, config, dynamic, stream, utils, watch
print(before, count() > 500)
print(found is client.V1Pod is client.models.V1Pod is kubernetes_asyncio.client.V1Pod)
print(client.ApiClient is kubernetes.ApiClient, client.Configuration is kubernetes.Configuration)
print(client.CoreV1Api.__module__, watch.Watch.__module__, config.load_config.__module__)
print(client.__file__.endswith("client/__init__.py"), "V1Pod" in vars(client), client.__version__[0] != "")
"""
    assert await run(program) == [
        "0 True",
        "True",
        "True True",
        "kubernetes_asyncio.client.api.core_v1_api kubernetes_asyncio.watch.watch kubernetes_asyncio.config",
        "True True True",
    ]


async def test_a_library_that_was_imported_before_is_taken_as_it_is() -> None:
    program = """
from kubernetes_asyncio import client
from listener.edges import kubernetes
print(kubernetes.ApiClient is client.ApiClient, kubernetes.Configuration is client.Configuration)
print(type(client).__name__, count() > 500)
"""
    assert await run(program) == ["True True", "module True"]


@pytest.mark.parametrize("part", ["client.rest", "client.configuration", "client.api_client", "config"])
async def test_a_library_that_is_made_otherwise_is_imported_whole(part: str) -> None:
    program = f"""
class FailsOnce:
    def find_spec(self, name, path, target=None):
        if name == "kubernetes_asyncio.{part}":
            sys.meta_path.remove(self)
            raise ImportError(name)

sys.meta_path.insert(0, FailsOnce())
from listener.edges import kubernetes
from kubernetes_asyncio import client
print(kubernetes.ApiClient is client.ApiClient, type(client).__name__, count() > 500)
"""
    assert await run(program) == ["True module True"]


async def test_an_unknown_name_is_unknown() -> None:
    program = """
from listener.edges import kubernetes
import kubernetes_asyncio.client as client
print(hasattr(client, "V0Pod"), type(client).__name__)
try:
    from kubernetes_asyncio.client import V0Pod
except ImportError as error:
    print(error.name)
"""
    assert await run(program) == ["False module", "kubernetes_asyncio.client"]


async def test_threads_that_ask_at_once_all_find_the_name() -> None:
    program = """
from concurrent.futures import ThreadPoolExecutor
from listener.edges import kubernetes
import kubernetes_asyncio.client as client
with ThreadPoolExecutor(8) as threads:
    print(len({cls for cls in threads.map(lambda _: client.V1Pod, range(8))}))
"""
    assert await run(program) == ["1"]


async def test_the_sandbox_reads_the_models_beside_the_service() -> None:
    program = """
import listener.cli.serve
from listener.sandbox.cluster.kinds import kind_node
print(sorted(kind_node("v1", "Pod").fields))
"""
    assert await run(program) == ["['apiVersion', 'kind', 'metadata', 'spec', 'status']"]
