"""W(N) with parsl: apps that are cached and checkpointed, executed by two workers of the high-throughput executor."""

from __future__ import annotations

import os
import sys

import parsl
from parsl import python_app
from parsl.config import Config
from parsl.dataflow.memoization import BasicMemoizer
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

directory, n = sys.argv[1], int(sys.argv[2])


# What apps need goes to the workers with them, as parsl wants it: they refer to nothing outside.
@python_app(cache=True)
def gen(n):
    return list(range(n))


@python_app(cache=True)
def double(value):
    return 2 * value


@python_app(cache=True)
def incr(value):
    return value + 1


@python_app(cache=True)
def total(inputs=()):
    return sum(inputs)


if __name__ == "__main__":
    # its own programs are looked for on the path
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    os.makedirs(directory, exist_ok=True)
    os.chdir(directory)
    executor = HighThroughputExecutor(
        label="local", address="127.0.0.1", max_workers_per_node=2, cores_per_worker=0.5,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    config = Config(
        executors=[executor],
        memoizer=BasicMemoizer(checkpoint_mode="dfk_exit"),  # takes up what earlier runs kept
        run_dir="runinfo",
        strategy="none",
        initialize_logging=False,
        usage_tracking=0,
    )
    with parsl.load(config):
        values = gen(n).result()
        # Futures are passed on as they are, so the chains run without a barrier; those in ``inputs`` are waited for.
        print(total(inputs=[incr(double(value)) for value in values]).result())
