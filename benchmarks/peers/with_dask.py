"""W(N) with dask: delayed calls on the scheduler with processes. It keeps nothing, so every run is the first."""

from __future__ import annotations

import sys

import dask

n = int(sys.argv[2])


@dask.delayed
def gen(n):
    return list(range(n))


@dask.delayed
def double(value):
    return 2 * value


@dask.delayed
def incr(value):
    return value + 1


@dask.delayed
def total(values):
    return sum(values)


if __name__ == "__main__":
    with dask.config.set(scheduler="processes", num_workers=2):
        values = gen(n).compute(scheduler="synchronous")
        print(total([incr(double(value)) for value in values]).compute())
