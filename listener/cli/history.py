"""`listener history`: what a tag points at, has pointed at, and what waits."""

from __future__ import annotations

import click

from listener.cli import output
from listener.cli.options import Common, run, stream_argument, stream_options
from listener.cli.streams import connected
from listener.core import edits, fanouts
from listener.core.history import Condition, TagItem
from listener.core.names import TagName
from listener.core.streams import Stream

_HEADER = ("NUMBER", "CREATED", "IMAGE")  # a pull spec ends with the digest, so that is not shown twice


@click.command("history")
@stream_argument
@stream_options
def command(common: Common, name: TagName) -> None:
    """Show where a tag points (number 0), where it pointed before, what waits while it is held, and who got it last.

    Without :TAG all tags of the stream.
    """
    run(_history(common, name))


async def _history(common: Common, name: TagName) -> None:
    async with connected(common) as (streams, namespace):
        asked = name.within(namespace)
        found = await streams.get(asked.key)
        if asked.tag:
            found.must_have(asked.tag)
        tags = [asked.tag] if asked.tag else edits.tag_names(found.stream)
        if common.output != "table":
            document = output.stream_document(found.stream, tags) | output.fan_outs_document(found.stream, tags)
            output.say(output.document(document, common.output))
            return
        texts = [_text(found.stream, tag) for tag in tags]
        output.say("\n\n".join(texts) or f"ImageStream {asked.key} has no tags yet")


def _text(stream: Stream, tag: str) -> str:
    """A heading, what is to be known of the tag, its items."""
    known, spec_tag = stream.history(tag), stream.spec_tag(tag)
    lines = [f"{stream.key.name}:{tag}"]
    if spec_tag and spec_tag.hold is not None:
        where = f" at {spec_tag.hold}" if spec_tag.hold else ""
        lines.append(f"held{where}: what arrives waits until `listener release {stream.key.name}:{tag}`")
    lines += [_condition(condition) for condition in known.conditions]
    lines += _last_fan_out(stream, tag)
    rows = [_row("* waiting", item) for item in known.waiting]
    rows += [_row(str(number), item) for number, item in enumerate(known.items)]
    lines.append(output.table(_HEADER, rows) if rows else "points at nothing yet")
    return "\n".join(lines)


def _last_fan_out(stream: Stream, tag: str) -> list[str]:
    record = fanouts.newest(stream.fan_outs, tag)
    if record is None:
        return []
    resolved = stream.resolve(tag)
    # The tag may have moved while nobody followed it.
    is_present = resolved is not None and resolved.pull_spec == record.docker_image_reference
    whose = "" if is_present else f" (to {record.docker_image_reference})"
    lines = [f"last fan-out{whose}: {fanouts.sentence(record)}"]
    lines += [f"  failed: {f.kind.lower()} {f.namespace}/{f.name}: {f.reason}" for f in record.failures]
    if record.failed > len(record.failures) > 0:
        lines.append(f"  failed: {record.failed - len(record.failures)} more")
    return lines


def _row(number: str, item: TagItem) -> tuple[str, str, str]:
    return number, item.created, item.docker_image_reference


def _condition(condition: Condition) -> str:
    why = ": ".join(part for part in (condition.reason, " ".join(condition.message.split())) if part)
    told = f"{condition.type}={condition.status} since {condition.last_transition_time}"
    return f"{told}, {why}" if why else told
