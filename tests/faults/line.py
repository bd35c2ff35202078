"""A line between the service and a server: TCP, with faults that can be switched on and mended.

It knows nothing of what it carries but the first line of a request, by which a fault can be confined to some of them.
One fault at a time: a new one takes the place of the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from yarl import URL

_CHUNK = 65536
_HELD_CHUNKS = 64  # of each direction, then the sender has to wait
_TICK_SECONDS = 0.02  # between two pieces of a throttled chunk
_METHODS = (b"GET ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"HEAD ")


@dataclass(frozen=True, slots=True)
class _Fault:
    kind: Literal["delay", "throttle", "half", "reset", "hole"]
    about: bytes = b""
    amount: float = 0.0  # seconds, or bytes in a second


@dataclass(slots=True, eq=False)
class _Connection:
    """`asked` is the first line of the newest request: connections are used again."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    asked: bytes = b""
    is_frozen: bool = False
    held: int = 0

    def note(self, data: bytes) -> None:
        if data.startswith(_METHODS):
            self.asked = data.partition(b"\r\n")[0]

    def close(self) -> None:
        self.near.close()
        self.far.close()

    def reset(self) -> None:
        """Break both sides off with an RST, whatever was still to be sent."""
        for writer in (self.near, self.far):
            with contextlib.suppress(OSError, AttributeError):  # it was closed meanwhile: one of TLS has no socket then
                raw: socket.socket = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Line:
    """Stands between a client and `server`. `about`: only what belongs to requests with these bytes in their first
    line, such as `b"watch=true"`; of an encrypted line nothing is known, so a fault strikes all of it. With `tls` it is
    encrypted up to here, and the server behind it speaks plain HTTP.
    """

    def __init__(self, server: URL, *, tls: ssl.SSLContext | None = None) -> None:
        self.came = 0
        """How many connections there have been; over TLS those alone that have believed us."""
        self._server = server
        self._tls = tls
        self._fault: _Fault | None = None
        self._changed = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # What can be wrong with it

    def delay(self, seconds: float, *, about: bytes = b"") -> None:
        """Latency: each chunk comes so much later, in order, in both directions."""
        self._switch(_Fault("delay", about, seconds))

    def throttle(self, bytes_per_second: float, *, about: bytes = b"") -> None:
        """Let no more through than this, of each connection and in each direction, in small pieces."""
        self._switch(_Fault("throttle", about, bytes_per_second))

    def halve(self, *, about: bytes = b"") -> None:
        """Half a line: of the next chunk of each answer the first half goes through, then the connection is closed."""
        self._switch(_Fault("half", about))

    def reset(self, *, about: bytes = b"") -> None:
        """Break off every connection with a TCP reset, now and as soon as one asks for something."""
        self._switch(_Fault("reset", about))
        for connection in tuple(self._connections):
            if about in connection.asked:
                connection.reset()

    def cut(self, *, about: bytes = b"") -> None:
        """A black hole: nothing goes through and nothing is closed, on old connections and on new ones."""
        self._switch(_Fault("hole", about))

    def freeze(self, *, about: bytes = b"") -> None:
        """A black hole for the connections that there are now; new ones work. A firewall that was started anew does
        that. Besides, there may be another fault.
        """
        for connection in self._connections:
            connection.is_frozen = connection.is_frozen or about in connection.asked

    def thaw(self, *, about: bytes = b"") -> None:
        """What was frozen goes on its way."""
        for connection in self._connections:
            connection.is_frozen = connection.is_frozen and about not in connection.asked
        self._switch(self._fault)

    def clear(self) -> None:
        """End the fault; what is frozen stays so."""
        self._switch(None)

    def mend(self) -> None:
        """Whatever was held back goes on its way."""
        self._fault = None
        self.thaw()

    def held(self, *, about: bytes = b"") -> int:
        """How many connections have something to deliver, and may not."""
        return sum(each.held > 0 for each in self._connections if about in each.asked)

    def _switch(self, fault: _Fault | None) -> None:
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    # Passing on

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[URL]:
        """Yield the server's address as it is at this end of the line."""
        listening = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        try:
            yield self._server.with_host("127.0.0.1").with_port(listening.sockets[0].getsockname()[1])
        finally:
            listening.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for connection in tuple(self._connections):
                connection.reset()

    async def _connected(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        self.came += 1
        try:
            far_reader, far = await asyncio.open_connection(self._server.host, self._server.port)
        except OSError:
            near.close()
            return
        connection = _Connection(near, far)
        self._connections.add(connection)
        ways = [
            asyncio.create_task(self._pass_on(connection, near_reader, far, is_answer=False), name="line there"),
            asyncio.create_task(self._pass_on(connection, far_reader, near, is_answer=True), name="line back"),
        ]
        for way in ways:
            self._tasks.add(way)
            way.add_done_callback(self._tasks.discard)
        await asyncio.wait(ways)
        self._connections.discard(connection)
        connection.close()

    async def _pass_on(
        self, connection: _Connection, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_HELD_CHUNKS)
        reading = asyncio.create_task(self._read(source, held), name="line reader")
        try:
            with contextlib.suppress(ConnectionError):
                while True:
                    came, data = await held.get()
                    if not is_answer:
                        connection.note(data)
                    if not await self._let_through(connection, sink, data, came, is_answer=is_answer):
                        return
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            sink.close()

    async def _read(self, source: asyncio.StreamReader, held: asyncio.Queue[tuple[float, bytes]]) -> None:
        """Take in what comes; no bytes at all are the end."""
        data = b"more"
        while data:
            try:
                data = await source.read(_CHUNK)
            except ConnectionError:
                data = b""
            await held.put((_now(), data))

    async def _let_through(
        self, connection: _Connection, sink: asyncio.StreamWriter, data: bytes, came: float, *, is_answer: bool
    ) -> bool:
        """Send one chunk as the line is now, or becomes; tell whether others may follow."""
        while fault := self._fault_of(connection):
            changed = self._changed
            match fault.kind:
                case "hole":
                    connection.held += 1
                    await changed.wait()
                    connection.held -= 1
                case "delay":
                    if _now() >= came + fault.amount:
                        break
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(came + fault.amount - _now()):
                            await changed.wait()
                case "throttle" if data:
                    size = max(1, int(fault.amount * _TICK_SECONDS))
                    sink.write(data[:size])
                    await sink.drain()
                    data = data[size:]
                    if not data:
                        return True
                    await asyncio.sleep(_TICK_SECONDS)
                case "reset":
                    connection.reset()
                    return False
                case "half" if is_answer:
                    sink.write(data[: len(data) // 2])
                    connection.close()
                    return False
                case _:
                    break
        if not data:
            return False
        sink.write(data)
        await sink.drain()
        return True

    def _fault_of(self, connection: _Connection) -> _Fault | None:
        if connection.is_frozen:
            return _Fault("hole")
        fault = self._fault
        return fault if fault and fault.about in connection.asked else None


@asynccontextmanager
async def to_cluster(kubeconfig: Path, copy: Path) -> AsyncIterator[Line]:
    """Lay a line to the API server that `kubeconfig` names, and write to `copy` how it is reached by way of it."""
    config = yaml.safe_load(kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]
    line = Line(URL(server["server"]))
    async with line.listen() as url:
        server["server"] = str(url)
        copy.write_text(yaml.safe_dump(config))
        yield line


def _now() -> float:
    return asyncio.get_running_loop().time()
