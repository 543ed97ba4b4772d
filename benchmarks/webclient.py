#!/usr/bin/env python3
"""Clients of the web pages, in a process of their own: how long each waits for the first byte of an answer.

    echo '{"host": "localhost", "port": 8080, "cookie": "", "path": "/", "clients": 20, "requests": 99, "every": 1}' |
        python benchmarks/webclient.py

It prints as JSON the seconds of each request, and the statuses. A client asks, waits for all of the answer, and asks
again `every` seconds after it asked before, at once where that is zero. With "until_closed" clients go on until the
standard input ends.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import sys
import threading
import time
from collections import Counter
from typing import Any


class _Load:
    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.seconds: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.bytes = 0
        self.words = ""  #: of an answer that went wrong
        self.ended = threading.Event()
        self._guard = threading.Lock()
        self._left = int(order.get("requests") or 0) or None

    def client(self, number: int) -> None:
        """One client, until its share is done."""
        draw = random.Random(number)
        every = float(self.order["every"])
        host, port = self.order["host"], self.order["port"]
        due = time.perf_counter() + every * draw.random()
        connection: http.client.HTTPConnection | None = None
        while self._may_ask() and not self.ended.wait(max(0.0, due - time.perf_counter())):
            # Not in step with each other, which would be a queue of their own making.
            due = max(due + every * draw.uniform(0.5, 1.5), time.perf_counter())
            try:
                connection = connection or http.client.HTTPConnection(host, port, timeout=60)
                self._ask(connection)
            except (OSError, http.client.HTTPException) as error:
                self._note(None, type(error).__name__, 0)
                connection = None

    def _may_ask(self) -> bool:
        with self._guard:
            if self._left is not None:
                self._left -= 1
                return self._left >= 0
            return True

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        if connection.sock is None:
            connection.connect()
        begun = time.perf_counter()
        connection.request("GET", self.order["path"], headers={"Cookie": self.order["cookie"]})
        answer = connection.getresponse()
        first = answer.read(1)
        taken = time.perf_counter() - begun
        body = first + answer.read()
        if answer.status >= 400:
            shown = body.decode("utf-8", "replace").partition("<main")[2]
            self.words = " ".join(re.sub(r"<[^>]*>", " ", shown).split())
        self._note(taken, str(answer.status), len(body))

    def _note(self, taken: float | None, status: str, size: int) -> None:
        with self._guard:
            self.statuses[status] += 1
            self.bytes = max(self.bytes, size)
            if taken is not None:
                self.seconds.append(taken)


def main() -> int:
    """Do what the first line of the standard input says."""
    load = _Load(json.loads(sys.stdin.readline()))
    clients = [threading.Thread(target=load.client, args=(at,)) for at in range(load.order["clients"])]
    begun = time.perf_counter()
    for client in clients:
        client.start()
    if load.order.get("until_closed"):
        sys.stdin.read()
        load.ended.set()
    for client in clients:
        client.join()
    taken = time.perf_counter() - begun
    found = {"seconds": load.seconds, "statuses": load.statuses, "bytes": load.bytes, "words": load.words}
    json.dump({**found, "taken": taken}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
