"""What those ask who watch us: the probes, and Prometheus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from aiohttp import web


class Health(Protocol):
    """What the probes ask. Each answer is a list of complaints; none means well."""

    def not_alive(self) -> list[str]: ...

    def not_ready(self) -> list[str]: ...


def monitoring_app(health: Health, expose: Callable[[Collection[str]], bytes], metrics_type: str) -> web.Application:
    """`/livez`, `/readyz`, `/healthz` (both together) and `/metrics`, of which a `name[]` for each asks for a part, as
    Prometheus' own client libraries have it.
    """

    def probe(*questions: Callable[[], list[str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(_: web.Request) -> web.Response:
            complaints = [complaint for question in questions for complaint in question()]
            return web.Response(status=503 if complaints else 200, text="\n".join(complaints or ["ok"]) + "\n")

        return answer

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=expose(request.query.getall("name[]", ())), headers={"Content-Type": metrics_type})

    app = web.Application()
    app.router.add_get("/livez", probe(health.not_alive))
    app.router.add_get("/readyz", probe(health.not_ready))
    app.router.add_get("/healthz", probe(health.not_alive, health.not_ready))
    app.router.add_get("/metrics", metrics)
    return app
