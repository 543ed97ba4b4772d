"""The pipelines that are tortured: small, each with something of its own, and with edits on the way."""

from __future__ import annotations

import json
import random
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAIN = '''\
"""A pipeline, as spec.json says."""
import json, os, sys
from pipelet.errors import PipeletError
from pipelet.launchers import launch_process
from pipelet.pipeline import Pipeline

here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "spec.json")) as file:
    spec = json.load(file)
try:
    P = Pipeline(spec["dot"], code_dir=here, **spec["options"])
    P.push(**spec["push"])
    w, t = launch_process(P, spec["workers"], log_level=0)
    summary = w.run()
except PipeletError as error:
    sys.exit(f"main.py: error: {type(error).__name__}: {error}")
except KeyboardInterrupt:
    sys.exit("main.py: stopped")
print(summary)
sys.exit(0 if summary.ok else 1)
'''

#: Each execution leaves a line beside the scripts; what is printed must be in the log, once.
PRELUDE = """\
import hashlib, json, os, time
HERE = os.path.dirname(__file__)
def note(word):
    with open(os.path.join(HERE, "executed"), "a") as lines:
        lines.write(json.dumps([os.path.basename(__file__)[:-3], repr(seg_input), word]) + "\\n")
def write(name, text):
    path = get_data_fn(name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a") as product:
        product.write(text)
        product.flush()
        time.sleep(0.01)
        product.write("/" + text)
def read(path):
    with open(path) as product:
        return product.read()
note("begun")
x = get_input()
print("input", repr(x))
"""

#: Segments that more than one pipeline has.
FILES = "time.sleep(0.08 * (x % 3))\nwrite('value.txt', str(x) * 400)\nset_output([x, 100 + x])\n"
COPY = """\
[path] = glob_parent("value.txt")
write("deep/er/copy.txt", read(path) + repr(x))
time.sleep(0.04 * (x % 4))
set_output((x, len(read(path))))
"""
PLAIN = """\
scale = 2
save_param(["scale"]); expose(["scale"])
time.sleep(0.02)
set_output([repr(x), scale])
"""
GATHER = """\
#multiplex cross_prod group_by "{group}"
paths = glob_parent("**/*.txt")
if len(paths) != {count}:
    raise FileNotFoundError("somebody removed files of the parents")
text = "".join(sorted(map(read, paths)))
write("sum.txt", hashlib.sha256(text.encode()).hexdigest())
set_output([(x, len(text), sorted(get_input("{parent}")))])
"""


@dataclass(frozen=True)
class Stage:
    """A state of the pipeline: what is pushed, and the scripts."""

    push: Mapping[str, list[int]]
    scripts: Mapping[str, str]


@dataclass(frozen=True)
class Shape:
    """A pipeline through its stages.

    Attributes
    ----------
    name, dot
        What it is called, and the graph.
    stages
        From the first to the last; the last decides what must be there in the end.
    askers
        Segments whose done tasks rightly run again when others come or go.
    blind
        Whether its scripts can't tell that files of others are missing: then nothing is removed while they run.
    """

    name: str
    dot: str
    stages: tuple[Stage, ...]
    askers: frozenset[str] = field(default=frozenset())
    blind: bool = False

    def write(self, directory: Path, number: int, workers: int, options: Mapping[str, object]) -> None:
        """Put ``main.py`` and the scripts of a stage into a directory."""
        stage = self.stages[number]
        spec = {"dot": self.dot, "push": stage.push, "workers": workers, "options": dict(options)}
        (directory / "main.py").write_text(MAIN)
        (directory / "spec.json").write_text(json.dumps(spec))
        for segment, text in stage.scripts.items():
            (directory / f"{segment}.py").write_text(PRELUDE + textwrap.dedent(text))


def _stages(rng: random.Random, push: dict[str, list[int]], scripts: dict[str, str], edited: str) -> tuple[Stage, ...]:
    """The first stage, and none to two that follow: more or fewer inputs, or a script that was edited."""
    stages = [Stage(push, scripts)]
    for _ in range(rng.choice((0, 1, 1, 2))):
        change = rng.choice(("more", "fewer", "code", "back"))
        last = stages[-1]
        if change == "more":
            pushed = {name: [*values, *range(max(values) + 1, max(values) + 4)] for name, values in last.push.items()}
            stages.append(Stage(pushed, last.scripts))
        elif change == "fewer":
            pushed = {name: values[: max(1, len(values) - 2)] for name, values in last.push.items()}
            stages.append(Stage(pushed, last.scripts))
        elif change == "code":
            lines = f"edition = {len(stages)}\n" + textwrap.dedent(last.scripts[edited])
            stages.append(Stage(last.push, {**last.scripts, edited: lines}))
        else:
            stages.append(stages[0])
    return tuple(stages)


def _inputs(rng: random.Random, least: int = 5, most: int = 16) -> list[int]:
    return list(range(rng.randint(least, most)))


def chain(rng: random.Random) -> Shape:
    """Files that the next segment reads, and tasks without a directory."""
    scripts = {"a": FILES, "b": COPY, "c": PLAIN}
    return Shape("chain", "a -> b -> c", _stages(rng, {"a": _inputs(rng)}, scripts, "b"), frozenset("b"))


def diamond(rng: random.Random) -> Shape:
    """Two branches that meet where their elements agree."""
    scripts = {
        "a": FILES,
        "b": "write('b.txt', repr(x))\nset_output([(x, 'b')])\n",
        "c": "time.sleep(0.05 * (x % 3))\nset_output([(x, 'c'), (x + 1, 'cc')])\n",
        "d": "#multiplex cross_prod where \"b[0] == c[0]\"\ntime.sleep(0.05)\nwrite('d.txt', repr(seg_input))\n"
        "set_output((x, get_input('c')))\n",
    }
    return Shape("diamond", "a -> b -> d; a -> c -> d", _stages(rng, {"a": _inputs(rng, 3, 8)}, scripts, "c"))


def group(rng: random.Random) -> Shape:
    """Classes whose tasks read the files of all their members."""
    members = "len({value % 100 for value in get_input('a')})"
    scripts = {"a": FILES, "t": GATHER.format(group="a % 3", parent="a", count=members), "s": PLAIN}
    return Shape("group", "a -> t -> s", _stages(rng, {"a": _inputs(rng)}, scripts, "s"), frozenset("t"))


def union(rng: random.Random) -> Shape:
    """Two sources in one segment."""
    scripts = {
        "a": FILES,
        "b": "time.sleep(0.1)\nset_output([x, x])\n",
        "u": "#multiplex union\ntime.sleep(0.08)\nwrite('u.txt', repr(seg_input))\nset_output([repr(seg_input)])\n",
    }
    push = {"a": _inputs(rng, 2, 6), "b": _inputs(rng, 2, 6)}
    return Shape("union", "a -> u; b -> u", _stages(rng, push, scripts, "b"))


def flaky(rng: random.Random) -> Shape:
    """Tasks that fail when they are first tried, one time or two, and segments that wait for them."""
    scripts = {
        "a": FILES,
        "f": """\
        write("half.txt", "half")
        for attempt in range(x % 3):
            mark = os.path.join(HERE, f"tried_{x}_{attempt}")
            if not os.path.exists(mark):
                open(mark, "w").close()
                raise ValueError(f"attempt {attempt} on {x}")
        set_output([x])
        """,
        "t": GATHER.format(group="'all'", parent="f", count="len(get_input('f'))"),
    }
    return Shape("flaky", "a -> f -> t", _stages(rng, {"a": _inputs(rng, 3, 6)}, scripts, "a"), frozenset("t"))


def external(rng: random.Random) -> Shape:
    """A program that writes bit by bit, and one that a task starts itself."""
    scripts = {
        "a": "set_output([x])\n",
        "e": """\
        logged_subprocess(["sh", "-c", "for i in 1 2 3 4 5 6; do echo $i >> out.txt; sleep 0.02; done; echo told"])
        import subprocess
        subprocess.run(["sh", "-c", "echo printed"], check=True)
        set_output([(x, read(get_data_fn("out.txt")))])
        """,
        "c": "write('c.txt', read(glob_parent('out.txt')[0]))\nset_output([x])\n",
    }
    return Shape("external", "a -> e -> c", _stages(rng, {"a": _inputs(rng, 3, 7)}, scripts, "e"), frozenset("c"))


def whole(rng: random.Random) -> Shape:
    """Single tasks, which have ``data/`` to themselves until others come."""
    scripts = {
        "a": "write('value.txt', str(x) * 50)\nwrite('sub/value.txt', str(x))\nset_output([x])\n",
        "b": "[path] = glob_parent('value.txt')\nwrite('b.txt', read(path))\nset_output([x])\n",
        "t": GATHER.format(group="'all'", parent="b", count="len(get_input('b'))"),
    }
    pushes = [[[7]], [[7], [7, 8]], [[7], [7, 8], [7]], [[7, 8], [8]], [[7], [8], [7]], [[7, 8, 9], [7, 8], [7, 8, 9]]]
    stages = tuple(Stage({"a": values}, scripts) for values in rng.choice(pushes))
    return Shape("whole", "a -> b -> t", stages, frozenset("bt"))


def ancestors(rng: random.Random) -> Shape:
    """A segment that looks at all the files of an ancestor, and at parameters."""
    scripts = {
        "a": FILES + "level = 5\nsave_param(['level'])\n",
        "b": PLAIN,
        "g": "write('names.txt', ' '.join(sorted(map(read, glob_seg('a', '*.txt')))))\nset_output([x])\n",
    }
    stages = _stages(rng, {"a": _inputs(rng, 2, 5)}, scripts, "b")
    return Shape("ancestors", "a -> b -> g", stages, frozenset("g"), blind=True)


def crowd(rng: random.Random) -> Shape:
    """Many short tasks, which go to the workers in batches."""
    scripts = {
        "a": f"set_output(list(range({rng.randint(300, 900)})))\n",
        "b": "if x % 7 == 0:\n    time.sleep(0.005)\n    write('b.txt', str(x))\nset_output([x])\n",
        "t": GATHER.format(group="b % 2", parent="b", count="sum(value % 7 == 0 for value in get_input('b'))"),
    }
    return Shape("crowd", "a -> b -> t", _stages(rng, {"a": [1]}, scripts, "t"), frozenset("t"))


SHAPES: dict[str, Callable[[random.Random], Shape]] = {
    make.__name__: make for make in (chain, diamond, group, union, flaky, external, whole, ancestors, crowd)
}
