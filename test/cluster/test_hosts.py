"""Server and workers on different hosts, and a network between them that fails."""

from __future__ import annotations

import collections
import json
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from batchsystems import joined_jobs, log_of
from hosts import Host, Network, python, two_hosts
from support import ENVIRONMENT, Project, until

from pipelet.executors.cluster.serverfile import Timings

MAIN = """\
import sys
from pipelet.executors.cluster.serverfile import Timings
from pipelet.launchers import launch_batch
from pipelet.pipeline import Pipeline
import socket
P = Pipeline("a", code_dir=".", prefix="prefix")
P.push(a=range({tasks}))
if sys.argv[1] == "serve":
    w, t = launch_batch(P, 0, address=(socket.gethostname(), 0), timings={timings!r})
    print(w.run())
else:
    print(launch_batch(P, int(sys.argv[1]), "local", server=False)[0])
"""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with two_hosts(tmp_path) as made:
        yield made


def write(project: Project, seconds: float, tasks: int, timings: Timings) -> Path:
    notes = project.root / "begun"
    project.write(
        a=f"""\
        import os, socket, time
        with open({str(notes)!r}, "a") as file:
            file.write(f"{{get_input()}} {{socket.gethostname()}}\\n")
        time.sleep({seconds})
        set_output((get_input(), socket.gethostname()))
        """,
        main=MAIN.format(tasks=tasks, timings=timings),
    )
    return notes


def serve(project: Project, host: Host) -> subprocess.Popen[str]:
    with open(project.root / "told", "w") as told:
        process = host.start(
            *python("main.py", "serve"), cwd=project.root, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=told
        )
    until(lambda: "the server listens at" in (project.root / "told").read_text(), "the server", 60)
    return process


def add(project: Project, host: Host, number: int) -> None:
    done = host.ran(*python("main.py", str(number)), cwd=project.root, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    until(lambda: len(joined_jobs(project.prefix)) >= number, "the workers", 60)


def begun(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


def test_the_hosts_are_two(network: Network) -> None:
    for host in (network.login, network.compute):
        assert host.ran("hostname").stdout == f"{host.name}\n"
    code = f"import socket; print(socket.gethostbyname({network.login.name!r}))"
    assert network.compute.ran(*python("-c", code)).stdout == f"{network.login.address}\n"


def test_a_connection_that_was_cut_for_some_seconds_loses_nothing(network: Network) -> None:
    listening = (
        "import socket\ns = socket.create_server(('', 7000))\nprint('ready', flush=True)\nc, _ = s.accept()\n"
        "print(len(b''.join(iter(lambda: c.recv(65536), b''))))"
    )
    talking = (
        f"import socket, time\nc = socket.create_connection(({network.login.address!r}, 7000))\n"
        "for _ in range(30):\n    c.sendall(b'x' * 1000)\n    time.sleep(0.1)\n"
    )
    server = network.login.start(*python("-c", listening), stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    client = network.compute.start(*python("-c", talking))
    time.sleep(0.5)
    network.cut()
    time.sleep(4)
    assert client.poll() is None or server.poll() is None, "it was not cut"
    network.heal()
    assert client.wait(60) == 0
    assert server.communicate(timeout=60)[0] == "30000\n"


def test_server_and_workers_on_different_hosts(project: Project, network: Network) -> None:
    write(project, 0.1, 30, Timings())
    server = serve(project, network.login)
    assert network.login.address in (project.root / "told").read_text()
    # The prefix is all that the other host shares; a worker can be added from the server's host as well.
    add(project, network.compute, 2)
    out, _ = server.communicate(timeout=100)
    assert server.returncode == 0
    assert "30 tasks done" in out
    assert {host for _, host in project.pipeline("a", {"a": range(30)}).outputs("a")} == {network.compute.name}
    assert f"on {network.compute.name} has joined" in log_of(project.prefix)


def recorded_once(project: Project, tasks: int) -> None:
    records = project.pipeline("a", {"a": range(tasks)}).tasks("a")
    found = collections.Counter(next(iter(task.input.values())) for task in records if task.status == "done")
    assert found == collections.Counter(range(tasks))


def test_a_network_that_is_cut_for_thirty_seconds_costs_nothing(project: Project, network: Network) -> None:
    notes = write(project, 1.0, 60, Timings())
    server = serve(project, network.login)
    add(project, network.compute, 2)
    until(lambda: len(begun(notes)) > 4, "some tasks")
    network.cut()
    time.sleep(30)
    network.heal()
    out, _ = server.communicate(timeout=150)
    assert server.returncode == 0, (project.root / "told").read_text()
    assert "60 tasks done" in out
    recorded_once(project, 60)
    assert len(begun(notes)) == 60, "no task ran twice"
    assert "was lost" not in log_of(project.prefix)


def test_workers_that_were_cut_off_for_too_long_join_again(project: Project, network: Network) -> None:
    timings = Timings(lease=4, silence=12, rejoin=60, status=60, start=60)
    notes = write(project, 0.5, 80, timings)
    server = serve(project, network.login)
    add(project, network.compute, 2)
    until(lambda: len(begun(notes)) > 4, "some tasks")
    network.cut()
    time.sleep(8)
    cut = len(begun(notes))
    time.sleep(4)
    assert len(begun(notes)) == cut, "the lease is over, so nothing runs"
    time.sleep(6)
    network.heal()
    out, _ = server.communicate(timeout=150)
    assert server.returncode == 0, (project.root / "told").read_text()
    assert "80 tasks done" in out
    recorded_once(project, 80)
    # What ran when the network went had to run again, and what was done and could not be told.
    assert len(begun(notes)) <= 80 + 24


# --- who gets in ---------------------------------------------------------------------------------------------------


def listening(host: Host) -> set[str]:
    """Where processes of a host listen, as ``address:port``."""
    told = host.ran("ss", "-Htlnp").stdout.splitlines()
    return {line.split()[3] for line in told if "python" in line}


def test_nothing_listens_where_it_was_not_asked_to(project: Project, network: Network) -> None:
    write(project, 0.5, 40, Timings())
    server = serve(project, network.login)
    add(project, network.compute, 2)
    place = json.loads((project.prefix / ".pipelet" / "server" / "server.json").read_text())
    port = int(place["address"].rpartition(":")[2])
    for host, ports in ((network.login, {port}), (network.compute, None)):
        for address, _, number in (item.rpartition(":") for item in listening(host)):
            assert address in (host.address, "127.0.0.1"), f"{address}:{number} on {host.name}"
            if address == host.address and ports is not None:
                assert int(number) in ports
    # What answers on the loopback says nothing.
    for item in listening(network.login):
        if item.startswith("127."):
            code = f"import urllib.request as u; print(u.urlopen('http://{item}/info/main/workers.html').status)"
            assert "404" in network.login.ran(*python("-c", code)).stderr
    server.communicate(timeout=100)


def test_nobody_gets_in_without_the_credentials(project: Project, network: Network) -> None:
    write(project, 1.0, 30, Timings())
    server = serve(project, network.login)
    add(project, network.compute, 1)
    file = project.prefix / ".pipelet" / "server" / "server.json"
    address = json.loads(file.read_text())["address"]
    host, _, port = address.rpartition("://")[2].rpartition(":")
    intruders = {
        "without TLS": f"Client('tcp://{host}:{port}', timeout=5)",
        "with a certificate of its own": f"Client({address!r}, security=Security.temporary(), timeout=5)",
        "with the certificate that all may see": (
            f"Client({address!r}, timeout=5, security=Security(tls_ca_file=ca, require_encryption=True))"
        ),
        "with that and a key of its own": (
            f"Client({address!r}, timeout=5, security=Security(tls_ca_file=ca, require_encryption=True, "
            "tls_client_cert=own.tls_client_cert, tls_client_key=own.tls_client_key))"
        ),
    }
    seen = (
        "import socket, ssl\nfrom distributed import Client\nfrom distributed.security import Security\n"
        f"own = Security.temporary()\nca = ssl.get_server_certificate(({host!r}, {port}))\n"
    )
    certificate = network.compute.ran(*python("-c", seen + "print(ca)"))
    assert "BEGIN CERTIFICATE" in certificate.stdout, "the server shows who it is, as TLS wants it"
    for name, code in intruders.items():
        done = network.compute.ran(*python("-c", f"{seen}{code}\nprint('in')"))
        assert "in" not in done.stdout.split(), f"an intruder {name} got in"
        assert done.returncode != 0
    known = json.loads(file.read_text())["credentials"]
    let_in = f"{seen}Client({address!r}, timeout=20, security=Security(require_encryption=True, **{known!r}))"
    let_in += "\nprint('in')"
    assert "in" in network.compute.ran(*python("-c", let_in)).stdout.split(), "and this test can tell"
    assert server.poll() is None
    server.communicate(timeout=100)
    assert os.path.exists(project.prefix)
    assert not file.exists()
    assert not re.search(r"BEGIN (RSA )?PRIVATE KEY", log_of(project.prefix))
    assert ssl.OPENSSL_VERSION
    assert socket.gethostname()
