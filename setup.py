"""`python setup.py install` for those who are used to it; everything else is in pyproject.toml.

A new virtual environment may hold no setuptools, and the install command of setuptools brings no dependencies. So the
command is handed to pip, together with its options (`--user`, `--prefix`, `--root` mean the same there).
"""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def install_by_pip(options):
    """Install this directory with the pip of this Python, and give its exit status."""
    command = [sys.executable, "-m", "pip", "install", *options, HERE]
    print("setup.py install: running", " ".join(command), flush=True)
    status = subprocess.call(command)
    if status:
        print("setup.py install: it failed; if pip is missing: python -m ensurepip", file=sys.stderr)
    return status


if __name__ == "__main__" and sys.argv[1:2] == ["install"]:
    sys.exit(install_by_pip(sys.argv[2:]))

# imported late, since the command above must work without it
from setuptools import setup  # noqa: E402

setup()
