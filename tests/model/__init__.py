"""Random days of a cluster, and what image streams mean: the service has to end where a small model says.

| file | holds |
|---|---|
| `reference.py` | the model: tags, holds, triggers, without cluster, registry or clock; read it first |
| `world.py` | where a play takes place: the sandbox, a registry, a post office, and a service that starts and dies |
| `play.py` | each step, on the world and on the model; `replay` plays a program of them |
| `expectations.py`, `documents.py` | what has to be true at rest; objects as people write them |
| `witness.py` | every version that was ever stored, and what is wrong with it |
| `machine.py` | the steps at random, by hypothesis; it prints the program that failed |
| `test_model.py` | random programs, and those that went wrong once |
"""
