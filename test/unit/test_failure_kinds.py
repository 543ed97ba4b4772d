"""What failures have in common, told from the texts that they leave."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipelet
from pipelet.failurekinds import FailureKind, Kinds, kind_of_error, message_of

ENGINE = pipelet.__file__.replace("__init__.py", "environment/full.py")
LIBRARY = "/usr/lib/python3.12/json/decoder.py"


def traceback(*frames: tuple[str, int, str], last: str) -> str:
    lines = [f'  File "{file}", line {line}, in {name}\n    code()\n    ~~~~^^\n' for file, line, name in frames]
    return "Traceback (most recent call last):\n" + "".join(lines) + last + "\n"


SCRIPT = ("/home/ada/code/melt.py", 7, "<module>")
KINDS = {
    "plain": (traceback(SCRIPT, last="ValueError: no\nsecond: line"), ("ValueError", "melt.py", 7, "<module>")),
    "without words": (traceback(SCRIPT, last="AssertionError"), ("AssertionError", "melt.py", 7, "<module>")),
    "in a function": (traceback(SCRIPT, ("/home/ada/code/lib/cut.py", 3, "cut"), last="KeyError: 1"),
                      ("KeyError", "lib/cut.py", 3, "cut")),
    "in a kept copy": (traceback(SCRIPT, ("/data/melt_ABCDEF/cut.py", 3, "cut"), last="KeyError: 1"),
                       ("KeyError", "cut.py", 3, "cut")),
    "in a kept copy below the code": (traceback(SCRIPT, ("/home/ada/code/p/melt_ABCDEF/l/cut.py", 3, "cut"), last="E"),
                                      ("E", "l/cut.py", 3, "cut")),
    "elsewhere": (traceback(SCRIPT, ("/opt/tools/own.py", 3, "cut"), last="E: x"), ("E", "own.py", 3, "cut")),
    "in a library": (traceback(SCRIPT, (LIBRARY, 300, "decode"), last="json.decoder.JSONDecodeError: x"),
                     ("json.decoder.JSONDecodeError", "melt.py", 7, "<module>")),
    "in the engine": (traceback(SCRIPT, (ENGINE, 184, "logged_subprocess"), last="pipelet.errors.SubprocessFailed: sh"),
                      ("SubprocessFailed", "melt.py", 7, "<module>")),
    "nothing of the user's": (traceback((LIBRARY, 3, "f"), last="E: x"), ("E", "decoder.py", 3, "f")),
    "a death": ("pipelet.errors.WorkerDied: the process that ran this task was killed by SIGSEGV (signal 11)\n",
                ("WorkerDied (SIGSEGV)", "", 0, "")),
    "a timeout": ('Traceback (most recent call last):\n  File "/c/seg.py", line 5, in <module>\n'
                  "pipelet.errors.TaskTimeout: the task had not ended\n", ("TaskTimeout", "seg.py", 5, "<module>")),
    "a cause": (traceback(SCRIPT, last="KeyError: 1")
                + "\nDuring handling of the above exception, another exception occurred:\n\n"
                + traceback(("/home/ada/code/melt.py", 9, "<module>"), last="TypeError: 2"),
                ("TypeError", "melt.py", 9, "<module>")),
    "a cause that has the frames": (
        traceback(SCRIPT, last="SystemExit: 3")
        + "\nThe above exception was the direct cause of the following exception:\n\n"
        + "pipelet.errors.TaskError: the segment called sys.exit(3)\n",
        ("TaskError", "melt.py", 7, "<module>"),
    ),
    "no traceback": ("what is this?", ("an error", "", 0, "")),
    "nothing": ("", ("an error", "", 0, "")),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_of_an_error(name: str) -> None:
    text, expected = KINDS[name]
    assert kind_of_error(text) == FailureKind(*expected)


def test_a_kind_is_called_by_its_id_or_its_exception() -> None:
    kind = kind_of_error(KINDS["in a library"][0])
    assert all(map(kind.is_called, (kind.id, "JSONDecodeError", "json.decoder.JSONDecodeError")))
    assert not kind.is_called("decoder")
    assert len({kind_of_error(text).id for text, _ in KINDS.values()}) == len(KINDS) - 1
    assert kind.id == kind._replace().id
    assert (kind.place, kind_of_error("").place) == ("melt.py, line 7", "")
    assert kind_of_error(KINDS["in a function"][0]).place == "lib/cut.py, line 3, in cut"


def test_the_message_of_an_error() -> None:
    said = {"plain": "no", "without words": "", "in a library": "x", "a death": "the process that ran this task was"}
    for name, words in said.items():
        assert message_of(KINDS[name][0]).startswith(words)
    assert message_of(KINDS["a cause that has the frames"][0]) == "the segment called sys.exit(3)"
    assert (message_of(""), message_of("what is this?")) == ("", "what is this?")


def test_kinds_that_are_remembered_are_those_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = Kinds()
    monkeypatch.setattr(Kinds, "_MOST", 3)
    for _ in range(2):
        for text, expected in KINDS.values():
            assert kinds(text) == expected
            assert kinds(text.rstrip() + " more") in (expected, kind_of_error(text.rstrip() + " more"))


@given(st.text(alphabet='File "/x.py", line 7, in m\n:_.E\ud800\x00'))
def test_no_text_is_too_odd(text: str) -> None:
    kind = kind_of_error(text)
    assert Kinds()(text) == kind
    assert kind.id
