"""The code of a pipeline: which files each segment runs or depends on, read once, and the keys made of them."""

from __future__ import annotations

import base64
import contextlib
import difflib
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipelet.classprint import environment_fingerprint
from pipelet.codediff import diff_ingredients, unified
from pipelet.codefiles import SourceFile, find_hook, find_script, hook_candidates, read_file, script_names
from pipelet.core.codeprint import CODE_VERSION, called_with_names, code_digest, hook_calls, imported_names
from pipelet.core.directives import Directives, Multiplex, read_directives
from pipelet.core.graph import Graph
from pipelet.depends import find_dependencies, kept_name
from pipelet.errors import CodeError, DirectiveError, PipelineError, PipelineProblems, raise_problems
from pipelet.imports import package_files, package_of, reached_files
from pipelet.modules import forget_revisions

__all__ = [
    "ENVIRONMENT_WORDS",
    "SegmentCode",
    "SourceFile",
    "diff_ingredients",
    "environment_fingerprint",
    "find_hook",
    "find_script",
    "read_code",
    "segment_keys",
    "survey_code",
    "unified",
    "unlisted_imports",
]

#: Goes up when keys are put together in another way: all segments are then computed anew.
KEY_VERSION = 1

#: The names of the environment that are looked for in the code, to know what a segment may ask for.
ENVIRONMENT_WORDS = frozenset(
    {
        "expose",
        "get_data_fn",
        "get_input",
        "get_tmp_fn",
        "glob_parent",
        "glob_seg",
        "hook",
        "load_param",
        "load_products",
        "logged_subprocess",
        "logger",
        "save_param",
        "save_products",
        "seg_input",
        "seg_output",
        "set_output",
    }
)


@dataclass(frozen=True)
class SegmentCode:
    """All that a segment runs and depends on."""

    segment: str
    script: SourceFile
    #: Name of the hook to its file: every hook that exists and may be called, by another hook too.
    hooks: Mapping[str, SourceFile]
    dependencies: tuple[SourceFile, ...]
    multiplex: Multiplex
    directives: tuple[str, ...]  #: in one spelling, for people
    mentions: frozenset[str]  #: which of the words looked for stand anywhere in the code
    #: Segments named in calls of ``glob_seg``; ``None`` where a name is computed, so that it may be any.
    glob_segs: frozenset[str] | None
    imports: frozenset[str]  #: dotted names of the modules that the code imports
    #: ``code melt.py``, ``hook melt_plot.py``, ``depend lib.py`` and ``multiplex`` to the digest of each.
    ingredients: Mapping[str, str]

    @property
    def files(self) -> dict[str, bytes]:
        """What is kept in the instance's directory: name to content."""
        kept = {kept_name(file.name): file.data for file in self.dependencies}
        kept.update((file.name, file.data) for file in (self.script, *self.hooks.values()))
        return kept


def read_code(graph: Graph, code_dir: str, words: Collection[str] = ENVIRONMENT_WORDS) -> dict[str, SegmentCode]:
    """Read the code of all segments, each file once.

    Parameters
    ----------
    graph
        The pipeline's graph.
    code_dir
        The code directory.
    words
        What to look for in the code (`SegmentCode.mentions`).

    Returns
    -------
    dict
        Segment to its code, in the order of the graph's segments.

    Raises
    ------
    PipelineError
        A script is missing, can't be read or is no Python; a directive is wrong. Several as `PipelineProblems`.
    """
    codes, problems = survey_code(graph, code_dir, words)
    raise_problems(problems)
    return codes


def survey_code(
    graph: Graph, code_dir: str, words: Collection[str] = ENVIRONMENT_WORDS
) -> tuple[dict[str, SegmentCode], list[PipelineError]]:
    """Read the code of the segments that have good code, for who wants to know of these whatever ails the others.

    Parameters
    ----------
    graph, code_dir, words
        As for `read_code`.

    Returns
    -------
    dict, list
        Segment to its code; and what is wrong with the others.

    Raises
    ------
    CodeError
        There is no such directory.
    """
    code_dir = os.path.abspath(code_dir)
    if not os.path.isdir(code_dir):
        problem = "is no directory" if os.path.exists(code_dir) else "does not exist"
        raise CodeError(f"the code directory {code_dir} {problem}; give code_dir= the folder of the segments' scripts")
    # A run begins here, and the user may have committed since the last one.
    forget_revisions()
    return _Reading(graph, code_dir, words).all()


class _Reading:
    """One reading of a code directory."""

    def __init__(self, graph: Graph, code_dir: str, words: Collection[str]) -> None:
        self.graph = graph
        self.code_dir = code_dir
        self.words = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(words)))})\b")
        self.problems: dict[str, PipelineError] = {}
        self._scripts: set[str] = set()
        self._files: dict[str, SourceFile] = {}
        self._digests: dict[str, str | CodeError] = {}
        self._good = True  #: nothing was wrong yet with the segment that is being read

    def all(self) -> tuple[dict[str, SegmentCode], list[PipelineError]]:
        paths = {segment: find_script(segment, self.code_dir) for segment in self.graph.segments}
        missing = [segment for segment, path in paths.items() if path is None]
        if missing:
            self.problems["missing"] = _no_script(missing, self.code_dir)
        found = {segment: path for segment, path in paths.items() if path is not None}
        self._scripts = set(found.values())
        codes = {}
        for segment, path in found.items():
            self._good = True
            with self._gathering():
                code = self._segment(segment, path)
            if self._good:
                codes[segment] = code
        return codes, list(self.problems.values())

    @contextlib.contextmanager
    def _gathering(self) -> Iterator[None]:
        try:
            yield
        except PipelineError as error:
            self._good = False
            for problem in error.problems if isinstance(error, PipelineProblems) else (error,):
                # Files that several segments share are wrong once.
                self.problems.setdefault(str(problem), problem)

    def _segment(self, segment: str, path: str) -> SegmentCode:
        script = self._file(path)
        ingredients = {f"code {script.name}": self._strict_digest(script)}
        hooks, called = self._hooks(segment, script)
        running = {file.name: file for file in (script, *hooks.values())}
        ingredients.update((f"hook {file.name}", self._digest(file)) for file in hooks.values())
        multiplex = Multiplex()
        depends: list[tuple[SourceFile, str, int]] = []
        for file in running.values():
            with self._gathering():
                found = self._directives(file, segment)
                depends += [(file, pattern, line) for pattern, line in found.depends]
                if file is script:
                    multiplex = found.multiplex
                elif found.multiplex.line and file.path in called - self._scripts:
                    raise _misplaced(file, found.multiplex.line, script)
        dependencies = self._dependencies(running, depends)
        ingredients.update((f"depend {file.name}", self._digest(file)) for file in dependencies)
        ingredients["multiplex"] = hashlib.sha256(multiplex.canonical.encode()).hexdigest()
        python = [*running.values(), *(file for file in dependencies if file.is_python)]
        texts = {file.name: _loose_text(file) for file in python}
        return SegmentCode(
            segment=segment,
            script=script,
            hooks=hooks,
            dependencies=dependencies,
            multiplex=multiplex,
            directives=(_spelled(multiplex), *sorted({f"#depend {pattern}" for _, pattern, _ in depends})),
            mentions=frozenset(word for text in texts.values() for word in self.words.findall(text)),
            glob_segs=self._glob_segs(python, texts),
            imports=frozenset().union(*(imported_names(file.text) for file in python if self._parses(file))),
            ingredients=ingredients,
        )

    def _directives(self, file: SourceFile, segment: str) -> Directives:
        if not self._parses(file):
            return Directives(Multiplex(), ())
        return read_directives(file.text, file.path, self.graph.parents(segment))

    # --- files -------------------------------------------------------------------------------------------------------

    def _file(self, path: str) -> SourceFile:
        file = self._files.get(path)
        if file is None:
            name = os.path.relpath(path, self.code_dir).replace(os.sep, "/")
            file = self._files[path] = read_file(name, self.code_dir)
        return file

    def _named(self, name: str) -> SourceFile:
        return self._file(os.path.join(self.code_dir, *name.split("/")))

    def _strict_digest(self, file: SourceFile) -> str:
        """The fingerprint of a Python source; an error where it does not parse."""
        digest = self._digests.get(file.path)
        if digest is None:
            try:
                digest = code_digest(file.text, file.path)
            except CodeError as error:
                digest = error
            self._digests[file.path] = digest
        if isinstance(digest, CodeError):
            raise digest
        return digest

    def _parses(self, file: SourceFile) -> bool:
        if not file.is_python:
            return False
        try:
            self._strict_digest(file)
        except CodeError:
            return False
        return True

    def _digest(self, file: SourceFile) -> str:
        """The fingerprint of a Python source; of the bytes for what is none."""
        return self._strict_digest(file) if self._parses(file) else hashlib.sha256(file.data).hexdigest()

    # --- hooks -------------------------------------------------------------------------------------------------------

    def _hooks(self, segment: str, script: SourceFile) -> tuple[dict[str, SourceFile], set[str]]:
        """The hooks by name, and the paths of the files that are called by a literal name, the script's among them."""
        found: dict[str, SourceFile] = {}
        called = {script.path}
        todo = [script]
        while todo:
            file = todo.pop()
            literal = self._literal_hooks(file, must=file.path in called)
            names = hook_candidates(segment, self.code_dir) if literal is None else literal
            for name in sorted(names):
                if literal is not None and ("/" in name or "\0" in name):
                    raise CodeError(f"{file.path}: the name of a hook is part of a file's name: {name!r} can't be one")
                path = find_hook(segment, name, self.code_dir)
                if path is None or (name in found and (literal is None or path in called)):
                    continue
                found[name] = self._file(path)
                todo.append(found[name])
                if literal is not None:
                    called.add(path)
        return {name: found[name] for name in sorted(found)}, called

    def _literal_hooks(self, file: SourceFile, must: bool) -> frozenset[str] | None:
        # A file that only may be called, by a computed name, need not be right: it may be anything of that name.
        if must:
            self._strict_digest(file)
        return hook_calls(file.text) if self._parses(file) else frozenset()

    # --- dependencies ------------------------------------------------------------------------------------------------

    def _dependencies(
        self, running: Mapping[str, SourceFile], depends: Sequence[tuple[SourceFile, str, int]]
    ) -> tuple[SourceFile, ...]:
        names: set[str] = set()
        for file, pattern, line in depends:
            with self._gathering():
                names.update(find_dependencies(pattern, self.code_dir, file.path, line))
        names |= self._rest_of_packages(running, names - running.keys())
        found = []
        for name in sorted(names - running.keys()):
            with self._gathering():
                found.append(self._named(name))
        return tuple(found)

    def _rest_of_packages(self, running: Mapping[str, SourceFile], names: Collection[str]) -> set[str]:
        """What has to be kept beside a module of a package: Python takes a package from one place as a whole."""
        packages = {package for name in names if (package := package_of(name, self.code_dir)) is not None}
        if not packages:
            return set()
        start = dict(running)
        for name in names:
            with self._gathering():
                start[name] = self._named(name)
        initial = {init for name in names for init in package_files(name, self.code_dir)}
        reached = reached_files(start, self.code_dir, self._named, initial)
        return {name for name in reached if name.startswith(tuple(f"{package}/" for package in packages))}

    def _glob_segs(self, files: Iterable[SourceFile], texts: Mapping[str, str]) -> frozenset[str] | None:
        names: set[str] = set()
        for file in files:
            if "glob_seg" in texts[file.name]:
                found = called_with_names(file.text, "glob_seg") if self._parses(file) else None
                if found is None:
                    return None
                names |= found
        return frozenset(names)


def _loose_text(file: SourceFile) -> str:
    try:
        return file.text
    except CodeError:
        return file.data.decode("latin-1")


def _spelled(multiplex: Multiplex) -> str:
    clauses = (("where", multiplex.where), ("group_by", multiplex.group_by))
    return " ".join([f"#multiplex {multiplex.kind}", *(f"{word} {text}" for word, text in clauses if text is not None)])


def _no_script(missing: Sequence[str], code_dir: str) -> CodeError:
    present = [name for name in os.listdir(code_dir) if name.endswith(".py")]
    lines = [f"no script in {code_dir} for:"]
    for segment in missing:
        names = script_names(segment)
        # A long name makes a long list, and its middle says nothing new.
        shown = names if len(names) <= 8 else [*names[:4], "...", names[-1]]
        near = difflib.get_close_matches(names[0], present, n=1, cutoff=0.75)
        hint = f" (there is {near[0]})" if near else ""
        lines.append(f"  {segment}: looked for {', '.join(shown)}{hint}")
    return CodeError("\n".join(lines))


def _misplaced(file: SourceFile, line: int, script: SourceFile) -> DirectiveError:
    return DirectiveError(
        f"{file.path}, line {line}: a `#multiplex` in a hook means nothing, since the inputs are known before it runs; "
        f"move it to {script.path}"
    )


def unlisted_imports(code: SegmentCode, code_dir: str) -> list[str]:
    """Find what a segment imports from the code directory without depending on it.

    Parameters
    ----------
    code
        The segment's code.
    code_dir
        The code directory.

    Returns
    -------
    list of str
        Names relative to the code directory, sorted: what its script, hooks and dependencies import by name, and what
        these modules import in turn.
    """
    start = {file.name: file for file in (code.script, *code.hooks.values(), *code.dependencies)}
    code_dir = os.path.abspath(code_dir)
    return sorted(reached_files(start, code_dir, lambda name: read_file(name, code_dir)))


def segment_keys(graph: Graph, codes: Mapping[str, SegmentCode], environment: str) -> dict[str, str]:
    """Make the keys of all segments.

    Parameters
    ----------
    graph
        The pipeline's graph.
    codes
        What `read_code` or `survey_code` gave.
    environment
        The fingerprint of the environment's class (`environment_fingerprint`).

    Returns
    -------
    dict
        Segment to key: 52 characters of ``A-Z2-7``. A segment has none without its code or that of all its ancestors.
    """
    keys: dict[str, str] = {}
    for segment in graph.order:
        if segment not in codes or any(parent not in keys for parent in graph.parents(segment)):
            continue
        code = codes[segment]
        made_of = {
            "versions": [KEY_VERSION, CODE_VERSION],
            "segment": segment,
            # By the hook's own name: under which shortened file name a script was found changes nothing it computes.
            "code": code.ingredients[f"code {code.script.name}"],
            "hooks": {name: code.ingredients[f"hook {file.name}"] for name, file in code.hooks.items()},
            "depends": {file.name: code.ingredients[f"depend {file.name}"] for file in code.dependencies},
            "multiplex": code.multiplex.canonical,
            "environment": environment,
            "parents": [[parent, keys[parent]] for parent in graph.parents(segment)],
        }
        text = json.dumps(made_of, sort_keys=True, separators=(",", ":"))
        keys[segment] = base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
    return keys
