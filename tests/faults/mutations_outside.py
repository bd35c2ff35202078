"""What can be taken out of the service where it faces registries, secrets and certificates: see `mutations`."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp

from listener.core import authentication, manifests
from listener.edges import kubernetes, secrets
from listener.edges.cluster import Cluster
from listener.edges.registry import client, door, transport
from listener.edges.registry.certificates import CaFile, Certificates
from listener.edges.registry.failures import End, Failure
from listener.edges.registry.transport import Answer
from listener.edges.secrets import Secret
from listener.flow import inquiry, intake
from listener.flow.importer import Importer
from listener.flow.inquiry import PullSecrets
from listener.flow.lasting import Lasting
from listener.flow.questions import Questions
from listener.flow.watcher import Watcher
from tests.faults.mutations import replace

# The line to a registry


def no_answer_is_a_no() -> None:
    """A registry whose answer broke off has refused."""

    def make(translated: Any) -> Any:
        def found(error: Any) -> tuple[Failure, OSError | None]:
            failure, cause = translated(error)
            is_no_answer = failure.end is End.UNAVAILABLE
            return dataclasses.replace(failure, end=End.UNUSABLE) if is_no_answer else failure, cause

        return found

    replace(transport, "_translated", make)


def hooks_wait_for_registries() -> None:
    """A delivery is answered when its registry has answered, and not before."""
    replace(Questions, "_in_time", lambda _: lambda _self, _source, asking: asking)


def answers_come_too_late() -> None:
    """What a registry says after its delivery was answered is not kept for the next one."""
    replace(Lasting, "ask", lambda _: lambda _self, _question, answer: answer())


def one_lane_for_all() -> None:
    """Imports from all registries wait for each other."""
    replace(Importer, "_place", lambda place: lambda self, job: ("", place(self, job)[1]))


def half_is_whole() -> None:
    """What came before an answer broke off is the answer."""

    async def body(response: aiohttp.ClientResponse, _limit: int) -> bytes:
        found = bytearray()
        with contextlib.suppress(aiohttp.ClientPayloadError):
            async for chunk in response.content.iter_any():
                found += chunk
        return bytes(found)

    replace(transport, "_body", lambda _: body)


def a_trickle_is_patience() -> None:
    """An answer may take as long as it likes, if only something comes now and then."""
    replace(transport, "_TIMEOUT", lambda known: aiohttp.ClientTimeout(sock_read=known.total, sock_connect=10))


# What a registry answers


def any_digest_will_do() -> None:
    """A registry that is asked for one digest may answer with another."""

    def make(described: Any) -> Any:
        return lambda answer, target: described(answer, dataclasses.replace(target, digest=None))

    replace(client, "_described", make)


def bodies_are_believed() -> None:
    """A manifest has the digest that it is said to have."""
    replace(client, "_digest_of", lambda _: lambda *_: mock.ANY)


def everything_is_a_manifest() -> None:
    """Whatever is sent for a manifest is one."""
    replace(manifests, "media_type_of", lambda _: lambda _body: manifests.OCI_MANIFEST)


def bodies_have_no_end() -> None:
    """A body may be as long as it likes."""
    replace(transport, "_body", lambda read: lambda response, _limit: read(response, 2**40))


def errors_are_answers() -> None:
    """A registry that says 500 has answered."""
    replace(Answer, "says_later", lambda _: property(lambda _self: False))


def logins_have_no_end() -> None:
    """Whenever a registry asks for another login, it gets one."""
    replace(door, "_MOST_TRIES", lambda _: 1_000_000)


def redirects_have_no_end() -> None:
    """A redirect is followed wherever it leads, and how often."""
    replace(door, "_MOST_REDIRECTS", lambda _: 1_000_000)


# Tokens and certificates


def tokens_are_read_once() -> None:
    """The token of the start is the token."""
    replace(kubernetes, "load_incluster_config", lambda load: partial(load, try_refresh_token=False))


def every_broken_token_is_our_bug() -> None:
    """A token that cannot be read is an error of ours, and not of the world."""
    replace(kubernetes, "ConfigException", lambda _: ())


def any_server_is_the_api_server() -> None:
    """Its certificate may be anybody's."""

    def make(load: Any) -> Any:
        def found(client_configuration: Any) -> None:
            load(client_configuration=client_configuration)
            client_configuration.verify_ssl = False

        return found

    replace(kubernetes, "load_incluster_config", make)


def broken_watches_are_left() -> None:
    """A watch that broke off is not begun again."""

    async def pause(_self: object, _error: object) -> None:
        await asyncio.Event().wait()

    replace(Watcher, "_pause", lambda _: pause)


def ca_files_are_read_once() -> None:
    """The CA of the start is the CA."""
    replace(CaFile, "context", lambda _: lambda self: self._context)


def any_server_is_the_registry() -> None:
    """Its certificate may be anybody's."""
    replace(Certificates, "believed", lambda _: lambda _self, _host: False)


# Secrets


def secrets_go_with_their_file() -> None:
    """A hook has no secret while its file is empty or not there."""

    def make(_: Any) -> Any:
        def values(self: Secret) -> tuple[bytes, ...]:
            file = self._file
            return secrets._lines(file.read_bytes()) if file and file.exists() else ()

        return values

    replace(Secret, "values", make)


def an_empty_secret_is_one() -> None:
    """An empty file holds a secret like any other. Two places protect from that."""

    def make(_: Any) -> Any:
        def admits(scheme: Any, known: Sequence[bytes], delivery: Any) -> bool:
            sent = authentication._sent(scheme, delivery)
            return any(sent == authentication._expected(scheme, secret, delivery) for secret in known)

        return admits

    replace(secrets, "_lines", lambda _: lambda text: tuple(text.splitlines()) or (b"",))
    replace(authentication, "admits", make)


def pull_secrets_are_read_once() -> None:
    """What a namespace's pull secrets once were they are for ever."""
    replace(inquiry, "_REMEMBERED_SECONDS", lambda _: float("inf"))
    replace(PullSecrets, "forget", lambda _: lambda _self, _namespace: None)


MUTATIONS: Mapping[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        a_trickle_is_patience,
        an_empty_secret_is_one,
        answers_come_too_late,
        any_digest_will_do,
        any_server_is_the_api_server,
        any_server_is_the_registry,
        bodies_are_believed,
        bodies_have_no_end,
        broken_watches_are_left,
        ca_files_are_read_once,
        errors_are_answers,
        every_broken_token_is_our_bug,
        everything_is_a_manifest,
        half_is_whole,
        hooks_wait_for_registries,
        logins_have_no_end,
        no_answer_is_a_no,
        one_lane_for_all,
        pull_secrets_are_read_once,
        redirects_have_no_end,
        secrets_go_with_their_file,
        tokens_are_read_once,
    )
}


# What takes long, and what is elsewhere


def short_questions() -> None:
    """A delivery of a sender that waits 2 s has 0.4 s instead of 1.2 for all that it asks."""
    replace(intake, "_ASK_SHARE", lambda _: 0.2)


def short_answers() -> None:
    """A registry has 1 s instead of 30 for an answer."""
    replace(transport, "_TOTAL_SECONDS", lambda _: 1)
    replace(transport, "_TIMEOUT", lambda _: aiohttp.ClientTimeout(total=1, sock_connect=1))


def short_memory_of_pull_secrets() -> None:
    """Pull secrets are read again after 0.2 s instead of 60."""
    replace(inquiry, "_REMEMBERED_SECONDS", lambda _: 0.2)


def in_a_pod() -> None:
    """As in a Pod whose files are in the folder LISTENER_POD; its token is read again after 0.2 s instead of 60."""
    from kubernetes_asyncio.config import incluster_config  # noqa: PLC0415 - by itself it imports all of its library

    files = Path(os.environ["LISTENER_POD"])

    def make(load: Any) -> Any:
        return partial(load, token_filename=str(files / "token"), cert_filename=str(files / "ca.crt"))

    def connecting(connect: Any) -> Any:
        return lambda **options: connect(**{**options, "kubeconfig": None, "context": None})

    replace(incluster_config, "TOKEN_REFRESH_PERIOD", lambda _: datetime.timedelta(seconds=0.2))
    replace(kubernetes, "load_incluster_config", make)
    replace(Cluster, "connect", connecting)


SHORTER: Mapping[str, Callable[[], None]] = {
    each.__name__: each for each in (in_a_pod, short_answers, short_memory_of_pull_secrets, short_questions)
}
