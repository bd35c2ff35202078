"""The fuzzer: `python -m tests.fuzz.engine OPTIONS`, which `runs` starts. It ends with the first finding.

Whatever of `listener` is to be followed must be imported here first, and by nobody before.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["listener"]):
    from listener.dialects import DIALECTS, Dialect
from tests.fuzz import inputs, properties
from tests.fuzz.mutations import Mutator
from tests.fuzz.planted import PLANTED

_LARGEST_FILE = 16 * 1024
_MEBIBYTES = 512


def _watched(name: str) -> Dialect:
    """The dialect of this name, or the one that is wrong."""
    if name != PLANTED.name:
        return DIALECTS[name]
    return dataclasses.replace(PLANTED, parse=atheris.instrument_func(PLANTED.parse))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True, help="where the corpus is, and where a finding goes")
    parser.add_argument("--dialect")
    parser.add_argument("--again", type=Path)
    options, others = parser.parse_known_args()

    only = _watched(options.dialect) if options.dialect else None
    mutator = Mutator(list(inputs.seeds()), lambda body, _: bytes(atheris.Mutate(body, _LARGEST_FILE)))

    def one_input(file: bytes) -> None:
        case = inputs.read(file)
        dialect = only or DIALECTS.get(case.dialect) or DIALECTS["generic"]
        try:
            # Of the planted dialect nothing but its own branches leads on: there are some seconds to find it in.
            properties.hold(dialect, case.delivery(), detects=dialect.name != PLANTED.name)
        except BaseException:
            sys.stderr.write(f"{dialect.name} read {case._replace(dialect=dialect.name)!r}\n")
            raise

    def mutated(file: bytes, most: int, seed: int) -> bytes:
        found = mutator.mutated(inputs.read(file), Random(seed)).written()  # noqa: S311 - no secret
        return found if len(found) <= most else file

    what = [str(options.again)] if options.again else [str(options.folder / "corpus")]
    # A smaller input of the same branches lacks the members that lead on, so it is no better one: `reduce_inputs`.
    fixed = [
        "-reduce_inputs=0",
        f"-artifact_prefix={options.folder}/",
        f"-max_len={_LARGEST_FILE}",
        f"-rss_limit_mb={_MEBIBYTES}",
    ]
    atheris.Setup(
        [sys.argv[0], "-len_control=0", "-print_final_stats=1", *fixed, *others, *what],
        one_input,
        custom_mutator=mutated,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
