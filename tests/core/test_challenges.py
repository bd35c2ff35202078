"""What registries send in `WWW-Authenticate`, by the RFC and beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.core import challenges
from listener.core.challenges import Challenge

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(
            [HUB],
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
            id="Docker Hub, a comma inside the quotes",
        ),
        pytest.param(['Basic realm="x"'], [Challenge("basic", {"realm": "x"})], id="Basic"),
        pytest.param(["Basic"], [Challenge("basic")], id="a scheme alone"),
        pytest.param(["BASIC REALM=x"], [Challenge("basic", {"realm": "x"})], id="case does not matter"),
        pytest.param(
            ['Basic realm="a", Bearer realm="b",service="c"'],
            [Challenge("basic", {"realm": "a"}), Challenge("bearer", {"realm": "b", "service": "c"})],
            id="two challenges in a line",
        ),
        pytest.param(
            ['Bearer realm="b"', 'Basic realm="a"'],
            [Challenge("bearer", {"realm": "b"}), Challenge("basic", {"realm": "a"})],
            id="two lines",
        ),
        pytest.param(
            ['Bearer realm="b"', 'service="c"'],
            [Challenge("bearer", {"realm": "b", "service": "c"})],
            id="a challenge split over two lines",
        ),
        pytest.param(
            ["Negotiate YIIJvwYGKwYBBQ==, Basic realm=x"],
            [Challenge("negotiate"), Challenge("basic", {"realm": "x"})],
            id="token68 before another",
        ),
        pytest.param(
            ["Negotiate, NTLM, Basic realm=x"],
            [Challenge("negotiate"), Challenge("ntlm"), Challenge("basic", {"realm": "x"})],
            id="schemes alone before another",
        ),
        pytest.param(
            ["Bearer realm=https://auth.x:5001/token?a=1,service=s.x:5000"],
            [Challenge("bearer", {"realm": "https://auth.x:5001/token?a=1", "service": "s.x:5000"})],
            id="unquoted URL",
        ),
        pytest.param(
            [r'Bearer realm="a \"quoted\" b\\c"'],
            [Challenge("bearer", {"realm": 'a "quoted" b\\c'})],
            id="escapes in quotes",
        ),
        pytest.param(
            ['Bearer  realm = "x" ,  service = y'],
            [Challenge("bearer", {"realm": "x", "service": "y"})],
            id="blanks wherever they may be",
        ),
        pytest.param(
            ['Bearer realm="x" service="y"'],
            [Challenge("bearer", {"realm": "x", "service": "y"})],
            id="no comma between parameters",
        ),
        pytest.param(
            [',, Bearer realm="x",, ,service="y",'],
            [Challenge("bearer", {"realm": "x", "service": "y"})],
            id="empty list elements",
        ),
        pytest.param(
            ['Bearer realm="x",realm="y"'], [Challenge("bearer", {"realm": "x"})], id="given twice: the first counts"
        ),
        pytest.param(['Bearer realm="x'], [Challenge("bearer", {"realm": "x"})], id="the closing quote is missing"),
        pytest.param(['Bearer realm=""'], [Challenge("bearer", {"realm": ""})], id="empty value"),
        pytest.param(['realm="x"'], [], id="a parameter of nothing"),
        pytest.param([], [], id="no header"),
        pytest.param([""], [], id="empty header"),
        pytest.param(['"=,\x00é ;'], [], id="garbage"),
        pytest.param(
            ['é Bearer realm="x" (, Basic'],
            [Challenge("bearer", {"realm": "x"}), Challenge("basic")],
            id="garbage around what can be read",
        ),
    ],
)
def test_reads_challenges(values: list[str], expected: list[Challenge]) -> None:
    assert list(challenges.parse(values)) == expected


@given(st.lists(st.text() | st.text('Bearer=",\\ \t:/'), max_size=4))
def test_never_raises(values: list[str]) -> None:
    for challenge in challenges.parse(values):
        assert challenge.scheme == challenge.scheme.lower() != ""


@given(st.text("abc,= \\\"'xyz\t", max_size=30))
def test_reads_any_quoted_value_back(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    (first, second) = challenges.parse([f'Bearer realm="{quoted}", Basic realm=z'])
    assert first.parameters["realm"] == value
    assert second == Challenge("basic", {"realm": "z"})


def test_takes_a_long_line_in_linear_time() -> None:
    assert challenges.parse(["Bearer " + 'a="' + "\\" * 100_000, "x" * 100_000 + "=" * 100_000])
