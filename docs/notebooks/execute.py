"""Runs the notebooks from a clean state and stores them with what came out: ``make notebooks``.

A notebook runs in a directory of its own, with nothing but the data that belong to it, so no path of this machine gets
into it. With names of notebooks only these are run.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
#: Notebook -> the files that belong to it, as patterns from the root of the repository.
NOTEBOOKS: dict[str, tuple[str, ...]] = {
    "first-steps": ("docs/notebooks/sunspots/*.csv",),
    "cmb-results": ("examples/cmb/*.py",),
}
#: How long a cell may take.
_SECONDS = 600


def executed(name: str, directory: Path) -> Any:
    """Run a notebook.

    Parameters
    ----------
    name
        Its name without ``.ipynb``.
    directory
        An empty directory to run it in.

    Returns
    -------
    NotebookNode
        The notebook with new outputs.

    Raises
    ------
    CellExecutionError
        A cell raised.
    """
    here = directory / HERE.relative_to(ROOT)
    here.mkdir(parents=True)
    for source in (path for pattern in NOTEBOOKS[name] for path in ROOT.glob(pattern)):
        target = directory / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    book = nbformat.read(HERE / f"{name}.ipynb", as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    where = {"metadata": {"path": str(here)}}
    client = NotebookClient(
        book, timeout=_SECONDS, record_timing=False, coalesce_streams=True, kernel_name="python3", resources=where
    )
    client.create_kernel_manager()
    client.execute(env={**os.environ, "PYTHONPATH": path})
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = [_settled(output) for output in cell.outputs]
    # Which Python ran it makes no difference to what it says.
    book.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return book


def _settled(output: Any) -> Any:
    """An output without what says nothing: the addresses of figures, for example."""
    plain = output.get("data", {}).get("text/plain")
    if plain is not None:
        output["data"]["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", plain)
    return output


def main() -> None:
    """Run the notebooks that are named, or all."""
    for name in sys.argv[1:] or NOTEBOOKS:
        print(f"    {name}.ipynb", flush=True)
        with tempfile.TemporaryDirectory(prefix="notebook-") as directory:
            book = executed(name, Path(directory))
        nbformat.write(book, HERE / f"{name}.ipynb")


if __name__ == "__main__":
    main()
