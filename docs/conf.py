"""Settings of the documentation: `make docs` builds it, warnings are errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util.docutils import SphinxDirective

from pipelet._version import __version__

sys.path.insert(0, str(Path(__file__).resolve().parent))
from multiplextable import MultiplexTable

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

project = "Pipelet"
author = "The Pipelet developers"
copyright = "The Pipelet developers"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
# Notebooks are shown with the outputs that they were stored with: see docs/notebooks/execute.py.
nb_execution_mode = "off"
source_suffix = {".rst": "restructuredtext", ".ipynb": "myst-nb"}
root_doc = "index"
exclude_patterns = ["_build"]
nitpicky = False
# names in single backticks become links where there is something of that name
default_role = "py:obj"
highlight_language = "none"
html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"Pipelet {release}"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6e99", "color-brand-content": "#0b6e99"},
    "dark_css_variables": {"color-brand-primary": "#6cc0e5", "color-brand-content": "#6cc0e5"},
}
html_static_path = ["_static"]
html_css_files = ["custom.css"]
# What is copied is what one types: no prompt, no answer.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"
# Browsers draw formulas themselves; nothing is loaded from elsewhere for that.
html_math_renderer = "mathml"
html_show_sourcelink = False
napoleon_google_docstring = False
napoleon_use_ivar = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80

ROOT = Path(__file__).resolve().parents[1]
#: What is typed, and how it is run from this checkout.
COMMANDS = {
    "pipeletd": ["-m", "pipelet.cli.pipeletd"],
    "pipeutils": ["-m", "pipelet.cli.pipeutils"],
    "pipeweb": ["-m", "pipelet.cli.pipeweb"],
    "main.py": [str(ROOT / "pipelet" / "static" / "main.py")],
}


class CommandHelp(SphinxDirective):
    """``.. command-help:: pipeweb track`` shows what that command says with ``--help``, as it is at this moment."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Ask the command."""
        command, *verb = self.arguments[0].split()
        words = [sys.executable, *COMMANDS[command], *verb, "--help"]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "90", "NO_COLOR": "1"}
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise self.error(f"{' '.join(words)} ended with {ended.returncode}: {ended.stderr}")
        self.env.note_reread()
        typed = " ".join([*self.arguments[0].split(), "--help"])
        text = f"$ {typed}\n{ended.stdout.rstrip()}"
        return [nodes.literal_block(text, text, language="none")]


class JobScript(SphinxDirective):
    """``.. job-script:: slurm`` shows the script of a job for that system, as it is at this moment."""

    required_arguments = 1
    option_spec: ClassVar = dict.fromkeys(
        ("cores", "memory", "walltime", "queue", "project", "resource_spec", "header"), str
    )

    def run(self) -> list[nodes.Node]:
        """Make a script as for somebody's pipeline, and not for the one who writes this."""
        from pipelet.executors.cluster.options import JobOptions
        from pipelet.executors.cluster.submitter import Submitter

        said = dict(self.options)
        options = JobOptions(
            self.arguments[0], cores=int(said.pop("cores", 1)), job_header=said.pop("header", ""), job_name="fields",
            python="/home/ada/env/bin/python", **said,
        )
        script = Submitter("/data/ada/fields/.pipelet", "").script(options, "fields-3f8a21c7")
        script = "\n".join(line for line in script.splitlines() if not line.startswith("export PYTHONPATH="))
        return [nodes.literal_block(script, script, language="bash")]


def without_aliases(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Fields of named tuples that nobody has described say nothing, rather than that they are fields."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()


def mathml(tex: str, as_block: bool) -> str:
    """Turn a formula into MathML. Without the empty pair docutils would put an index below an accented letter."""
    converted: str = tex2mathml(re.sub(r"\\(?:tilde|hat) \w", r"{\g<0>{}}", tex), as_block=as_block)
    return converted


def formula(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a line as MathML."""
    translator.body.append(mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def formula_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula that stands alone."""
    translator.body.append(f'<div class="math">{mathml(node.astext(), as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Add the directives and the formulas, and look at each docstring."""
    app.add_html_math_renderer("mathml", (formula, None), (formula_block, None))
    app.add_directive("command-help", CommandHelp)
    app.add_directive("job-script", JobScript)
    app.add_directive("multiplex-table", MultiplexTable)
    app.connect("autodoc-process-docstring", without_aliases)
