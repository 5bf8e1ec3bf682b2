"""SIGKILL at random moments under load: nothing is lost, nothing is done twice, every match reaches an end."""

from __future__ import annotations

import contextlib
import os
import random
import time

import psutil
import pytest

from tests.crash.conftest import Rig
from tests.crash.load import Load
from tests.crash.proof import prove
from tests.crash.receiver import Receiver
from tests.harness import Server

KILLS = int(os.environ.get("OKLP_TEST_KILLS") or 5)
KILLS_OF_NODES = max(KILLS // 2, 1)  # each is of one or of both, and takes as long as two
SOAK = 20

sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
postgres = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def kill_and_prove(rig: Rig, receiver: Receiver, seed: int, kills: int) -> None:
    """Kill in the middle of some batch: after a random number of answers, and a little later than one leaves."""
    rng = random.Random(seed)
    with Load(rig.nodes, receiver, seed) as load:
        for _ in range(kills):
            load.wait_for_answers(rng.randint(50, 300))
            # Of several nodes mostly one, which the others must do without and tidy up after.
            victims = [rng.choice(rig.servers)] if rng.random() < 0.7 else rig.servers
            time.sleep(rng.random() * 0.03)
            for victim in victims:
                victim.kill()
            if rng.random() < 0.2:  # and again while it starts, and takes over what it left
                victims[0].start(wait=False)
                time.sleep(rng.random() * 2)
                victims[0].kill()
            for victim in victims:
                victim.start(wait=False)
            for victim in victims:
                victim.await_ready()
        load.wait_for_answers(50)
        load.stop()
        ends = prove(load, rig.servers[0], receiver)
    print(load.watch, dict(ends))
    assert [each.stop() for each in rig.servers] == [0] * len(rig.servers)
    rig.check_logs()


@sqlite
def test_a_server(rig: Rig, receiver: Receiver, seed: int) -> None:
    rig.add()
    kill_and_prove(rig, receiver, seed, KILLS)


@postgres
def test_two_nodes(rig: Rig, receiver: Receiver, seed: int) -> None:
    rig.add(wait=False)
    rig.add()
    kill_and_prove(rig, receiver, seed, KILLS_OF_NODES)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("database", "nodes"), [("sqlite", 1), ("postgresql", 1), ("postgresql", 2)], indirect=["database"]
)
def test_a_hundred_times(rig: Rig, receiver: Receiver, seed: int, nodes: int) -> None:
    for _ in range(nodes):
        rig.add()
    kill_and_prove(rig, receiver, seed, SOAK * KILLS)


def workers_of(server: Server) -> set[psutil.Process]:
    assert server.process is not None
    found = set()
    for child in psutil.Process(server.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # or a zombie, which is one of them
            if "spawn_main" in " ".join(child.cmdline()):
                found.add(child)
    return found


@postgres
def test_processes_of_one_server(rig: Rig, receiver: Receiver, seed: int) -> None:
    """`--workers 2`: a worker that dies is replaced; workers whose parent dies end by themselves and free the port."""
    rng = random.Random(seed)
    server = rig.add("--workers", "2")
    with Load(rig.nodes, receiver, seed) as load:
        load.wait_for_answers(rng.randint(50, 200))
        workers = workers_of(server)
        assert len(workers) == 2
        victim = rng.choice(sorted(workers, key=lambda each: each.pid))
        victim.kill()
        while len(workers := workers_of(server)) < 2 or victim in workers:
            load.wait_for_answers(10)
        load.wait_for_answers(rng.randint(50, 200))
        server.kill()
        _, alive = psutil.wait_procs(list(workers), timeout=60)
        assert not alive, "workers live on without their parent"
        server.start("--workers", "2")
        load.wait_for_answers(50)
        load.stop()
        ends = prove(load, server, receiver)
    print(load.watch, dict(ends))
    assert server.stop() == 0
    rig.check_logs()
