"""W(N) with joblib.Memory: each call is kept on disk, `Parallel` shares the calls among two processes."""

from __future__ import annotations

import sys

from joblib import Memory, Parallel, delayed

directory, n = sys.argv[1], int(sys.argv[2])
memory = Memory(directory, verbose=0)


@memory.cache
def gen(n: int) -> list[int]:
    return list(range(n))


@memory.cache
def double(value: int) -> int:
    return 2 * value


@memory.cache
def incr(value: int) -> int:
    return value + 1


@memory.cache
def total(values: list[int]) -> int:
    return sum(values)


if __name__ == "__main__":
    with Parallel(n_jobs=2) as parallel:
        doubled = parallel(delayed(double)(value) for value in gen(n))
        print(total(parallel(delayed(incr)(value) for value in doubled)))
