"""A coverage-guided fuzzer over the dialects: `python -m tests.fuzz`, by hand for as long as one likes.

    inputs      a delivery as the fuzzer keeps it, and the samples it begins with
    mutations   what a stranger might make of one: of its JSON, its headers, its bytes
    properties  what must hold, whatever came
    planted     dialects that are wrong, to show that the fuzzer would find it
    engine      the fuzzer itself, atheris, which never returns: so it is a process of its own
    runs        that process, started and read

What one run reached is not kept: each begins with the samples of `tests/dialects/samples` again. What it finds
belongs there, or in the tests of its dialect.
"""
