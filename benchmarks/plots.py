"""Pictures of the results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

if TYPE_CHECKING:
    from makespan import Outcome
    from overhead import Row

#: Colours that colour-blind people can tell apart; what is ours is bold, what it is held against is black.
OWN, PLAIN, FLOOR = "#0072B2", "#56B4E9", "#222222"
OTHERS = ("#D55E00", "#009E73", "#CC79A7", "#A66F00", "#7A5195", "#8A8A00", "#8C564B", "#607D8B", "#B2182B")
INK, FAINT = "#333333", "#DDDDDD"


class End(NamedTuple):
    """Where a line ends, and what is written there."""

    x: float
    y: float
    words: str
    colour: str


def _style(name: str, variant: str, others: Sequence[str]) -> dict[str, Any]:
    if name == "pipelet":
        plain = variant == "no files"
        return {"color": PLAIN if plain else OWN, "lw": 2.6, "marker": "o", "ms": 6, "zorder": 5}
    if name == "floor":
        dashed = variant == "no files"
        return {"color": FLOOR, "lw": 1.8, "ls": (0, (4, 2)) if dashed else "-", "marker": "s", "ms": 4, "zorder": 4}
    return {"color": OTHERS[others.index(name) % len(OTHERS)], "lw": 1.3, "marker": ".", "ms": 8, "zorder": 3}


def _plain_numbers(axis: Any) -> None:
    def words(value: float, _: int) -> str:
        return f"{value:,.0f}" if value >= 1 else f"{value:g}"

    axis.set_major_formatter(FuncFormatter(words))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_locator(LogLocator(10, numticks=12))


def _dress(axes: Any, title: str, unit: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel("tasks", color=INK)
    axes.set_ylabel(unit, color=INK)
    _plain_numbers(axes.xaxis)
    _plain_numbers(axes.yaxis)
    axes.grid(True, which="major", color=FAINT, lw=0.8)
    axes.tick_params(which="both", length=0, colors=INK)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _label_ends(axes: Any, ends: Sequence[End], bottom: float, top: float) -> None:
    """Write names beside the ends of lines that end at the same x, moved apart where they would lie on each other."""
    gap = math.log(top / bottom) / 22
    ordered = sorted(ends, key=lambda end: end.y)
    places: list[float] = []
    for end in ordered:
        places.append(max(math.log(end.y), places[-1] + gap if places else -math.inf))
    ceiling = math.log(top)
    for at in range(len(places) - 1, -1, -1):  # nothing may leave the picture at the top
        places[at] = min(places[at], ceiling)
        ceiling = places[at] - gap
    for end, place in zip(ordered, places, strict=True):
        axes.annotate(
            end.words, (end.x, end.y), xytext=(end.x * 1.25, math.exp(place)), textcoords="data", color=end.colour,
            fontsize=8.5, va="center", annotation_clip=False, zorder=6,
            fontweight="bold" if end.words.startswith("Pipelet") else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
            arrowprops={"arrowstyle": "-", "color": end.colour, "lw": 0.5, "alpha": 0.6, "shrinkA": 0, "shrinkB": 2},
        )


def _name(name: str, variant: str) -> str:
    words = {"pipelet": "Pipelet", "floor": "floor"}.get(name)
    return f"{words}, {variant}" if words else name


def _panel(axes: Any, rows: Sequence[Row], others: Sequence[str], quantity: str) -> None:
    lines: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in sorted(rows, key=lambda row: row.n):
        # The tables tell what the disk costs; a third line of Pipelet's would hide the other two.
        if not row.stopped and "durability" not in row.variant:
            value = row.micro if quantity == "micro" else getattr(row, quantity) / 1e6
            if value > 0:
                lines.setdefault((row.name, row.variant), []).append((row.tasks, value))
    if not lines:
        return
    values = [value for points in lines.values() for _, value in points]
    tasks = [at for points in lines.values() for at, _ in points]
    bottom, top = min(values) / 1.6, max(values) * 1.6
    ends = []
    for (name, variant), points in lines.items():
        style = _style(name, variant, others)
        axes.plot(*zip(*points, strict=True), **style, clip_on=False, solid_capstyle="round")
        ends.append(End(*points[-1], _name(name, variant), style["color"]))
    axes.set_ylim(bottom, top)
    axes.set_xlim(min(tasks) / 1.3, max(tasks) * 1.3)
    for x in {end.x for end in ends}:
        _label_ends(axes, [end for end in ends if end.x == x], bottom, top)


def plot_overhead(rows: Sequence[Row], path: Path) -> Path:
    """CPU a task of the three runs, and memory, over the number of tasks."""
    others = list(dict.fromkeys(row.name for row in rows if row.name not in ("pipelet", "floor")))
    figure, panels = plt.subplots(2, 2, figsize=(13.5, 10.5))
    titles = {"cold": "Cold run", "second": "Second run: nothing to do", "third": "Third run: one element more"}
    for axes, (run, title) in zip(panels.flat, titles.items(), strict=False):
        _dress(axes, title, "CPU a task, microseconds")
        _panel(axes, [row for row in rows if row.run == run], others, "micro")
    axes = panels.flat[3]
    _dress(axes, "Peak memory of all processes, cold run", "MB")
    _panel(axes, [row for row in rows if row.run == "cold"], others, "memory")
    figure.suptitle(
        "W(N): gen → double → incr → total, trivial tasks, two workers", x=0.02, ha="left", color=INK, fontsize=13
    )
    figure.subplots_adjust(left=0.065, right=0.865, top=0.91, bottom=0.06, wspace=0.58, hspace=0.27)
    figure.savefig(path, dpi=130, facecolor="white")
    plt.close(figure)
    return path


def plot_makespan(outcomes: Sequence[Outcome], path: Path) -> Path:
    """What the makespans are in terms of the best list schedules."""
    names = [f"{one.shape}, {one.workers} workers" for one in outcomes]
    figure, axes = plt.subplots(figsize=(8.5, 0.55 * len(names) + 1.9))
    places = list(range(len(names)))[::-1]
    ratios = [one.measured / one.listed for one in outcomes]
    bounds = [one.bound / one.listed for one in outcomes]
    far = max(1.12, *ratios) * 1.01
    axes.axvspan(1.0, 1.05, color="#E5F0E5", zorder=0, lw=0)
    axes.axvline(1.0, color=FLOOR, lw=1.2, zorder=1)
    axes.text(1.025, len(names) - 0.35, "goal", color="#4B7A4B", ha="center", fontsize=9)
    axes.plot([], [], "o", color=OWN, ms=8, label="Pipelet")
    axes.plot([], [], "|", color=OTHERS[0], ms=12, mew=2.2, label="bound: no schedule is shorter")
    for place, ratio, bound in zip(places, ratios, bounds, strict=True):
        axes.plot([bound, ratio], [place, place], color=FAINT, lw=2, zorder=1)
        axes.plot(bound, place, "|", color=OTHERS[0], ms=14, mew=2.2, zorder=3)
        axes.plot(ratio, place, "o", color=OWN, ms=8, zorder=3)
        axes.annotate(f"{ratio:.3f}", (ratio, place), xytext=(0, 8), textcoords="offset points", color=OWN,
                      ha="center", fontsize=8.5)
    axes.set_yticks(places, names, color=INK)
    axes.set_ylim(-0.6, len(names) - 0.1)
    axes.set_xlim(min(0.94, *bounds) - 0.01, far)
    axes.set_xlabel("makespan / best list schedule", color=INK)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    axes.set_title("Use of the workers", loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.grid(True, axis="x", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130, facecolor="white")
    plt.close(figure)
    return path
