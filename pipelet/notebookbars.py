"""The progress bars of a notebook: one output of the cell, drawn anew while the run goes on.

It is HTML and text, and no widget: what stands there at the end is saved with the notebook, and shows on pages that run
no scripts and strip all styles.
"""

from __future__ import annotations

import html
import importlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pipelet.bars import Bars, Display, Pace, numbers, unwanted
from pipelet.drawing import STATUS_STYLES
from pipelet.progress import SegmentProgress
from pipelet.tables import text_table

#: So many segments have a line; of the others there is a sum.
_MOST_LINES = 30
#: Seconds between two drawings: what is shown is sent to the browser each time.
_PAUSE = 0.2
#: What fills a bar, from the left: a number of `SegmentProgress`, and its colour.
_PARTS = (
    ("done", STATUS_STYLES["done"].line),
    ("reused", "#8fd3bd"),
    ("failed", STATUS_STYLES["failed"].line),
)
_TRACK = "width:14em;height:0.7em;border-radius:0.2em;overflow:hidden;background:rgba(128,128,128,0.25)"
_CELL = "text-align:left;padding:0.1em 0.6em"

#: Shows a bundle of representations; gives what shows another one in its place.
Shower = Callable[[dict[str, str]], Callable[[dict[str, str]], None]]


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def open_bars() -> Display:
    """Make the bars that suit this process: those of a notebook, or those of a terminal."""
    return NotebookBars() if in_notebook() else Bars()


class NotebookBars:
    """Progress bars in a notebook, one for each segment that has begun.

    Parameters
    ----------
    shower
        Shows things; that of the notebook unless given.
    enabled
        None finds out; True and False decide. Messages are printed in any case.
    clock
        Gives seconds.
    """

    def __init__(
        self,
        shower: Shower | None = None,
        enabled: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shower = shower or _show_in_cell
        self._clock = clock
        self._pace = Pace(clock)
        self._lock = threading.RLock()
        self._again: Callable[[dict[str, str]], None] | None = None
        self._drawn: dict[str, str] = {}
        self._when = 0.0
        self._last: Sequence[SegmentProgress] = ()
        #: What is said of segments that have ended, so that their times stand still.
        self._ended: dict[str, tuple[SegmentProgress, str]] = {}
        self.enabled = not unwanted() if enabled is None else enabled

    def show(self, snapshot: Sequence[SegmentProgress]) -> None:
        """Draw the newest state; call it as often as wanted."""
        with self._lock:
            if not self.enabled:
                return
            self._last = [item for item in snapshot if item.total and (item.running or item.ended)]
            for item in self._last:
                self._pace.note(item)
                if item.finished and self._ended.get(item.segment, (None,))[0] != item:
                    self._ended[item.segment] = item, self._pace.ended(item)
            if self._again is None or self._clock() - self._when >= _PAUSE:
                self._draw(over=False)

    def write(self, text: str) -> None:
        """Print a message."""
        # A notebook paints the standard error red.
        print(text, flush=True)

    def close(self) -> None:
        """Draw what was reached for the last time."""
        with self._lock:
            if self.enabled:
                self._draw(over=True)
            self.enabled = False

    def _draw(self, over: bool) -> None:
        if not self._last:
            return
        shown = self._chosen()
        words = [self._words(item, over) for item in shown]
        left = [item for item in self._last if item not in shown]
        bundle = {"text/html": _html(shown, words, left), "text/plain": _text(shown, words, left)}
        if bundle == self._drawn:
            return
        if self._again is None:
            self._again = self._shower(bundle)
        else:
            self._again(bundle)
        self._drawn, self._when = bundle, self._clock()

    def _chosen(self) -> Sequence[SegmentProgress]:
        """The segments that have a line: if there are too many, those that need most attention."""
        if len(self._last) <= _MOST_LINES:
            return self._last
        attention = sorted(self._last, key=lambda item: (not item.failed, item.finished, not item.done))
        chosen = {item.segment for item in attention[:_MOST_LINES] if item.done or item.failed or not item.finished}
        return [item for item in self._last if item.segment in chosen]

    def _words(self, item: SegmentProgress, over: bool) -> str:
        ended = self._ended.get(item.segment)
        if ended is not None and ended[0] == item:
            return ended[1]
        return ", ".join(numbers(item)) if over else self._pace.at_work(item)


def _show_in_cell(bundle: dict[str, str]) -> Callable[[dict[str, str]], None]:
    # Only a notebook comes here, and so IPython is there.
    display: Any = importlib.import_module("IPython.display").display
    handle = display(bundle, raw=True, display_id=True)
    return lambda newer: handle.update(newer, raw=True)


def _of_all(item: SegmentProgress) -> str:
    return f"{item.ended}/{item.total}{'+' if item.growing else ''}"


def _rest(left: Sequence[SegmentProgress]) -> str:
    total = SegmentProgress(
        "", None, done=sum(item.done for item in left), reused=sum(item.reused for item in left),
        failed=sum(item.failed for item in left),
    )
    return f"and {len(left)} more segments: {', '.join(numbers(total)) or 'at work'}"


def _text(shown: Sequence[SegmentProgress], words: Sequence[str], left: Sequence[SegmentProgress]) -> str:
    rows = [(item.segment, _of_all(item), said) for item, said in zip(shown, words, strict=True)]
    lines = text_table(rows[0], rows[1:], len(rows)).splitlines() if rows else []
    return "\n".join([*lines, *([_rest(left)] if left else [])])


def _html(shown: Sequence[SegmentProgress], words: Sequence[str], left: Sequence[SegmentProgress]) -> str:
    rows = []
    for item, said in zip(shown, words, strict=True):
        cells = (html.escape(item.segment), _bar(item), _of_all(item), html.escape(said))
        rows.append(f"<tr>{''.join(f'<td style={_quoted(_CELL)}>{cell}</td>' for cell in cells)}</tr>")
    table = f"<table>{''.join(rows)}</table>" if rows else ""
    return f"<div>{table}{f'<p>{_rest(left)}</p>' if left else ''}</div>"


def _bar(item: SegmentProgress) -> str:
    pieces = []
    for name, colour in _PARTS:
        share = 100 * getattr(item, name) / max(item.total or 0, item.ended, 1)
        if share:
            style = f"float:left;height:100%;width:{share:.4g}%;background:{colour}"
            pieces.append(f"<div style={_quoted(style)}></div>")
    return f"<div style={_quoted(_TRACK)}>{''.join(pieces)}</div>"


def _quoted(style: str) -> str:
    return f'"{style}"'
