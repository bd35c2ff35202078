"""What a stranger might make of a delivery. It knows JSON, forms and what is packed in a text; it knows no dialect.

Bytes changed at random make JSON that is none, and most of a parser is behind that. So most changes are made inside:
members are dropped, renamed, doubled, exchanged, of another type, too deep and too many.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final
from urllib.parse import parse_qs, quote_plus

from tests.dialects.bodies import DIGEST, SIGNATURE_TAG
from tests.fuzz.inputs import Case

FORM: Final = "application/x-www-form-urlencoded"
_LARGE_ONE_IN: Final = 200  # a body of the largest size costs as much as some hundred others
_MARK: Final = "here is the piece"

_TEXTS: Final = (
    *("", " ", "\x00", "\n", "\u202e", "\ud800", "\udcff", "🐍", "ﬀ", "İ", "ß", "\u2028", "é" * 128, "x" * 257),
    *("latest", "v1", DIGEST, SIGNATURE_TAG, "sha256:", "SHA256:" + "A" * 64, "sha512:" + "a" * 128, "-", ".", "_"),
    *(
        "team/web",
        "a/" * 127 + "a",
        "a" * 255,
        "a-" * 127,
        "a" * 256,
        "Team/Web",
        "//",
        "a@b:c@d",
        "r.example:5000/web",
    ),
    *("[::1]:5000", "http://", "https://user@r.example/v2/", "https://sns.eu-west-1.amazonaws.com/?Action=x", "%00%ff"),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "2026-02-30T00:00:00Z", "2026-11-23T00:38:06.123456789Z"),
    *("1e400", "-1", "9" * 400, "nan", "inf", "253402300800", "null", "{}", "[]", '{"', "[" * 100, "=", "%", "bnVsbA"),
)
_NUMBERS: Final = (0, -0.0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**64), 10**400, 1e308, 5e-324, 253402300800, 1.5)
_CONSTANTS: Final = (None, True, False, float("nan"), float("inf"), float("-inf"))
_DEPTHS: Final = (1, 2, 61, 62, 63, 64, 65, 300)


class Mutator:
    """Makes cases of cases. What it puts in is taken from `seeds`, or from what parsers have stumbled over."""

    def __init__(self, seeds: Sequence[Case], damage: Callable[[bytes, Random], bytes] | None = None) -> None:
        """`damage` changes bytes of which nothing is known."""
        self._damage = damage or damaged
        self._cases = seeds
        self._headers = sorted({pair for case in seeds for pair in case.headers.items()})
        self._dialects = sorted({case.dialect for case in seeds})
        self._documents = [document for case in seeds if (document := _opened(case)) is not None]
        keys: set[str] = set()
        for document in self._documents:
            _collect(document, keys)
        self._keys = sorted(keys)

    def mutated(self, case: Case, chance: Random) -> Case:
        """One change, of whatever kind. The case is left as it is."""
        case = case._replace(repeats=(0, 0))
        if chance.randrange(_LARGE_ONE_IN) == 0:
            return self._large(case, chance)
        kind = chance.random()
        if kind < 0.75:
            return self._in_the_document(case, chance)
        if kind < 0.85:
            return case._replace(body=self._damage(case.body, chance))
        if kind < 0.95:
            return self._in_the_headers(case, chance)
        if kind < 0.98:
            return case._replace(dialect=chance.choice(self._dialects))
        return case._replace(body=chance.choice(self._cases).body)

    # Inside the JSON

    def _in_the_document(self, case: Case, chance: Random) -> Case:
        document = _opened(case)
        if document is None:
            return case._replace(body=self._damage(case.body, chance))
        try:
            text = _dumped(self._changed(document, chance), chance)
        except (ValueError, RecursionError):
            return case._replace(body=self._damage(case.body, chance))
        if _is_form(case) == (chance.random() < 0.98):
            body = b"payload=" + quote_plus(text.encode(errors="surrogatepass")).encode()
            return case._replace(headers={**case.headers, "content-type": FORM}, body=body)
        encoding = "utf-8" if chance.random() < 0.98 else chance.choice(("utf-16", "utf-8-sig", "utf-32-be"))
        return case._replace(body=text.encode(encoding, errors="surrogatepass"))

    def _changed(self, document: Any, chance: Random) -> Any:
        """The document, one or a few places of which are changed."""
        root = [document]
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            holder, key = _place(root, chance)
            self._change(holder, key, chance)
            if not root:
                return None
        return root[0]

    def _change(self, holder: Any, key: Any, chance: Random) -> None:
        value = holder[key]
        match chance.randrange(12):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[chance.choice(self._keys)] = holder.pop(key) if chance.random() < 0.5 else value
            case 1 if len(holder) < 1000:
                holder[key:key] = [value] * chance.choice((1, 2, 20))
            case 2:
                holder[key] = chance.choice(([value], {"": value}, {chance.choice(self._keys): value}, [value, value]))
            case 3:
                holder[key] = packed(value, chance)
            case 4:
                for _ in range(chance.choice(_DEPTHS)):
                    value = [value]
                holder[key] = value
            case 5:
                donor, at = _place([chance.choice(self._documents)], chance)
                holder[key] = json.loads(json.dumps(donor[at]))
            case 6 if isinstance(value, dict):
                value[chance.choice((*self._keys, ""))] = self._value(chance)
            case 7 if isinstance(value, list):
                value.append(self._value(chance))
            case 6 | 7 | 8 if isinstance(value, str) and value:
                holder[key] = self._text(value, chance)
            case 6 | 7 | 8 if isinstance(value, int | float):
                holder[key] = chance.choice(
                    (-value, value + 1, str(value), float(value)) if abs(value) < 2**64 else (0,)
                )
            case _:
                holder[key] = self._value(chance)

    def _value(self, chance: Random) -> Any:
        return chance.choice(
            (
                chance.choice(_TEXTS),
                chance.choice(_TEXTS),
                chance.choice(_NUMBERS),
                chance.choice(_CONSTANTS),
                chance.choice(self._keys),
                [],
                {},
                [chance.choice(_TEXTS)],
                {chance.choice(self._keys): chance.choice(_TEXTS)},
            )
        )

    def _text(self, text: str, chance: Random) -> str:
        """Another text. If it holds JSON, then mostly that is changed."""
        if chance.random() < 0.8 and (found := unpacked(text)):
            document, pack = found
            return pack(_dumped(self._changed(document, chance), chance))
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice((0, 0, 1, 1, 8, 1000)))
        put = chance.choice(("", chr(chance.randrange(33, 127)), chr(chance.randrange(0x300)), chance.choice(_TEXTS)))
        return text[:start] + put + text[end:]

    # Around it

    def _in_the_headers(self, case: Case, chance: Random) -> Case:
        headers = dict(case.headers)
        name, value = chance.choice(self._headers)
        kind = chance.random()
        if kind < 0.3 and headers:
            headers.pop(chance.choice(sorted(headers)))
        elif kind < 0.6:
            headers[name] = value
        elif kind < 0.7:
            headers = dict(chance.choice(self._cases).headers)
        else:
            name = chance.choice(sorted(headers)) if headers and chance.random() < 0.7 else name
            headers[name] = self._text(headers.get(name, value), chance)
        return case._replace(headers=headers)

    def _large(self, case: Case, chance: Random) -> Case:
        """A body in which one thing comes again until it can be no larger: elements, members, digits or a text."""
        document = _opened(case)
        if document is None or _is_form(case) or chance.random() < 0.2:
            start = chance.randrange(len(case.body) + 1)
            return case._replace(repeats=(start, start + chance.choice((1, 1, 2, 8, 100))))
        root = [document]
        holder, key = _place(root, chance)
        value = holder[key]
        holder[key] = _MARK
        before, _, after = json.dumps(root[0]).partition(json.dumps(_MARK))
        written = json.dumps(value)
        if holder is not root and isinstance(holder, list) and (not isinstance(value, str) or chance.random() < 0.5):
            piece, rest = f"{written}, ", written
        elif holder is not root and isinstance(holder, dict) and chance.random() < 0.3:
            piece, rest = f"{written}, {json.dumps(key)}: ", written
        elif isinstance(value, str):
            before, piece, rest = before + '"', chance.choice((written[1:-1], "x", "/", " ", "\\ud800", "-a")), '"'
        else:
            before, piece, rest = f"{before}1", "1", ""
        start = len(before)
        return case._replace(body=f"{before}{piece}{rest}{after}".encode(), repeats=(start, start + len(piece)))


def damaged(body: bytes, chance: Random) -> bytes:
    """Bytes cut out, put in, or doubled."""
    start = chance.randrange(len(body) + 1)
    end = min(len(body), start + chance.choice((0, 1, 1, 4, 100)))
    put = chance.choice(
        (b"", chance.randbytes(1), chance.randbytes(4), body[start:end] * 2, b"\x00", b'"', b"}", b"\xff")
    )
    return body[:start] + put + body[end:]


def packed(value: Any, chance: Random) -> str:
    """A value as a text: its JSON, or that in one of the alphabets of base64."""
    text = json.dumps(value)
    pack = chance.choice((str, _base64, _base64_url))
    return pack(text)


def unpacked(text: str) -> tuple[Any, Callable[[str], str]] | None:
    """The JSON in a text, be it packed or not, and how it is packed again; None if there is none."""
    for plain, pack in ((text, str), (_from_base64(text), _base64)):
        if plain.startswith(("{", "[")):
            try:
                return json.loads(plain), pack
            except (ValueError, RecursionError):
                return None
    return None


def _base64(text: str) -> str:
    return base64.b64encode(text.encode(errors="surrogatepass")).decode()


def _base64_url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode(errors="surrogatepass")).decode().rstrip("=")


def _from_base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return ""


def _is_form(case: Case) -> bool:
    return case.headers.get("content-type", "").startswith(FORM)


def _opened(case: Case) -> Any:
    """The JSON of a body or of the form in it, nobody else's; None if there is none."""
    try:
        if _is_form(case):
            return json.loads(parse_qs(case.body.decode())["payload"][0])
        return json.loads(case.body)
    except (ValueError, KeyError, RecursionError):
        return None


def _dumped(document: Any, chance: Random) -> str:
    text = json.dumps(document, ensure_ascii=chance.random() < 0.8)
    if text.startswith('{"') and chance.random() < 0.02:  # a member twice, of which the last counts
        return "{" + json.dumps(chance.choice(sorted(document))) + ": null, " + text[1:]
    return text


def _place(root: list[Any], chance: Random) -> tuple[Any, Any]:
    """Somewhere in a document, by what holds it."""
    holder: Any = root
    key: Any = 0
    while isinstance(inner := holder[key], dict | list) and inner and chance.random() < 0.75:
        holder, key = inner, chance.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
    return holder, key


def _collect(found: Any, keys: set[str]) -> None:
    if isinstance(found, str) and (inner := unpacked(found)):
        found = inner[0]
    if isinstance(found, dict):
        keys.update(found)
    for each in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        _collect(each, keys)
