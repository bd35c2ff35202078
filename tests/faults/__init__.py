"""Faults, each shown to bite: what the service promises holds, and does not where the code that protects it is out.

| file | holds |
|---|---|
| `line.py` | a TCP line with faults: latency, reset, half a line, black hole, throttling |
| `mutations.py` | what can be taken out of the service, by name; and which of its long waits can be shortened |
| `mutations_outside.py` | the same of where it faces registries, secrets and certificates |
| `mutant.py` | `python -m tests.faults.mutant serve …`: the service without that |
| `world.py` | where a scenario plays: a cluster, a line to it, the service, and what is seen of the workloads |
| `test_*.py` | the scenarios |

To add a fault:

1. Write the scenario, a coroutine function of a `World`. Set up with `eventually` and plain asserts, strike, and then
   ask for what is promised by `world.until(…)` (it comes to be) and `world.promise(…)` (it is so). Only these two break
   a promise; whatever else goes wrong is a defect of the test. Faults of the API server are `world.faults`, those of
   the line to it `world.line`; another line, say to a registry, is a `Line` of the scenario's own. Nothing here may
   sleep and hope: wait for what shows that the fault has struck.
2. Find the code that protects, and write the mutation that takes it out: a function in `mutations.py` whose docstring
   says what is missing then. It replaces one thing. If the fault does not bite whatever is taken out, the fault is
   too weak or the code is needless.
3. Write the test: `await tried(scenario, without={"the_mutation": "what breaks"}, folder=tmp_path)`. It runs the
   scenario on the true program and on each mutant at once, each in its own world. The first has to keep its promises
   within `PATIENCE_SECONDS`; the others are given a while longer than the first took, and have to break one, in words
   in which the pattern is found.

Waits of the service that are too long for a test are shortened for both, by `shorter=("…",)`; the test says so.
"""
