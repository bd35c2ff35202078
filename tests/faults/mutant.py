"""The program `listener` with something changed in it: `python -m tests.faults.mutant serve …`.

LISTENER_SHORTER names what is shortened, LISTENER_MUTATION what is taken out (with commas): see `mutations`.
"""

from __future__ import annotations

import os

from listener.cli import main
from tests.faults.mutations import MUTATIONS, SHORTER


def change() -> None:
    for variable, known in (("LISTENER_SHORTER", SHORTER), ("LISTENER_MUTATION", MUTATIONS)):
        for name in filter(None, os.environ.get(variable, "").split(",")):
            known[name]()


if __name__ == "__main__":
    change()
    main()
