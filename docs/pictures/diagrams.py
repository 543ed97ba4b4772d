"""The diagrams of the explanations."""

from __future__ import annotations

from pathlib import Path

from docs.pictures.graphs import drawn

_STYLE = """
    graph [bgcolor="transparent", pad="0.15", nodesep="0.3", ranksep="0.4", fontname="Helvetica,Arial,sans-serif"];
    node [shape="box", style="rounded,filled", color="#7d8aa0", fillcolor="#f4f6fa", fontcolor="#1b2533",
          fontname="Helvetica,Arial,sans-serif", fontsize="12", penwidth="1.4", margin="0.16,0.08"];
    edge [color="#7d8aa0", penwidth="1.2", arrowsize="0.7", fontname="Helvetica,Arial,sans-serif", fontsize="10",
          fontcolor="#6f7b8c"];
"""
_DIAGRAMS = {
    # what a key is made of
    "key": """
        rankdir="TB";
        code [label="code of melt.py,\\nwithout comments and layout"];
        hooks [label="code of its hooks"];
        directive [label="#multiplex"];
        depends [label="files of #depend"];
        parents [label="names and keys\\nof the parents"];
        key [label="key of melt", fillcolor="#dcecf4", color="#0b6e99"];
        name [label="melt_ODVWUI", shape="folder", style="filled"];
        {code hooks directive depends parents} -> key -> name;
    """,
    # what is written in which order
    "done": """
        rankdir="LR";
        products [label="products\\nin data/"];
        journal [label="journal\\nof the instance"];
        database [label="status\\ndatabase"];
        children [label="children\\nbegin"];
        products -> journal [label="the task ends"];
        journal -> database [label="done"];
        database -> children;
    """,
}


def make(target: Path, scratch: Path) -> None:
    """Write the SVG files."""
    for name, graph in _DIAGRAMS.items():
        (scratch / f"{name}.dot").write_text(f"digraph {name} {{{_STYLE}{graph}}}")
        drawn(scratch / f"{name}.dot", target / f"{name}.svg")
