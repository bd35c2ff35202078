"""A sender that means ill, as a process: `python -m tests.end_to_end.flood PORT HOOK`. Goes on until it is ended.

It sends what is refused, in every way at once, and opens a new connection when its own is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import sys
from collections.abc import Awaitable, Callable

_Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


async def _wrong_signatures(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    while True:
        writer.write(head + b"X-Signature: %064d\r\nContent-Length: 14\r\n\r\n" % 0 + b'{"events": []}')
        if not await reader.read(4096):
            return


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    body = b"[" * 100_000
    while True:
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        if not await reader.read(4096):
            return


async def _work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    """As much work as a megabyte can make, in what is no push and so is never refused where anybody may come in."""
    beginning = b'{"message": {}, "subscription": "", "x": ['
    lists = gzip.compress(beginning + b"[]," * 340_000 + b"0]}")
    numbers = beginning + b"0," * 500_000 + b"NaN]}"
    while True:
        writer.write(head + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(lists) + lists)
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(numbers) + numbers)
        await writer.drain()
        if not await reader.read(4096):
            return


async def _huge_bodies(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    while True:
        writer.write(piece)
        await writer.drain()


async def _slow_bodies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(head + b"Content-Length: 100000\r\n\r\n{")
    await reader.read()


async def _slow_heads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(head + b"X-More: ")
    await reader.read()


async def _no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: bytes) -> None:
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
    await reader.read()


async def _names(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: bytes) -> None:
    while True:
        writer.write(b"POST /hooks/guess HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        if not await reader.read(4096):
            return


_ATTACKS: tuple[tuple[_Attack, int], ...] = (
    (_wrong_signatures, 8),
    (_garbage, 4),
    (_work, 4),
    (_huge_bodies, 4),
    (_slow_bodies, 40),
    (_slow_heads, 20),
    (_no_http, 2),
    (_names, 4),
)


async def _repeat(attack: _Attack, port: int, head: bytes) -> None:
    while True:
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await attack(reader, writer, head)
            finally:
                writer.close()
        await asyncio.sleep(0)


async def _main(port: int, hook: str) -> None:
    head = f"POST /hooks/{hook} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
    await asyncio.gather(*(_repeat(attack, port, head) for attack, many in _ATTACKS for _ in range(many)))


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2]))
