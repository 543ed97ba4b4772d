"""W(N) with luigi: a task is complete when its file is there; two workers, the scheduler in the same process."""

from __future__ import annotations

import os
import sys

import luigi

directory, n = sys.argv[1], int(sys.argv[2])


class Double(luigi.Task):
    value = luigi.IntParameter()

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(f"double/{self.value}")

    def run(self) -> None:
        with self.output().open("w") as file:
            file.write(str(2 * self.value))


class Incr(luigi.Task):
    value = luigi.IntParameter()

    def requires(self) -> luigi.Task:
        return Double(self.value)

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(f"incr/{self.value}")

    def run(self) -> None:
        with self.input().open() as file:
            value = int(file.read())
        with self.output().open("w") as file:
            file.write(str(value + 1))


class Total(luigi.Task):
    n = luigi.IntParameter()

    def requires(self) -> list[luigi.Task]:
        return [Incr(value) for value in range(self.n)]

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(f"total-{self.n}")

    def run(self) -> None:
        total = 0
        for target in self.input():
            with target.open() as file:
                total += int(file.read())
        with self.output().open("w") as file:
            file.write(str(total))


if __name__ == "__main__":
    os.makedirs(directory, exist_ok=True)
    os.chdir(directory)
    well = luigi.build([Total(n)], local_scheduler=True, workers=2, log_level="ERROR")
    with open(f"total-{n}", encoding="utf-8") as file:
        print(file.read())
    sys.exit(not well)
