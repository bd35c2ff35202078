"""`listener dialects`: the list, and the guides as a terminal and a pipe get them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from importlib import resources

import msgspec
import pytest

from listener.cli import dialects, main
from listener.cli.streams import CommandFailed
from listener.core.authentication import Signature
from listener.core.events import Parsed
from listener.dialects import DIALECTS, Dialect

GUIDE = """\
# Harbor

Set **Notify type** to `HTTP`.

## Settings ##

```yaml
# not a heading
auth: **as it is**
```

- ends
"""


def dialect(name: str, signature: Signature | None = None) -> Dialect:
    return Dialect(name, "A product", lambda _: False, lambda _: Parsed(), signature)


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_has_a_guide_that_shows_how_its_sender_gets_in(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["dialects", name, "-o", "json"])
    found = msgspec.json.decode(capsys.readouterr().out)
    assert found["name"] == name
    assert found["title"] == DIALECTS[name].title
    assert found["guide"].startswith("# ")
    assert found["auth"]


def test_the_list_has_a_line_for_each_dialect(capsys: pytest.CaptureFixture[str]) -> None:
    main(["dialects"])
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "TITLE", "AUTH", "DIGESTS", "WAITS"]
    assert [line.split()[0] for line in lines] == list(DIALECTS)
    (github,) = (line for line in lines if line.startswith("github "))
    assert "hmac" in github
    assert github.split()[-3:] == ["yes", "10", "s"]


def test_the_list_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["dialects", "-o", "json"])
    found = {each["name"]: each for each in msgspec.json.decode(capsys.readouterr().out)["dialects"]}
    assert list(found) == list(DIALECTS)
    assert found["github"]["signature"] == "x-hub-signature-256"
    assert found["distribution"]["digests"] is True
    assert found["distribution"]["patienceSeconds"] == 2


def test_a_pipe_gets_the_guide_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    main(["dialects", "distribution"])
    text = resources.files("listener.dialects").joinpath("distribution.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == text


def test_a_terminal_gets_bold_headings() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "listener", "dialects", "distribution"]
    with subprocess.Popen(command, stdout=theirs, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        first = os.read(ours, 64)
        while _more(ours):
            pass
    os.close(ours)
    assert process.returncode == 0
    assert first.startswith(b"\x1b[1m")


def _more(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux says that a terminal was hung up
        return b""


def test_code_is_left_alone_on_a_terminal() -> None:
    assert dialects.readable(GUIDE).split("\n") == [
        "\x1b[1mHarbor\x1b[0m",
        "",
        "Set \x1b[1mNotify type\x1b[0m to `HTTP`.",
        "",
        "\x1b[1mSettings\x1b[0m",
        "",
        "# not a heading",
        "auth: **as it is**",
        "",
        "- ends",
    ]


def test_a_missing_guide_is_one_clear_line() -> None:
    with pytest.raises(CommandFailed, match=r"the guide for no-such, no_such\.md beside its dialect, is missing"):
        dialects.guide(dialect("no-such"))


def test_a_dialect_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dialects", "klingon"])
    assert ended.value.code == 2
    assert "'klingon' is not one of" in capsys.readouterr().err
