"""W(N) with GNU make: static pattern rules, arithmetic of the shell, two jobs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

MAKEFILE = """\
VALUES := $(shell seq 0 $$(( $(N) - 1 )))
DOUBLE := $(addprefix double/,$(VALUES))
INCR := $(addprefix incr/,$(VALUES))
MAKEFLAGS += -rR

total: $(INCR)
\t$(file >$@.files,$^)
\t@tr ' ' '\\n' < $@.files | xargs cat | awk '{ s += $$1 } END { printf "%.0f", s }' > $@

$(DOUBLE): double/%:
\t@echo $$((2 * $*)) > $@

$(INCR): incr/%: double/%
\t@read x < $<; echo $$((x + 1)) > $@
"""

directory, n = sys.argv[1], int(sys.argv[2])

if __name__ == "__main__":
    for name in ("double", "incr"):
        os.makedirs(os.path.join(directory, name), exist_ok=True)
    Path(directory, "Makefile").write_text(MAKEFILE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    status = subprocess.call(["make", "-s", "-j2", f"N={n}"], cwd=directory, env=environment)
    print(Path(directory, "total").read_text())
    sys.exit(status)
