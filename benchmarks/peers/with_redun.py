"""W(N) with redun: a lazy expression, all calls and values in an SQLite database, the local executor with two threads.

Its executor with processes costs more. With ``check_valid="shallow"`` a call whose result is known is not followed
further down, which is what makes a second run quick.
"""

from __future__ import annotations

import logging
import os
import sys

from redun import Scheduler, task
from redun.config import Config

redun_namespace = "bench"


@task(check_valid="shallow")
def gen(n: int) -> list[int]:
    return list(range(n))


@task(check_valid="shallow")
def double(value: int) -> int:
    return 2 * value


@task(check_valid="shallow")
def incr(value: int) -> int:
    return value + 1


@task(check_valid="shallow")
def total(values: list[int]) -> int:
    return sum(values)


@task(check_valid="shallow")
def chains(values: list[int]) -> int:
    return total([incr(double(value)) for value in values])


@task(check_valid="shallow")
def main(n: int) -> int:
    return chains(gen(n))


if __name__ == "__main__":
    directory, n = sys.argv[1], int(sys.argv[2])
    os.makedirs(directory, exist_ok=True)
    logging.getLogger("redun").setLevel(logging.ERROR)
    config = Config(
        {
            "backend": {"db_uri": f"sqlite:///{directory}/redun.db"},
            "executors.default": {"type": "local", "mode": "thread", "max_workers": "2"},
        }
    )
    scheduler = Scheduler(config=config)
    scheduler.load()
    print(scheduler.run(main(n)))
