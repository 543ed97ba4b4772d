"""All that a segment sees: what the base gives, and parameters, products and external programs."""

from __future__ import annotations

import os
import shlex
import subprocess
import types
from collections.abc import Iterable, Sequence

from pipelet.core.calls import Parameter
from pipelet.core.fingerprint import value_digest
from pipelet.environment.base import EnvironmentBase, Namespace
from pipelet.environment.values import loads, names_of, short, try_pickle, word
from pipelet.errors import FingerprintError, ParameterError, SubprocessFailed

#: How much of a failed program's error output an error shows.
_ERROR_TAIL = 2000


class Environment(EnvironmentBase):
    """Everything of `EnvironmentBase`, and parameters, products and external programs."""

    def save_param(self, lst: str | Iterable[str]) -> None:
        """Save the values of variables as parameters of this task.

        Parameters
        ----------
        lst
            Names of variables of the segment.

        Raises
        ------
        ParameterError
            There is no such variable, or its value can't be pickled.
        """
        self._save(lst, exposed=False)

    def expose(self, lst: str | Iterable[str]) -> None:
        """Save the values of variables, and show them in the web page.

        Parameters
        ----------
        lst
            Names of variables of the segment.

        Raises
        ------
        ParameterError
            There is no such variable, or its value can't be pickled.
        """
        self._save(lst, exposed=True)

    def load_param(self, seg: str, glo: Namespace, lst: str | Iterable[str] | None = None) -> None:
        """Read parameters that the task of an ancestor segment saved.

        Parameters
        ----------
        seg
            Name of the ancestor.
        glo
            ``globals()``: the namespace that receives them.
        lst
            Names of the parameters; all of them if not given.

        Raises
        ------
        InputNameError
            No ancestor has that name.
        ParameterError
            No ancestor task has such a parameter, or they disagree on its value.
        """
        tasks = self._line(seg)
        known = sorted({parameter.name for task in tasks for parameter in task.parameters})
        for name in known if lst is None else names_of(lst):
            blobs = {item.blob: item for task in tasks for item in task.parameters if item.name == name}
            # Equal values may well have different pickles: a set's depends on the process that wrote it.
            values = {_identity(blob): item for blob, item in blobs.items()} if len(blobs) > 1 else blobs
            if not values:
                listed = ", ".join(known) or "none"
                raise ParameterError(f"{seg!r} saved no parameter named {name!r}; known are: {listed}")
            if len(values) > 1:
                shown = ", ".join(sorted(item.text for item in values.values())[:4])
                raise ParameterError(f"the tasks of {seg!r} disagree on the parameter {name!r}: {shown}")
            glo[name] = loads(next(iter(values.values())).blob)

    def save_products(self, filename: str, glo: Namespace, lst_par: str | Iterable[str] | None = None) -> None:
        """Pickle variables to a file.

        Parameters
        ----------
        filename
            A relative name is in this task's data directory.
        glo
            ``globals()``: where the variables are.
        lst_par
            Their names. If not given: all that is public and can be pickled.

        Raises
        ------
        ParameterError
            There is no such variable, or its value can't be pickled.
        """
        if lst_par is None:
            products = {name: value for name, value in glo.items() if self._is_product(name, value)}
        else:
            names = names_of(lst_par)
            missing = [name for name in names if name not in glo]
            if missing:
                raise ParameterError(f"save_products: there is no variable named {', '.join(missing)}")
            products = {name: glo[name] for name in names}
        blob = try_pickle(products)
        if blob is None:
            refused = [name for name, value in products.items() if try_pickle(value) is None]
            raise ParameterError(f"save_products: these variables can't be pickled: {', '.join(refused)}")
        path = self._product(filename)
        temporary = f"{path}.part"
        with open(temporary, "wb") as file:
            file.write(blob)
        os.replace(temporary, path)

    def load_products(self, filename: str, glo: Namespace, lst_par: str | Iterable[str] | None = None) -> None:
        """Read variables back from a file that `save_products` wrote.

        Parameters
        ----------
        filename
            A relative name is in this task's data directory; ``get_data_fn(name, seg)`` names one of an ancestor.
        glo
            ``globals()``: the namespace that receives them.
        lst_par
            Names of the variables; all of them if not given.

        Raises
        ------
        ParameterError
            The file has no such variable.
        OSError
            The file can't be read.
        """
        with open(self._product(filename), "rb") as file:
            products = loads(file.read())
        names = list(products) if lst_par is None else names_of(lst_par)
        missing = [name for name in names if name not in products]
        if missing:
            raise ParameterError(f"{filename}: no variable named {', '.join(missing)}; it has {', '.join(products)}")
        for name in names:
            glo[name] = products[name]

    def logged_subprocess(self, lst_args: str | Sequence[object]) -> None:
        """Run a program in this task's data directory and wait for its end.

        Its output is appended to ``<program>.log`` and ``<program>.err`` there.

        Parameters
        ----------
        lst_args
            The program and its arguments.

        Raises
        ------
        SubprocessFailed
            It could not be started, or ended with a non-zero exit status.
        """
        words = shlex.split(lst_args) if isinstance(lst_args, str) else [os.fspath(word(item)) for item in lst_args]
        if not words:
            raise SubprocessFailed("logged_subprocess: the list of arguments is empty; its first is the program")
        directory = self._directory()
        base = os.path.join(directory, os.path.basename(words[0]) or "program")
        with open(f"{base}.log", "ab") as log, open(f"{base}.err", "ab") as err:
            start = err.tell()
            try:
                ended = subprocess.run(
                    words, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=err, check=False
                )
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise SubprocessFailed(f"{words[0]!r} can't be run: {reason}") from error
        if ended.returncode:
            with open(f"{base}.err", "rb") as err:
                err.seek(max(start, os.path.getsize(f"{base}.err") - _ERROR_TAIL))
                tail = err.read().decode("utf-8", "replace").strip()
            status = f"signal {-ended.returncode}" if ended.returncode < 0 else f"exit status {ended.returncode}"
            raise SubprocessFailed(f"{shlex.join(words)} ended with {status}; end of {base}.err:\n{tail}")

    def _save(self, lst: str | Iterable[str], exposed: bool) -> None:
        for name in names_of(lst):
            if name not in self._namespace:
                raise ParameterError(f"there is no variable named {name!r} to save as a parameter")
            value = self._namespace[name]
            blob = try_pickle(value)
            if blob is None:
                raise ParameterError(f"the value of {name!r} can't be pickled, so it can't be a parameter")
            before = self._parameters.get(name)
            shown = exposed or (before is not None and before.exposed)
            parameters = vars(self).setdefault("_parameters", {})  # at once, as there may be threads
            parameters[name] = Parameter(name, blob, short(value), shown)

    def _is_product(self, name: str, value: object) -> bool:
        if name.startswith("_") or isinstance(value, types.ModuleType) or name in ("seg_input", "seg_output"):
            return False
        ours = getattr(value, "__self__", None) is self or value is self._logger
        return not ours and try_pickle(value) is not None

    def _product(self, filename: str | os.PathLike[str]) -> str:
        """The path of a file of products: a relative name is in the task's directory."""
        name = os.fspath(filename)
        return name if os.path.isabs(name) else os.path.join(self._directory(), name)


def _identity(blob: bytes) -> bytes:
    """What equal parameters have in common."""
    try:
        return value_digest(loads(blob))
    except FingerprintError:
        return blob
