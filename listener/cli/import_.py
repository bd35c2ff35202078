"""`listener import`: ask the service to import now what a tag, or a whole stream, names in a registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import click

from listener.cli import output
from listener.cli.options import Common, policy_options, run, stream_argument, stream_options, waiting_option
from listener.cli.streams import Change, CommandFailed, Plan, StreamMissing, Streams, connected, is_done
from listener.core import edits
from listener.core.edits import Document, EditRefused, Found, Operation, Policies
from listener.core.history import Condition
from listener.core.names import InvalidName, Kind, TagName, TagSource, parse_source
from listener.core.streams import DEFAULT_TAG, INSECURE_REPOSITORY, Stream


@click.command("import")
@stream_argument
@click.option("--from", "from_", metavar="IMAGE", help="Where a tag (or with --all a stream) comes from that is new.")
@click.option("--confirm", is_flag=True, help="Make the stream if it is missing; with --all take another repository.")
@click.option("--all", "all_", is_flag=True, help="Import the stream's whole repository, else all its tags.")
@policy_options
@waiting_option
@stream_options
def command(
    common: Common,
    name: TagName,
    from_: str | None,
    confirm: bool,
    all_: bool,
    policies: Policies,
    timeout_seconds: float,
) -> None:
    """Import a tag (latest, if none is named) from its registry now, and show where it points then.

    A tag that follows another one of its stream stands for that one. How a tag is imported changes only where an option
    says so.
    """
    if all_ and name.tag:
        raise click.UsageError(f"--all imports every tag; write {name.stream} without a tag")
    source = _source(from_, whole=all_)
    if all_:
        run(_import_all(common, name, source, policies, timeout_seconds, confirm=confirm))
    else:
        run(_import_one(common, name, source, policies, timeout_seconds, confirm=confirm))


def _source(text: str | None, *, whole: bool) -> TagSource | None:
    if text is None:
        return None
    try:
        source = parse_source(text, Kind.DOCKER_IMAGE)
    except InvalidName as error:
        raise click.UsageError(f"--from: {error}") from error
    if whole and (":" in text.rpartition("/")[2] or "@" in text):
        raise click.UsageError(f"--from: with --all expected a repository without tag and digest, not {text}")
    return source


async def _import_one(
    common: Common,
    name: TagName,
    source: TagSource | None,
    policies: Policies,
    timeout_seconds: float,
    *,
    confirm: bool,
) -> None:
    async with connected(common, timeout_seconds=timeout_seconds) as (streams, namespace):
        asked = name.within(namespace)._replace(tag=name.tag or DEFAULT_TAG)
        change = await ask(streams, asked, source, policies, confirm=confirm)
        target = edits.import_target(change.after, asked.tag)
        done = asked._replace(tag=target.name) if target else asked
        if change.after.is_held(done.tag):
            output.note(f"{done} is held: what is imported waits until `listener release {done}`")
        after = await streams.until_done(done, change)
        if common.output != "table":
            output.say(output.document(output.tag_document(after, done.tag), common.output))
        elif timeout_seconds:
            output.say(f"{done} {output.moved_or_waits(change.before.history(done.tag), after.history(done.tag))}")
        else:
            output.say(f"{done} shall be imported")


async def ask(
    streams: Streams, name: TagName, source: TagSource | None, policies: Policies, *, confirm: bool = False
) -> Change:
    """Write that a tag, or what it follows, is to be imported now. Raises CommandFailed, EditRefused."""

    def plan(found: Found) -> tuple[Operation, ...]:
        target = edits.import_target(found.stream, name.tag)
        if target is None:
            new = _new(name, source or _whole(found.stream, name.tag), policies)
            return edits.put(found, new)
        if source and source.name != target.from_name:
            raise EditRefused(
                f"tag {target.name} of ImageStream {name.key} points to {target.from_name}, not to {source.name}; to"
                f" change that use `listener tag {source.name} {name.stream}:{target.name}`"
            )
        before = found.spec_tag(target.name)
        assert before is not None  # noqa: S101 - the target was found in this very document
        return edits.put(found, edits.ask_again(before, policies))

    spec = {"tags": [_new(name, source, policies)]} if confirm and source else None
    return await _change(streams, name, plan, spec)


def _new(name: TagName, source: TagSource | None, policies: Policies) -> Document:
    if source is None:
        raise EditRefused(
            f"ImageStream {name.key} does not say where tag {name.tag} comes from; say it with --from IMAGE, or import"
            f" another tag (`listener history {name.stream}` shows them)"
        )
    return edits.point(None, name.tag, source, namespace=name.namespace, reference=False, policies=policies)


def _whole(stream: Stream, tag: str) -> TagSource | None:
    """As with `oc`, only latest is taken for granted in a stream that takes a whole repository."""
    if tag != DEFAULT_TAG or not stream.whole_repository():
        return None
    return TagSource(Kind.DOCKER_IMAGE, f"{stream.repository}:{tag}")


async def _import_all(
    common: Common,
    name: TagName,
    source: TagSource | None,
    policies: Policies,
    timeout_seconds: float,
    *,
    confirm: bool,
) -> None:
    async with connected(common, timeout_seconds=timeout_seconds) as (streams, namespace):
        asked = name.within(namespace)
        before = None
        if source is not None:
            _check_policies(asked, policies)
            before = (await _take_repository(streams, asked, source, confirm=confirm)).before
        change = await ask_all(streams, asked, policies)
        after = change.after
        if timeout_seconds:
            after = await streams.until(asked.key, _all_done(asked, change), "imported all of it")
        _show_all(common, before or change.before, after, is_done=bool(timeout_seconds))


async def _take_repository(streams: Streams, name: TagName, source: TagSource, *, confirm: bool) -> Change:
    """Write that the stream takes the whole of a repository. Raises CommandFailed, EditRefused."""

    def plan(found: Found) -> tuple[Operation, ...]:
        known = found.stream.repository
        if known and known != source.name and not confirm:
            raise EditRefused(
                f"ImageStream {name.key} takes the repository {known}, not {source.name}; with --confirm it will"
            )
        return edits.take_repository(found, source.name)

    return await _change(streams, name, plan, {"dockerImageRepository": source.name} if confirm else None)


def _check_policies(name: TagName, policies: Policies) -> None:
    if policies != Policies():
        raise EditRefused(
            f"ImageStream {name.key} takes a whole repository, which has no policies of its own: give them to a tag"
            f" with `listener import {name.stream}:TAG`, or allow plain HTTP with the annotation {INSECURE_REPOSITORY}"
        )


async def ask_all(streams: Streams, name: TagName, policies: Policies) -> Change:
    """Write that the stream's repository and all its tags are to be imported now. Raises CommandFailed, EditRefused."""

    def plan(found: Found) -> tuple[Operation, ...]:
        if found.stream.repository:
            _check_policies(name, policies)
        return edits.ask_all(found, policies)

    return await _change(streams, name, plan, None)


def _all_done(name: TagName, change: Change) -> Callable[[Stream], bool]:
    done = [is_done(name._replace(tag=tag), change) for tag in edits.importable(change.after)]

    def happened(stream: Stream) -> bool:
        if stream.repository and not edits.is_repository_done(stream, asked=change.after.generation):
            return False
        return all(is_done(stream) for is_done in done)

    return happened


def _show_all(common: Common, before: Stream, after: Stream, *, is_done: bool) -> None:
    tags = list(edits.importable(after))
    if after.repository:
        # What could not be imported of it has no spec tag.
        tags = sorted({*tags, *(known.tag for known in after.tags if after.spec_tag(known.tag) is None)})
    if common.output != "table":
        output.say(output.document(output.stream_document(after, tags), common.output))
    elif tags:
        rows = [(tag, *_row(before, after, tag, is_done=is_done)) for tag in tags]
        output.say(output.table(("TAG", "IMAGE", "RESULT"), rows))
    if is_done and (failures := list(_failures(after, tags))):
        raise CommandFailed(f"ImageStream {after.key}: {'; '.join(failures)}")


def _failures(stream: Stream, tags: Iterable[str]) -> Iterator[str]:
    whole = edits.repository_condition(stream) if stream.repository else None
    if whole and whole.status == "False":
        yield f"{stream.repository}: {_why(whole)}"
    for tag in tags:
        if why := edits.complaint(stream, tag):
            yield f"{tag}: {_why(why)}"


def _row(before: Stream, after: Stream, tag: str, *, is_done: bool) -> tuple[str, str]:
    newest, known = after.history(tag).newest, before.history(tag).newest
    image = output.shown(newest) if newest else "<none>"
    if not is_done:
        return image, "asked for"
    if edits.complaint(after, tag):
        return image, "failed"
    is_same = newest is not None and known is not None and output.shown(newest) == output.shown(known)
    return image, "unchanged" if is_same else "waits, held" if after.is_held(tag) else "moved"


def _why(condition: Condition) -> str:
    return f"{condition.reason}: {' '.join(condition.message.split())}"


async def _change(streams: Streams, name: TagName, plan: Plan, spec_if_missing: Document | None) -> Change:
    try:
        return await streams.change(name.key, plan, spec_if_missing=spec_if_missing)
    except StreamMissing as error:
        raise CommandFailed(
            f"there is no ImageStream {name.stream} in namespace {name.namespace}; to make it, say --confirm and where"
            " it comes from with --from IMAGE"
        ) from error
