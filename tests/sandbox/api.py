"""A bare client of the embedded cluster: requests as they go over the wire, answers as they come back."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from listener.sandbox.cluster import Cluster

Object = dict[str, Any]

NAMESPACE = "team"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
CONFIG_MAPS = f"{CORE}/configmaps"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
REPLICA_SETS = f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GADGETS = f"/apis/example.com/v1/namespaces/{NAMESPACE}/gadgets"

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


@dataclass(frozen=True, slots=True)
class Reply:
    code: int
    body: Any
    warnings: list[str]
    headers: Mapping[str, str]

    @property
    def message(self) -> str:
        return str(self.body["message"])

    @property
    def revision(self) -> str:
        return str(self.body["metadata"]["resourceVersion"])


class Api:
    """Sends requests with the cluster's token. `waiting` bounds whatever is waited for."""

    def __init__(self, cluster: Cluster, session: aiohttp.ClientSession) -> None:
        self.cluster = cluster
        self.session = session

    async def __call__(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", **headers: str
    ) -> Reply:
        text = body if isinstance(body, str) else json.dumps(body)
        data = None if body is None else io.BytesIO(text.encode())
        sent = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
        url = URL(self.cluster.url + path, encoded=True)
        async with self.session.request(method, url, data=data, headers=sent) as response:
            answer: Any = await response.text()
            if answer and response.content_type == "application/json":
                answer = json.loads(answer)
            return Reply(response.status, answer, response.headers.getall("Warning", []), response.headers)

    async def get(self, path: str, **headers: str) -> Reply:
        return await self("GET", path, **headers)

    async def create(self, path: str, obj: Object) -> Object:
        """Create an object that must be taken; return it as it is stored."""
        reply = await self("POST", path, obj)
        assert reply.code == 201, reply
        return dict(reply.body)

    async def patch(self, path: str, patch: Any, kind: str = MERGE_PATCH) -> Reply:
        return await self("PATCH", path, patch, content_type=kind)

    async def names(self, path: str) -> list[str]:
        return [item["metadata"]["name"] for item in (await self.get(path)).body["items"]]

    async def until(self, path: str, holds: Callable[[Reply], bool], seconds: float = 5.0) -> Reply:
        """Wait until the object or list at `path` satisfies `holds`: look, and look again after each change."""
        async with asyncio.timeout(seconds):
            while True:
                async with self.watch(_collection(path)) as watch:
                    reply = await self.get(path)
                    while not holds(reply):
                        await watch.event()
                        reply = await self.get(path)
                    return reply

    @asynccontextmanager
    async def watch(self, path: str, accept: str = "application/json") -> AsyncIterator[Watch]:
        """Watch a list; `path` may carry parameters."""
        if "watch=" not in path:
            path += "&watch=true" if "?" in path else "?watch=true"
        url, headers = URL(self.cluster.url + path, encoded=True), {"Accept": accept}
        async with self.session.get(url, headers=headers, timeout=aiohttp.ClientTimeout(total=None)) as response:
            yield Watch(response)


def _collection(path: str) -> str:
    """Return the list that an object's path belongs to: what is watched while waiting for the object."""
    parts = path.partition("?")[0].split("/")
    return "/".join(parts[: parts.index("namespaces") + 3]) if path.count("/namespaces/") else "/".join(parts[:4])


@asynccontextmanager
async def serving(cluster: Cluster) -> AsyncIterator[Api]:
    """Start a cluster, and give a client of it."""
    async with cluster, aiohttp.ClientSession(headers={"Authorization": f"Bearer {cluster.token}"}) as session:
        yield Api(cluster, session)


class Watch:
    """The events of one watch, in order."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def event(self, seconds: float = 5.0) -> Object:
        """Return the next event. Raises `TimeoutError` when none comes, `EOFError` when the watch has ended."""
        async with asyncio.timeout(seconds):
            line = await self.response.content.readline()
        if not line:
            raise EOFError
        return dict(json.loads(line))

    async def told(self, count: int) -> list[tuple[str, str]]:
        """Return type and name of the next events."""
        events = [await self.event() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]

    async def rest(self) -> list[Object]:
        """Return everything until the server ends the watch."""
        events = []
        while True:
            try:
                events.append(await self.event())
            except EOFError:
                return events


def config_map(name: str, data: dict[str, str] | None = None, **metadata: Any) -> Object:
    metadata = {"name": name, **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data or {"key": "value"}}


def deployment(name: str, image: str = "registry.example.com/web:1", replicas: int = 1, **metadata: Any) -> Object:
    labels = {"app": name}
    containers = [{"name": "web", "image": image}, {"name": "proxy", "image": "registry.example.com/proxy:1"}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, **metadata},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }


def gadget(name: str, **spec: Any) -> Object:
    return {"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": {"size": 1, **spec}}


def definition(**version: Any) -> Object:
    """Return the definition of Gadgets; `version` replaces what its one version says."""
    spec = {
        "type": "object",
        "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1},
            "color": {"type": "string", "default": "blue"},
            "replicas": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        },
    }
    shown = {"type": "object", "properties": {"phase": {"type": "string"}, "replicas": {"type": "integer"}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"kind": "Gadget", "plural": "gadgets", "shortNames": ["gd"], "categories": ["all"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                    },
                    "additionalPrinterColumns": [
                        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                        {"name": "Tag", "type": "string", "jsonPath": ".spec.tags[*].name", "priority": 1},
                        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                    ],
                    "selectableFields": [{"jsonPath": ".spec.color"}],
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": shown}}},
                    **version,
                }
            ],
        },
    }
