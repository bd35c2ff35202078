"""The program `listener` with something changed in it: `python -m tests.faults.mutant serve …`.

LISTENER_SHORTER names what is shortened, LISTENER_MUTATION what is taken out (with commas): see `mutations` and
`mutations_outside`.
"""

from __future__ import annotations

import os

from listener.cli import main
from tests.faults import mutations, mutations_outside


def change() -> None:
    shorter = {**mutations.SHORTER, **mutations_outside.SHORTER}
    without = {**mutations.MUTATIONS, **mutations_outside.MUTATIONS}
    for variable, known in (("LISTENER_SHORTER", shorter), ("LISTENER_MUTATION", without)):
        for name in filter(None, os.environ.get(variable, "").split(",")):
            known[name]()


if __name__ == "__main__":
    change()
    main()
