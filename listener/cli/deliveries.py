"""A delivery as people keep it in a file: the body alone, or the whole HTTP request as a proxy or a capture wrote it.

What stands in it was written by a stranger and may hold secrets: no message shows more than a line's number.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

import click

from listener.cli.streams import CommandFailed
from listener.core import events
from listener.core.events import LARGEST_BODY, Delivery
from listener.errors import BadInput, MalformedDelivery, UnknownEncoding

F = TypeVar("F")

_STDIN = "-"
# No JSON and no form begins like this.
_REQUEST_LINE = re.compile(rb"(?P<method>[A-Z]{3,16}) (?P<target>[!-~]{1,8192}) HTTP/[0-9](?:\.[0-9])?\r?\n")
_HEAD_LIMIT = 64 * 1024
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[^\r\n]*\r?\n")
# In zlib's words. Some write deflate without the frame that the standard asks for.
_UNPACK: Final = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}


@dataclass(frozen=True, slots=True)
class Saved:
    """A delivery: `sent` has the body as it was on the wire, packed and signed, `delivery` what is in it.

    `notes` is for a person: what is odd in the file. `method` and `path` are those of the request, "" where only its
    body was saved. With a `fault` the body cannot be unpacked, and is in both as it was on the wire.
    """

    delivery: Delivery
    sent: Delivery
    notes: tuple[str, ...] = ()
    method: str = ""
    path: str = ""
    fault: BadInput | None = None


def read(file: str, headers: Mapping[str, str], query: Mapping[str, str]) -> Saved:
    """Read a file, or stdin (-). The headers and the query that are given go before those of the file.

    Raises CommandFailed.
    """
    name = "stdin" if file == _STDIN else file
    try:
        found = sys.stdin.buffer.read() if file == _STDIN else Path(file).read_bytes()
    except OSError as error:
        raise CommandFailed(f"{name} cannot be read: {error.strerror or error}") from error
    return parse(name, found, headers, query)


def parse(name: str, found: bytes, headers: Mapping[str, str], query: Mapping[str, str]) -> Saved:
    """Read a body, or a request and its body. `name` is for messages. Raises CommandFailed."""
    request = _REQUEST_LINE.match(found)
    if request is None:
        return _saved(name, Delivery(headers, query, found))
    sent, start = _headers(name, found, request.end())
    wire, notes = _body(name, sent, found[start:])
    path, parameters = _target(request["target"].decode("ascii"))
    delivery = Delivery({**sent, **headers}, {**parameters, **query}, wire)
    return _saved(name, delivery, notes, request["method"].decode("ascii"), path)


def _saved(name: str, sent: Delivery, notes: tuple[str, ...] = (), method: str = "", path: str = "") -> Saved:
    try:
        unpacked = sent._replace(body=_unpacked(name, sent.headers, sent.body))
    except BadInput as fault:
        return Saved(sent, sent, notes, method, path, fault)
    return Saved(unpacked, sent, notes, method, path)


def _target(target: str) -> tuple[str, dict[str, str]]:
    """The path of a request's target, and its parameters."""
    try:
        found = urlsplit(target)
        return found.path, events.joined(parse_qsl(found.query, keep_blank_values=True))
    except ValueError:
        return "", {}


def _headers(name: str, found: bytes, start: int) -> tuple[dict[str, str], int]:
    """The headers, and where the body begins."""
    headers: list[tuple[str, str]] = []
    for number in range(2, 1000):
        end = found.find(b"\n", start, start + _HEAD_LIMIT)
        if end < 0 and len(found) - start > _HEAD_LIMIT:
            raise CommandFailed(f"line {number} of {name} is too long for a header")
        line = found[start : end if end >= 0 else len(found)].rstrip(b"\r")
        start = end + 1 if end >= 0 else len(found)
        if not line:
            return events.joined(headers), start
        key, colon, value = line.decode(errors="surrogateescape").partition(":")
        if not colon or not _TOKEN.fullmatch(key):
            raise CommandFailed(
                f"line {number} of {name} is no header such as `Name: value`; a saved request is a request line,"
                " headers, an empty line and the body as it was"
            )
        headers.append((key.lower(), value.strip()))
    raise CommandFailed(f"{name} holds too many headers")


def _body(name: str, headers: Mapping[str, str], rest: bytes) -> tuple[bytes, tuple[str, ...]]:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        # Captures hold the body either as it went, or put together.
        whole = _unchunked(rest)
        return (rest, ()) if whole is None else (whole, ())
    length = headers.get("content-length", "")
    if not re.fullmatch(r"[0-9]{1,12}", length) or len(rest) == int(length):
        return rest, ()
    if rest[int(length) :].strip(b"\r\n") == b"" and len(rest) > int(length):
        return rest[: int(length)], ()
    note = f"Content-Length says {length} bytes, and {len(rest)} follow in {name}: no signature fits what was changed"
    return rest, (note,)


def _unchunked(rest: bytes) -> bytes | None:
    """The body that was sent in chunks, None if these are no chunks."""
    parts: list[bytes] = []
    start = 0
    while size := _CHUNK_SIZE.match(rest, start):
        start = size.end()
        length = int(size[1], 16)
        if length == 0:
            return b"".join(parts)
        if len(rest) < start + length:
            return None
        parts.append(rest[start : start + length])
        start += length
        if rest[start : start + 2] == b"\r\n":
            start += 2
        elif rest[start : start + 1] == b"\n":
            start += 1
        else:
            return None
    return None


def _unpacked(name: str, headers: Mapping[str, str], wire: bytes) -> bytes:
    """The body as the service sees it, at most one byte more than it unpacks.

    Raises UnknownEncoding or MalformedDelivery, as the service does.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return wire
    if encoding not in _UNPACK:
        raise UnknownEncoding(f"the body in {name} is packed, and the Content-Encoding can only be gzip or deflate")
    for bits in _UNPACK[encoding]:
        unpacker = zlib.decompressobj(bits)
        try:
            found = unpacker.decompress(wire, LARGEST_BODY + 1)
        except zlib.error:
            continue
        if len(found) > LARGEST_BODY or (unpacker.eof and not unpacker.unused_data):
            return found
    raise MalformedDelivery(
        f"the body in {name} is not packed as its Content-Encoding says; if it was saved unpacked, take that header out"
    )


def delivery_arguments(command: F) -> F:
    """FILE and what is not in it; the command gets `file`, and `headers` and `query` as mappings."""
    options = [
        click.argument("file", metavar="FILE"),
        click.option(
            "--header",
            "headers",
            multiple=True,
            callback=_header_option,
            metavar="'NAME: VALUE'",
            help="A header of the delivery that is not in FILE. May be repeated.",
        ),
        click.option(
            "--query",
            multiple=True,
            callback=_query_option,
            metavar="'NAME=VALUE'",
            help="A parameter of the delivery's URL, written as it stands there. May be repeated.",
        ),
    ]
    found: Any = command
    for option in reversed(options):
        found = option(found)
    done: F = found
    return done


def _header_option(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise click.BadParameter("expected 'Name: value', on one line")
        found[name.lower()] = value.strip()
    return found


def _query_option(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        pairs = parse_qsl(text, keep_blank_values=True) if "=" in text else []
        if not pairs:
            raise click.BadParameter("expected 'name=value'")
        found.update(pairs)
    return found
