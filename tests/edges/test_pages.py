"""A list by pages: the server works on the next one while we read."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from tests.edges.api_server import Answer, api_server, says

FIRST = says(200, {"metadata": {"resourceVersion": "7", "continue": "c"}, "items": []})


def hanging(asked: asyncio.Event) -> Answer:
    """Never answers, and tells that it was asked."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        await asyncio.sleep(3600)
        raise AssertionError

    return answer


def lists_under_way() -> int:
    return sum(task.get_name().startswith("list ") for task in asyncio.all_tasks())


async def test_the_next_page_is_asked_for_before_the_first_is_taken_up(tmp_path: Path) -> None:
    asked = asyncio.Event()
    async with api_server(tmp_path, FIRST, hanging(asked)) as server, asyncio.timeout(10):
        pages = server.cluster.streams().pages()
        assert (await anext(pages)).resource_version == "7"
        await asked.wait()
        assert server.asked[1].query["continue"] == "c"
        await pages.aclose()  # type: ignore[attr-defined]


async def test_a_list_that_is_given_up_leaves_no_request_behind(tmp_path: Path) -> None:
    asked = asyncio.Event()
    async with api_server(tmp_path, FIRST, hanging(asked)) as server, asyncio.timeout(10):
        pages = server.cluster.streams().pages()
        await anext(pages)
        assert lists_under_way() == 1
        await pages.aclose()  # type: ignore[attr-defined]
        assert lists_under_way() == 0


async def test_a_list_that_is_cancelled_leaves_no_request_behind(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def read() -> None:
        async for _ in server.cluster.streams().pages():
            pass

    async with api_server(tmp_path, FIRST, hanging(asked)) as server, asyncio.timeout(10):
        reader = asyncio.create_task(read())
        await asked.wait()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        assert (reader.cancelled(), lists_under_way()) == (True, 0)
