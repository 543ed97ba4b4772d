"""The notebooks of the documentation run from a clean state, and give what they were stored with."""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from support import REPOSITORY

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

HERE = REPOSITORY / "docs" / "notebooks"


def runner() -> ModuleType:
    """The script that stores the notebooks."""
    spec = importlib.util.spec_from_file_location("execute", HERE / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXECUTE = runner()


def stored(name: str) -> Any:
    return nbformat.read(HERE / f"{name}.ipynb", as_version=4)


def words(text: str) -> list[str]:
    """The words of a text, without how long something took and when it was."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(,\d+)?", "DATE", text)
    text = re.sub(r",? (in )?\d+(\.\d)? (s|min \d\d s)\b", "", text)
    return re.sub(r"(?<= )\d+\.\d{3}(?= )", "SECONDS", text).split()


def is_like(one: str, other: str) -> bool:
    """Whether two words are the same, or numbers that differ by no more than machines do."""
    try:
        return math.isclose(float(one), float(other), rel_tol=0.02, abs_tol=0.011)
    except ValueError:
        return one == other


def texts(output: Any) -> list[str]:
    return words(output.text if output.output_type == "stream" else output.data["text/plain"])


def test_every_notebook_is_run_and_shown() -> None:
    names = {path.stem for path in HERE.glob("*.ipynb")}
    assert set(EXECUTE.NOTEBOOKS) == names
    page = (REPOSITORY / "docs" / "notebooks.rst").read_text()
    assert set(re.findall(r"^   notebooks/(\S+)$", page, re.M)) == names


@pytest.mark.parametrize("name", list(EXECUTE.NOTEBOOKS))
def test_a_notebook_gives_what_it_was_stored_with(name: str, tmp_path: Path) -> None:
    # it must not matter where the notebook runs, nor what was there before
    now = EXECUTE.executed(name, tmp_path)
    before = stored(name)
    assert [cell.source for cell in now.cells] == [cell.source for cell in before.cells]
    for new, old in zip(now.cells, before.cells, strict=True):
        if new.cell_type != "code":
            continue
        kinds = [[(each.output_type, sorted(each.get("data", ()))) for each in cell.outputs] for cell in (new, old)]
        assert kinds[0] == kinds[1], new.source
        if "varies" in new.metadata.get("tags", ()):
            continue
        for made, known in zip(new.outputs, old.outputs, strict=True):
            pair = texts(made), texts(known)
            assert len(pair[0]) == len(pair[1]), (new.source, *pair)
            assert all(map(is_like, *pair)), (new.source, *pair)


@pytest.mark.parametrize("name", list(EXECUTE.NOTEBOOKS))
def test_a_notebook_was_stored_with_all_its_outputs_and_without_places_of_a_machine(name: str) -> None:
    book = stored(name)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", ()) for output in outputs)
    shown = [text for output in outputs for text in (output.get("text", ""), *output.get("data", {}).values())]
    for text in shown:
        assert not re.search(r"(?<![\w.])/(tmp|home|root|work|usr|var|builds)/", text)
        assert not re.search("<script|<style|application/vnd.jupyter.widget", text)
    # what has a picture has words for where it can't be shown
    assert all("text/plain" in output.data for output in outputs if "data" in output)


def test_a_cell_that_raises_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(book, tmp_path / "bad.ipynb")
    monkeypatch.setattr(EXECUTE, "HERE", tmp_path)
    monkeypatch.setattr(EXECUTE, "ROOT", tmp_path.parent)
    monkeypatch.setitem(EXECUTE.NOTEBOOKS, "bad", ())
    monkeypatch.setattr(sys, "argv", ["execute.py", "bad"])
    before = (tmp_path / "bad.ipynb").read_text()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        EXECUTE.main()
    assert (tmp_path / "bad.ipynb").read_text() == before
