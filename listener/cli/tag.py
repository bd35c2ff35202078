"""`listener tag`: promote an image by giving a tag another source, or take a tag away."""

from __future__ import annotations

import click

from listener.cli import output
from listener.cli.options import Common, policy_options, run, stream_options, stream_tag, waiting_option
from listener.cli.streams import Change, Streams, connected
from listener.core import edits
from listener.core.edits import Document, EditRefused, Found, Operation, Policies
from listener.core.names import InvalidName, Kind, TagName, TagSource, parse_source
from listener.core.streams import Stream

_KINDS = {
    "docker": Kind.DOCKER_IMAGE,
    "istag": Kind.IMAGE_STREAM_TAG,
    "imagestreamtag": Kind.IMAGE_STREAM_TAG,
    "isimage": Kind.IMAGE_STREAM_IMAGE,
    "imagestreamimage": Kind.IMAGE_STREAM_IMAGE,
}


@click.command("tag")
@click.argument("names", nargs=-1, required=True, metavar="SRC DST...")
@click.option("--alias", is_flag=True, help="Follow the tag SRC from now on, instead of taking what it points at now.")
@click.option("--reference", is_flag=True, help="Record SRC as it is written, without importing it.")
@click.option(
    "--source",
    "kind",
    type=click.Choice(list(_KINDS), case_sensitive=False),
    metavar="[docker|istag|isimage]",
    help="What SRC is. Default: by its looks.",
)
@click.option("-d", "--delete", is_flag=True, help="Take the tags DST away, with their history. There is no SRC then.")
@policy_options
@waiting_option
@stream_options
def command(
    common: Common,
    names: tuple[str, ...],
    alias: bool,
    reference: bool,
    kind: str | None,
    delete: bool,
    policies: Policies,
    timeout_seconds: float,
) -> None:
    """Make the tags DST point at SRC.

    SRC is a tag of a stream (STREAM:TAG), an image of its history (STREAM@DIGEST) or an image of a registry. DST is
    [NAMESPACE/]STREAM:TAG; a stream that does not exist is made. A tag is pinned to the image that SRC points at now,
    unless --alias is given. Whatever is not said stays as it is: annotations, policies, a schedule, a hold.
    """
    if delete:
        if alias or reference or kind or policies != Policies():
            raise click.UsageError("--delete goes with no other option that says how a tag is made; leave them out")
        run(_delete_all(common, [stream_tag(name, any_tag=True) for name in names]))
        return
    if len(names) < 2:
        raise click.UsageError("expected SRC and at least one DST, such as: listener tag web:latest web:prod")
    try:
        source = parse_source(names[0], _KINDS[kind.lower()] if kind else None)
    except InvalidName as error:
        raise click.UsageError(f"SRC: {error}") from error
    _check(source, alias=alias, policies=policies)
    destinations = [stream_tag(name) for name in names[1:]]
    run(_tag_all(common, source, destinations, timeout_seconds, alias=alias, reference=reference, policies=policies))


def _check(source: TagSource, *, alias: bool, policies: Policies) -> None:
    """What goes together, as `oc tag` has it."""
    if alias and source.kind is not Kind.IMAGE_STREAM_TAG:
        raise click.UsageError(f"--alias follows a tag of a stream, and {source} is none; write STREAM:TAG")
    if source.kind is Kind.DOCKER_IMAGE:
        return
    for option, value in (("--scheduled", policies.scheduled), ("--insecure", policies.insecure)):
        if value:
            raise click.UsageError(
                f"{option} is for images of a registry, and {source} is an image of a stream; with --source docker it"
                " would be one"
            )


async def _tag_all(
    common: Common,
    source: TagSource,
    destinations: list[TagName],
    timeout_seconds: float,
    *,
    alias: bool,
    reference: bool,
    policies: Policies,
) -> None:
    async with connected(common, timeout_seconds=timeout_seconds) as (streams, namespace):
        wanted = source.within(namespace)
        names = [name.within(namespace) for name in destinations]
        if not alias:
            wanted = await pin(streams, wanted)
        # All are written before one is waited for: a service that is late takes nothing from the others.
        changes = [await point(streams, wanted, name, reference=reference, policies=policies) for name in names]
        for name, change in zip(names, changes, strict=True):
            if change.after.is_held(name.tag):
                output.note(f"{name} is held: the new image waits until `listener release {name}`")
            after = await streams.until_done(name, change)
            if common.output != "table":
                output.say(output.document(output.tag_document(after, name.tag), common.output))
                continue
            how = output.moved_or_waits(change.before.history(name.tag), after.history(name.tag))
            output.say(f"{name} {how if timeout_seconds else 'is written'} ({'follows' if alias else 'from'} {source})")


async def pin(streams: Streams, source: TagSource) -> TagSource:
    """Return what a tag points at now; any other source as it is. Raises CommandFailed, EditRefused."""
    if source.kind is not Kind.IMAGE_STREAM_TAG:
        return source
    return edits.pinned(source, (await streams.get(source.key)).stream)


async def point(
    streams: Streams, source: TagSource, name: TagName, *, reference: bool = False, policies: Policies | None = None
) -> Change:
    """Write that a tag comes from `source`, merged with what its spec says already. Raises CommandFailed."""
    if source.kind is Kind.IMAGE_STREAM_TAG and (source.key, source.name) == (name.key, name.tag):
        raise EditRefused(f"{name.full} cannot follow itself; name another tag as SRC")
    said = policies or Policies()

    def merged(found: Found | None) -> Document:
        before = found.spec_tag(name.tag) if found else None
        return edits.point(before, name.tag, source, namespace=name.namespace, reference=reference, policies=said)

    def plan(found: Found) -> tuple[Operation, ...]:
        return edits.put(found, merged(found))

    return await streams.change(name.key, plan, spec_if_missing={"tags": [merged(None)]})


async def _delete_all(common: Common, names: list[TagName]) -> None:
    async with connected(common) as (streams, namespace):
        for name in (each.within(namespace) for each in names):
            before = await delete(streams, name)
            if common.output == "table":
                output.say(f"{name} is deleted")
            else:
                output.say(output.document(output.tag_document(before, name.tag), common.output))


async def delete(streams: Streams, name: TagName) -> Stream:
    """Take a tag out of spec and status; return the stream before. Raises CommandFailed, also if there is none."""

    def check(found: Found) -> tuple[Operation, ...]:
        found.must_have(name.tag)
        return edits.remove(found, name.tag)

    def forget(found: Found) -> tuple[Operation, ...]:
        return edits.forget(found, name.tag)

    # The spec first: the service would bring back what it still asks for.
    before = (await streams.change(name.key, check)).before
    await streams.change(name.key, forget, subresource="status")
    return before
