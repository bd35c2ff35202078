"""A bare paged list of Deployments: the library's session, and of each page no more read than where the next one is.

`python -m tests.bench.pages KUBECONFIG NAMESPACE` is a process that does nothing else; it prints how many bytes came.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import msgspec

from listener.edges import kubernetes

_PAGE_SIZE = 500  # the listener's


class _Metadata(msgspec.Struct):
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _Metadata


_decode = msgspec.json.Decoder(_List).decode


@contextlib.asynccontextmanager
async def session(kubeconfig: str) -> AsyncIterator[kubernetes.ApiClient]:
    configuration = kubernetes.Configuration()
    await kubernetes.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
    async with kubernetes.ApiClient(configuration) as api:
        yield api


async def list_deployments(api: kubernetes.ApiClient, namespace: str) -> int:
    """Ask for all pages, one after the other; return how many bytes they had."""
    headers = {"Accept": "application/json"}
    await api.update_params_for_auth(headers, [], ["BearerToken"])
    address = f"{api.configuration.host}/apis/apps/v1/namespaces/{namespace}/deployments"
    query = {"limit": str(_PAGE_SIZE)}
    size = 0
    while True:
        async with api.rest_client.pool_manager.get(f"{address}?{urlencode(query)}", headers=headers) as response:
            response.raise_for_status()
            body = await response.read()
        size += len(body)
        metadata = _decode(body).metadata
        if not metadata.continue_:
            return size
        query["continue"] = metadata.continue_


async def _main(kubeconfig: str, namespace: str) -> None:
    async with session(kubeconfig) as api:
        sys.stdout.write(f"{await list_deployments(api, namespace)}\n")


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
