"""Random programs of what happens to streams and workloads, against a small model; and those that once found a bug.

    LISTENER_MODEL_STEPS=20000 pytest -n 0 -s tests/model

plays as many steps as one likes, LISTENER_MODEL_SEED the same ones again (as far as real connections let them be the
same). A failure ends with its program; put that into `PROGRAMS` here, once it is as short as can be.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from structlog.testing import capture_logs

from tests.model.machine import Machine, Stage
from tests.model.play import Step, replay

pytestmark = pytest.mark.sandbox_only(reason="a real cluster cannot be told to fail")

_STEPS_OF_A_PLAY = 25

PROGRAMS: Mapping[str, Sequence[Step]] = {
    "a promotion is not undone by the look after a push, nor by the push's hook when it comes again": [
        ("push", {"tag": 0, "back": 0, "tell": True}),
        ("push", {"tag": 1, "back": 0, "tell": True}),
        ("point", {"tag": 0, "source": 5}),
        ("breathe", {"ms": 30}),
        ("repeat", {"n": 1}),
    ],
    "what waited at a released tag goes before a push that comes with the release": [
        ("push", {"tag": 0, "back": 0, "tell": True}),
        ("hold", {"tag": 0}),
        ("push", {"tag": 0, "back": 0, "tell": True}),
        ("push", {"tag": 0, "back": 0, "tell": False}),
        ("fault", {"kind": "cut", "resource": "imagestreams", "count": 1}),
        ("release", {"tag": 0}),
        ("deliver", {"n": 0}),
    ],
    "a tag ends where its registry is, though the hook of the last push is lost": [
        ("push", {"tag": 0, "back": 0, "tell": False}),
        ("push", {"tag": 0, "back": 0, "tell": False}),
        ("deliver", {"n": 0}),
        ("lose", {"n": 0}),
    ],
    "what is known of the stream that a tag follows outlives a restart": [
        ("point", {"tag": 2, "source": 4}),
        ("push", {"tag": 2, "back": 0, "tell": False}),
        ("push", {"tag": 2, "back": 0, "tell": False}),
        ("point", {"tag": 3, "source": 2}),
        ("create", {"who": 2, "tag": 4}),
    ],
}


@pytest.fixture(autouse=True)
def no_bug_is_logged() -> Iterator[None]:
    with capture_logs() as logged:
        yield
    assert [each for each in logged if each["event"].endswith(".bug")] == []


async def test_what_once_went_wrong_goes_well(tmp_path: Path) -> None:
    """All at once, for they mostly wait."""

    async def play(number: int, what: str, program: Sequence[Step]) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            await replay(folder, program)
        except AssertionError as error:
            error.add_note(what)
            raise

    ends = await asyncio.gather(*(play(n, *each) for n, each in enumerate(PROGRAMS.items())), return_exceptions=True)
    if failures := [end for end in ends if isinstance(end, Exception)]:
        raise ExceptionGroup("these go wrong again", failures)


def test_whatever_happens_the_cluster_ends_as_the_model_says() -> None:
    steps = int(os.environ.get("LISTENER_MODEL_STEPS", "400"))
    seed(int(os.environ.get("LISTENER_MODEL_SEED", "8")))(Machine)
    Machine.stage = Stage()
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=max(1, steps // _STEPS_OF_A_PLAY),
                stateful_step_count=_STEPS_OF_A_PLAY,
                deadline=None,
                database=None,
                phases=(Phase.generate,),  # a play takes a second: what failed is told as a program instead
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        Machine.stage.close()
    assert Machine.stage.steps >= steps // 2  # a play may end early, but not most of them
