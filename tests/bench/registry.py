"""A registry that answers every HEAD with the same digest, and notes when what was asked for.

`python -m tests.bench.registry DIGEST` runs as a process of its own, so that it has a processor of its own; it prints
its port. `GET /seen` tells, since the last one, how many questions came and the gaps between questions for the same
tag, in seconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import pairwise

from aiohttp import web

# As registries do it, with the length of what a GET would bring; without one, clients close the connection.
_HEADERS = {
    "Docker-Distribution-Api-Version": "registry/2.0",
    "Content-Type": "application/vnd.oci.image.manifest.v1+json",
    "Content-Length": "428",
}


class Registry:
    def __init__(self, digest: str) -> None:
        self._headers = _HEADERS | {"Docker-Content-Digest": digest}
        self._seen: dict[str, list[float]] = {}

    async def manifest(self, request: web.Request) -> web.Response:
        self._seen.setdefault(request.path, []).append(time.monotonic())
        return web.Response(headers=self._headers)

    async def seen(self, _: web.Request) -> web.Response:
        seen, self._seen = self._seen, {}
        gaps = sorted(later - earlier for times in seen.values() for earlier, later in pairwise(times))
        return web.json_response({"questions": sum(map(len, seen.values())), "tags": len(seen), "gaps": gaps})


async def _serve(digest: str) -> None:
    registry = Registry(digest)
    app = web.Application()
    app.router.add_get("/seen", registry.seen)
    app.router.add_head("/v2/{rest:.*}", registry.manifest)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
