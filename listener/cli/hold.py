"""`listener hold`: freeze a tag against pushes and imports."""

from __future__ import annotations

import click

from listener.cli import output
from listener.cli.options import Common, run, stream_options, stream_tag_argument
from listener.cli.streams import Change, Streams, connected
from listener.core import edits
from listener.core.edits import Found, Operation
from listener.core.names import TagName


@click.command("hold")
@stream_tag_argument
@stream_options
def command(common: Common, name: TagName) -> None:
    """Hold a tag where it is: what is pushed or imported from now on waits until `listener release`."""
    run(_hold(common, name))


async def _hold(common: Common, name: TagName) -> None:
    async with connected(common) as (streams, namespace):
        asked = name.within(namespace)
        change = await hold(streams, asked)
        if common.output != "table":
            output.say(output.document(output.tag_document(change.after, asked.tag), common.output))
            return
        spec_tag, head = change.after.spec_tag(asked.tag), change.after.history(asked.tag).head
        at = (spec_tag.hold if spec_tag else None) or (output.shown(head) if head else "nothing yet")
        already = " already" if change.before.is_held(asked.tag) else ""
        output.say(f"{asked} is held{already} at {at}; `listener release {asked}` lets it go")


async def hold(streams: Streams, name: TagName) -> Change:
    """Write that a tag is held where it is; one that is held already stays so. Raises CommandFailed."""

    def plan(found: Found) -> tuple[Operation, ...]:
        found.must_have(name.tag)
        if found.stream.is_held(name.tag):
            return ()
        return edits.put(found, edits.hold(found.spec_tag(name.tag), name.tag))

    return await streams.change(name.key, plan)
