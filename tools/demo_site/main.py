#!/usr/bin/env python3
"""The pipeline of the demonstration: random skies through three detectors, and their power spectra."""

import sys

from pipelet.launchers import launch_process
from pipelet.pipeline import Pipeline

PIPEDOT = """
theory -> sky -> observe;
instrument -> observe;
observe -> spectrum -> average -> poster;
"""


def main(code_dir, prefix, processes):
    # With partial, the averages take the spectra that there are when one of them has failed.
    P = Pipeline(PIPEDOT, code_dir=code_dir, prefix=prefix, partial=True, durability="process")
    P.push(instrument=[100, 143, 217])
    w, _ = launch_process(P, processes, log_level=0)
    print(w.run())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
