"""`listener rollback`: back to an earlier image, and hold the tag there."""

from __future__ import annotations

import click

from listener.cli import output
from listener.cli.options import Common, run, stream_options, stream_tag_argument, waiting_option
from listener.cli.streams import Change, Streams, connected
from listener.core import edits
from listener.core.edits import Found, Operation
from listener.core.names import TagName
from listener.core.streams import Stream


@click.command("rollback")
@stream_tag_argument
@click.option(
    "--to",
    metavar="N|DIGEST",
    help="An item of `listener history`, by its number or the beginning of its digest. Default: the image before the"
    " one that the tag points at; of a tag that was rolled back, the image before that.",
)
@waiting_option
@stream_options
def command(common: Common, name: TagName, to: str | None, timeout_seconds: float) -> None:
    """Move a tag back to an earlier image of its history, and hold it there.

    What is pushed or imported meanwhile waits; `listener release` lets the tag go to it.
    """
    run(_rollback(common, name, to, timeout_seconds))


async def _rollback(common: Common, name: TagName, to: str | None, timeout_seconds: float) -> None:
    async with connected(common, timeout_seconds=timeout_seconds) as (streams, namespace):
        asked = name.within(namespace)
        change = await hold_at(streams, asked, to)
        after = await until_there(streams, asked, change)
        if common.output != "table":
            output.say(output.document(output.tag_document(after, asked.tag), common.output))
            return
        release = f"held there until `listener release {asked}`"
        if timeout_seconds:
            output.say(f"{asked} {output.moved(change.before.history(asked.tag), after.history(asked.tag))}; {release}")
        else:
            output.say(f"{asked} shall move to {_held_at(change.after, asked.tag)}; {release}")


async def hold_at(streams: Streams, name: TagName, to: str | None = None) -> Change:
    """Write that a tag is held at the item `to` of its history, the previous one if it is None.

    Raises CommandFailed, EditRefused.
    """

    def plan(found: Found) -> tuple[Operation, ...]:
        found.must_have(name.tag)
        known = found.stream.history(name.tag)
        item = edits.previous(known, name.key) if to is None else edits.choose(known, to, name.key)
        at = edits.held_at(known, item)
        return edits.put(found, edits.hold(found.spec_tag(name.tag), name.tag, at))

    return await streams.change(name.key, plan)


async def until_there(streams: Streams, name: TagName, change: Change) -> Stream:
    """Wait until the service has moved the tag to where it is held. Raises CommandFailed."""
    if not streams.timeout_seconds:
        return change.after
    at = _held_at(change.after, name.tag)
    return await streams.until(
        name.key, lambda stream: edits.is_held_at(stream.history(name.tag), at), f"moved tag {name.tag} to {at}"
    )


def _held_at(stream: Stream, tag: str) -> str:
    spec_tag = stream.spec_tag(tag)
    return (spec_tag.hold if spec_tag else None) or ""
