"""W(N) with Snakemake: shell rules of one line, two cores, the greedy scheduler, time stamps decide."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SNAKEFILE = """
N = int(config["count"])

rule total:
    input: expand("incr/{i}", i=range(N))
    output: "total"
    run:
        with open(output[0], "w") as file:
            file.write(str(sum(int(open(name).read()) for name in input)))

rule double:
    output: "double/{i}"
    shell: "echo $((2 * {wildcards.i})) > {output}"

rule incr:
    input: "double/{i}"
    output: "incr/{i}"
    shell: "read x < {input}; echo $((x + 1)) > {output}"
"""

directory, n = sys.argv[1], int(sys.argv[2])

if __name__ == "__main__":
    os.makedirs(directory, exist_ok=True)
    Path(directory, "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--scheduler", "greedy", "--quiet", "all"]
    command += ["--rerun-triggers", "mtime", "input", "--config", f"count={n}"]
    status = subprocess.call(command, cwd=directory)
    print(Path(directory, "total").read_text())
    sys.exit(status)
