"""`listener release`: let a held tag go to the newest image."""

from __future__ import annotations

import click

from listener.cli import output
from listener.cli.options import Common, run, stream_options, stream_tag_argument, waiting_option
from listener.cli.streams import Change, Streams, connected
from listener.core import edits
from listener.core.edits import Found, Operation
from listener.core.names import TagName
from listener.core.streams import Stream


@click.command("release")
@stream_tag_argument
@waiting_option
@stream_options
def command(common: Common, name: TagName, timeout_seconds: float) -> None:
    """Let a held tag move again. It goes to the newest image that waits, at once."""
    run(_release(common, name, timeout_seconds))


async def _release(common: Common, name: TagName, timeout_seconds: float) -> None:
    async with connected(common, timeout_seconds=timeout_seconds) as (streams, namespace):
        asked = name.within(namespace)
        change = await release(streams, asked)
        after = await until_released(streams, asked, change)
        if common.output != "table":
            output.say(output.document(output.tag_document(after, asked.tag), common.output))
        elif not change.before.is_held(asked.tag):
            output.say(f"{asked} is not held")
        elif timeout_seconds:
            how = output.moved(change.before.history(asked.tag), after.history(asked.tag))
            output.say(f"{asked} is released: {how}")
        else:
            output.say(f"{asked} is released")


async def release(streams: Streams, name: TagName) -> Change:
    """Write that a tag is not held any more. Raises CommandFailed."""

    def plan(found: Found) -> tuple[Operation, ...]:
        found.must_have(name.tag)
        before = found.spec_tag(name.tag)
        if before is None or not found.stream.is_held(name.tag):
            return ()
        after = edits.release(before)
        return edits.put(found, after) if after else edits.remove(found, name.tag)

    return await streams.change(name.key, plan)


async def until_released(streams: Streams, name: TagName, change: Change) -> Stream:
    """Wait until nothing waits any more. Raises CommandFailed."""
    if not streams.timeout_seconds:
        return change.after
    return await streams.until(
        name.key, lambda stream: not stream.history(name.tag).waiting, f"moved tag {name.tag} to what waits"
    )
