"""The harness tells when a fault does not bite, and when it bites something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.world import BrokenPromise, World, tried

ANYTHING = {"anything": "it holds"}


async def test_a_promise_that_is_kept_by_the_mutant_too_shows_that_nothing_bites(tmp_path: Path) -> None:
    async def kept(world: World) -> None:
        world.promise(True, "it holds")

    with pytest.raises(AssertionError, match="does not bite"):
        await tried(kept, without=ANYTHING, folder=tmp_path)


async def test_another_promise_than_the_one_that_was_to_break_is_told(tmp_path: Path) -> None:
    async def broken(world: World) -> None:
        world.promise(not world.program.without, "something else")

    with pytest.raises(AssertionError, match="breaks another promise"):
        await tried(broken, without=ANYTHING, folder=tmp_path)


async def test_the_true_program_has_to_keep_its_promise(tmp_path: Path) -> None:
    async def broken(world: World) -> None:
        world.promise(False, "it holds")

    with pytest.raises(BrokenPromise, match="it holds"):
        await tried(broken, without=ANYTHING, folder=tmp_path)


async def test_what_only_the_mutant_breaks_bites(tmp_path: Path) -> None:
    async def broken(world: World) -> None:
        world.promise(not world.program.without, "it holds")

    await tried(broken, without=ANYTHING, folder=tmp_path)


async def test_a_mutant_is_hurried_only_to_what_it_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another promise it may keep late: the machine has two services to run."""
    monkeypatch.setattr("tests.faults.world._LONGER_SECONDS", 0.1)

    async def broken(world: World) -> None:
        if world.program.without:
            await world.truth.wait()
        looks = iter(range(20))  # some 0.4 s

        async def late() -> bool:
            return not world.program.without or next(looks, None) is None

        async def never() -> bool:
            return not world.program.without

        await world.until(late, "something else")
        await world.until(never, "it holds")

    await tried(broken, without=ANYTHING, folder=tmp_path)
