"""`listener dialects`: who can call us, and the guide for each."""

from __future__ import annotations

import re
import sys
from importlib import resources
from typing import Any, Final

import click

from listener.cli import output
from listener.cli.streams import CommandFailed
from listener.dialects import DIALECTS, Dialect

# The way in that a guide shows, in the settings that it has ready to paste.
_AUTH = re.compile(r"\bauth:\s*\{?\s*(bearer|basic|header|hmac|oidc|sns|query|none)\b")
_HEADING = re.compile(r"#{1,6} +(.*)")
_STRONG = re.compile(r"\*\*(\S(?:.*?\S)?)\*\*")
_FENCE: Final = "```"


@click.command("dialects")
@click.argument("name", required=False, type=click.Choice(list(DIALECTS)), metavar="[NAME]")
@click.option(
    "-o",
    "--output",
    "how",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    help="How to print the result. Default: table, for people.",
)
def command(name: str | None, how: str) -> None:
    """Show the registries that can call the service; with a NAME, the guide for one.

    The guide says how to point that registry at the service, with the settings of both sides, and how to see that it
    works.
    """
    if name is None:
        _list(how)
    else:
        _show(DIALECTS[name], how)


def guide(dialect: Dialect) -> str:
    """The guide, in Markdown. Raises CommandFailed if it is missing."""
    file = f"{dialect.name.replace('-', '_')}.md"
    try:
        return resources.files("listener.dialects").joinpath(file).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandFailed(
            f"the guide for {dialect.name}, {file} beside its dialect, is missing from this installation; install anew"
        ) from error


def readable(text: str) -> str:
    """The same for a terminal: headings and what is strong in bold, and blocks of code to be copied as they are."""
    lines: list[str] = []
    fence = ""
    for line in text.rstrip("\n").split("\n"):
        mark = line.lstrip()
        if not fence and mark.startswith(_FENCE):
            fence = _FENCE
        elif fence and mark.rstrip() == fence:
            fence = ""
        elif fence:
            lines.append(line)
        elif heading := _HEADING.fullmatch(line):
            lines.append(click.style(heading[1].rstrip(" #"), bold=True))
        else:
            lines.append(_STRONG.sub(lambda found: click.style(found[1], bold=True), line))
    return "\n".join(lines)


def _show(dialect: Dialect, how: str) -> None:
    text = guide(dialect)
    if how != "table":
        output.say(output.document({**_document(dialect), "guide": text}, how))
    elif sys.stdout.isatty():
        output.say(readable(text))
    else:
        output.say(text.rstrip("\n"))


def _list(how: str) -> None:
    if how != "table":
        output.say(output.document({"dialects": [_document(dialect) for dialect in DIALECTS.values()]}, how))
        return
    rows = [
        (
            dialect.name,
            dialect.title,
            ", ".join(_auth(dialect)) or "-",
            "yes" if dialect.has_digests else "no",
            f"{dialect.patience_seconds:g} s",
        )
        for dialect in DIALECTS.values()
    ]
    output.say(output.table(("NAME", "TITLE", "AUTH", "DIGESTS", "WAITS"), rows))


def _document(dialect: Dialect) -> dict[str, Any]:
    return {
        "name": dialect.name,
        "title": dialect.title,
        "auth": _auth(dialect),
        "signature": dialect.signature.header if dialect.signature else None,
        "digests": dialect.has_digests,
        "patienceSeconds": dialect.patience_seconds,
    }


def _auth(dialect: Dialect) -> list[str]:
    """The kinds of `auth` that suit the sender, as its guide has them."""
    try:
        found = _AUTH.findall(guide(dialect))
    except CommandFailed:
        found = []
    return list(dict.fromkeys([*found, "hmac"] if dialect.signature else found))
