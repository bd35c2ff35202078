"""A request's body: read within its limits of size and time, and decompressed within the same size."""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import web
from aiohttp.http import HttpProcessingError

from listener.core.events import LARGEST_BODY
from listener.edges.web.limits import Limits
from listener.errors import IncompleteDelivery, MalformedDelivery, TooLarge, UnknownEncoding

_GZIP = 16 + zlib.MAX_WBITS
_BROKEN = (web.RequestPayloadError, HttpProcessingError, ConnectionError)


async def read(request: web.BaseRequest, limits: Limits, *, most: int = LARGEST_BODY) -> bytes:
    """The body as it came. Raises TooLarge, IncompleteDelivery or MalformedDelivery."""
    content = request.content
    try:
        if content.is_eof():  # it came along with the headers, as most do
            body = content.read_nowait()
            if len(body) > most:
                raise _too_large(most)
            return body
        if (request.content_length or 0) > most:
            raise _too_large(most)
        return await _read_on(request, limits, most)
    except _BROKEN as error:
        raise MalformedDelivery(f"the body broke off, or is not written as its headers say: {_kind(error)}") from error


async def _read_on(request: web.BaseRequest, limits: Limits, most: int) -> bytes:
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer is yet to begin
    body = bytearray()
    started = asyncio.get_running_loop().time()
    grace = min(limits.body_grace_seconds, limits.body_seconds)
    try:
        async with asyncio.timeout(grace) as patience:
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > most:
                    raise _too_large(most)
                earned = grace + len(body) / limits.body_bytes_per_second
                patience.reschedule(started + min(limits.body_seconds, earned))
    except TimeoutError as error:
        raise IncompleteDelivery(
            f"the body did not arrive in time: after {grace} s, {limits.body_bytes_per_second:.0f} bytes a second"
            f" are expected, and all of it within {limits.body_seconds} s"
        ) from error
    return bytes(body)


def decompressed(body: bytes, encoding: str) -> bytes:
    """The body that a Content-Encoding stands for. Raises TooLarge, UnknownEncoding or MalformedDelivery."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _inflated(body, _GZIP)
        case "deflate":
            try:
                return _inflated(body, zlib.MAX_WBITS)
            except MalformedDelivery:
                return _inflated(body, -zlib.MAX_WBITS)  # some leave out the frame that the standard asks for
    raise UnknownEncoding("the Content-Encoding is none that we read; send gzip, deflate or none")


def _inflated(body: bytes, wbits: int) -> bytes:
    inflate = zlib.decompressobj(wbits)
    try:
        found = inflate.decompress(body, LARGEST_BODY + 1)
    except zlib.error as error:
        raise MalformedDelivery(f"the body is not compressed as its Content-Encoding says: {error}") from error
    if len(found) > LARGEST_BODY:
        raise _too_large(LARGEST_BODY)
    if not inflate.eof or inflate.unused_data:
        raise MalformedDelivery("the compressed body is cut off, or something follows it")
    return found


def _too_large(most: int) -> TooLarge:
    what = f"the body is larger than {most} bytes, as it came or decompressed; a registry's delivery is a few KiB"
    if most > LARGEST_BODY:
        what += ". Is it the first of a queue (distribution), its sender sends nothing else until it is restarted"
    return TooLarge(what)


def _kind(error: BaseException) -> str:
    """What it is; the library's own words hold pieces of what was sent."""
    return type(error).__name__
