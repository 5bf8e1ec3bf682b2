"""SIGKILL at random moments under load: nothing is lost, nothing is done twice, every match reaches an end."""

from __future__ import annotations

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
both = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


def kill_at_random(load: Load, server: Server, rng: random.Random) -> None:
    """In the middle of some batch: after a random number of answers, and a little later than an answer leaves."""
    load.wait_for_answers(rng.randint(50, 300))
    time.sleep(rng.random() * 0.03)
    server.kill()
    while rng.random() < 0.2:  # and again while it starts, and takes over what it left
        server.start(wait=False)
        time.sleep(rng.random() * 2)
        server.kill()


def kill_and_prove(rig: Rig, receiver: Receiver, seed: int, kills: int) -> None:
    rng = random.Random(seed)
    server = rig.add()
    with Load(rig.nodes, receiver, seed) as load:
        for _ in range(kills):
            kill_at_random(load, server, rng)
            server.start()
        load.wait_for_answers(50)
        load.stop()
        ends = prove(load, server, receiver)
    print(load.watch, dict(ends))
    assert server.stop() == 0
    rig.check_logs()


@both
def test_a_server_that_is_killed(rig: Rig, receiver: Receiver, seed: int) -> None:
    kill_and_prove(rig, receiver, seed, KILLS)


@pytest.mark.soak
@both
def test_a_server_that_is_killed_a_hundred_times(rig: Rig, receiver: Receiver, seed: int) -> None:
    kill_and_prove(rig, receiver, seed, 20 * KILLS)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_one_of_two_nodes_is_killed(rig: Rig, receiver: Receiver, seed: int) -> None:
    """The other goes on, and takes over what the dead one had begun."""
    rng = random.Random(seed)
    rig.add()
    rig.add()
    with Load(rig.nodes, receiver, seed) as load:
        for _ in range(KILLS):
            victim = rng.choice(rig.servers)
            kill_at_random(load, victim, rng)
            load.wait_for_answers(50)
            victim.start()
        load.stop()
        ends = prove(load, rig.servers[0], receiver)
    print(load.watch, dict(ends))
    assert [each.stop() for each in rig.servers] == [0, 0]
    rig.check_logs()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_processes_of_one_server_are_killed(rig: Rig, receiver: Receiver, seed: int) -> None:
    """`--workers 2`: a worker that dies is replaced; workers whose parent dies end by themselves and free the port."""
    rng = random.Random(seed)
    server = rig.add("--workers", "2")
    with Load(rig.nodes, receiver, seed) as load:
        for whom in ("worker", "parent", "all"):
            load.wait_for_answers(rng.randint(50, 300))
            assert server.process is not None
            parent = psutil.Process(server.process.pid)
            workers = [each for each in parent.children() if "spawn_main" in " ".join(each.cmdline())]
            assert len(workers) == 2
            if whom == "worker":
                rng.choice(workers).kill()
                continue
            for victim in workers if whom == "all" else ():
                victim.kill()
            server.kill()
            _, alive = psutil.wait_procs(workers, timeout=30)
            assert not alive, "workers live on without their parent"
            server.start("--workers", "2")
        load.wait_for_answers(50)
        load.stop()
        ends = prove(load, server, receiver)
    print(load.watch, dict(ends))
    assert server.stop() == 0
    rig.check_logs()
