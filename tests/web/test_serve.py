"""`oklp serve` before its first request and after its last: who may start, where it listens, how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from oklp.storage import schema
from oklp.storage.engine import connectable
from oklp.storage.presence import announce
from tests.crash.database import await_servers, rows
from tests.harness import Server, free_port, run_cli, serving

KEY = "k" * 40
TOKEN = "/auth/realms/oklp/protocol/openid-connect/token"
CERTS = "/auth/realms/oklp/protocol/openid-connect/certs"


def production(server: Server, **env: str) -> dict[str, str]:
    return {**server.env, "OKLP_SANDBOX": "0", "OKLP_SECRET_KEY": KEY, **env}


def refusal(env: dict[str, str], *arguments: str) -> str:
    """What a command that must be refused says: a single line."""
    done = run_cli(env, *arguments, check=False)
    assert done.returncode == 1, (arguments, done.stdout, done.stderr)
    assert done.stderr.startswith("oklp: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


# --- who may start ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_a_key_that_does_not_fit_is_told_before_the_start(
    postgres_url: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    server = Server(postgres_url, tmp_path)
    run_cli(production(server), "migrate")
    run_cli(production(server), "keys", "rotate")
    wrong = production(server, OKLP_SECRET_KEY="w" * 40)
    assert "OKLP_SECRET_KEY does not fit" in refusal(wrong, "serve", "--port", str(server.port), *options)


def test_a_lost_key_is_replaced_when_that_is_asked_for(sqlite_url: str, tmp_path: Path) -> None:
    env = production(Server(sqlite_url, tmp_path))
    run_cli(env, "migrate")
    run_cli(env, "keys", "rotate")
    new = production(Server(sqlite_url, tmp_path), OKLP_SECRET_KEY="w" * 40)
    replace = ("keys", "replace", "--reason", "the disk with it is gone", "--yes")
    with contextlib.closing(announce(sqlite_url)):
        assert "Another server" in refusal(new, *replace)
    assert "Replaced: signing keys." in run_cli(new, *replace).stdout
    run_cli(new, "keys", "rotate")
    assert "nothing is lost" in refusal(new, *replace)
    assert "does not fit" in refusal(env, "keys", "rotate")


def test_production_wants_a_long_key(sqlite_url: str, tmp_path: Path) -> None:
    env = production(Server(sqlite_url, tmp_path))
    run_cli(env, "migrate")
    said = refusal({**env, "OKLP_SECRET_KEY": "x" * 31}, "serve", "--port", str(free_port()))
    assert "OKLP_SECRET_KEY" in said
    assert "32" in said


def test_production_has_no_provider_that_makes_money(migrated_url: str, tmp_path: Path) -> None:
    server = Server(migrated_url, tmp_path)
    env = production(server, OKLP_PAYMENT_PROVIDER="sandbox")
    assert "OKLP_PAYMENT_PROVIDER" in refusal(env, "serve", "--port", str(server.port))


def test_a_second_server_does_not_take_the_keys_of_the_first(postgres_url: str, tmp_path: Path) -> None:
    """Each sandbox makes a key in its own data folder, and only one of them fits the database."""
    (temporary := tmp_path / "temporary").mkdir()
    first = Server(postgres_url, tmp_path / "first", more_env={"TMPDIR": str(temporary)})
    second = Server(postgres_url, tmp_path / "second")
    try:
        first.start("--workers", "2")
        game = first.register("http://127.0.0.1:9/")
        secrets = rows(postgres_url, "SELECT kid, private_key FROM signing_keys")
        said = refusal(second.env, "serve", "--port", str(second.port))
        assert str(tmp_path / "second" / "secret.key") in said
        assert rows(postgres_url, "SELECT kid, private_key FROM signing_keys") == secrets
        assert first.studio.get(f"/games/{game.client_id}").status_code == 200
        assert list(temporary.glob("oklp-metrics-*"))
        assert first.stop() == 0
        assert not list(temporary.iterdir())
        await_servers(postgres_url, 0)
        second.start()
        assert rows(postgres_url, "SELECT kid FROM signing_keys") != [(kid,) for kid, _ in secrets]
        # Now the first is the one that does not fit.
        assert str(tmp_path / "first" / "secret.key") in refusal(first.env, "serve", "--port", str(first.port))
    finally:
        first.stop()
        second.stop()


def test_a_server_lets_go_of_a_retired_key_when_its_time_is_over(migrated_url: str, tmp_path: Path) -> None:
    with serving(migrated_url, tmp_path) as server:

        def known() -> set[str]:
            return {key["kid"] for key in httpx.get(server.url + CERTS).json()["keys"]}

        def until(kids: set[str]) -> None:
            give_up_at = time.monotonic() + 30
            while known() != kids:
                assert time.monotonic() < give_up_at
                time.sleep(0.1)

        [first] = known()
        server.cli("keys", "rotate")
        engine = connectable(migrated_url)
        with engine.begin() as connection:
            # Else it would take minutes; the server reads it with the next rotation.
            soon = int(time.time() * 1000) + 4_000
            connection.execute(
                schema.signing_keys.update().where(schema.signing_keys.c.kid == first), {"expires_at": soon}
            )
        engine.dispose()
        server.cli("keys", "rotate")
        second, third = [kid for (kid,) in rows(migrated_url, "SELECT kid FROM signing_keys") if kid != first]
        until({second, third})


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_cannot_start_ends_with_an_error(tmp_path: Path, workers: int) -> None:
    """What no check has foreseen shows in the processes alone, and must reach whoever started them."""
    (tmp_path / "broken.py").write_text(
        "import contextlib\n"
        "from starlette.applications import Starlette\n"
        "@contextlib.asynccontextmanager\n"
        "async def lifespan(app):\n"
        "    raise RuntimeError('broken')\n"
        "    yield\n"
        "def app(): return Starlette(lifespan=lifespan)\n"
    )
    (tmp_path / "main.py").write_text(
        "import sys, broken\n"
        "if __name__ == '__main__':\n"  # which its workers are not: they would load all of it too
        "    from oklp import serving\n"
        "    from oklp.settings import Settings\n"
        "    sockets = serving.bind('127.0.0.1', 0)\n"
        "    serving.listen(sockets)\n"
        f"    app = broken.app if {workers} == 1 else 'broken:app'\n"
        f"    sys.exit(serving.run(app, Settings(sandbox=True), sockets, {workers}))\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "broken" in done.stderr
    assert done.returncode == 3


# --- where it listens ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def on_any_port(env: dict[str, str]) -> Iterator[str]:
    """`oklp serve --port 0`; gives the address that it says it listens at."""
    process = subprocess.Popen(
        [sys.executable, "-m", "oklp.cli", "serve", "--port", "0"], env=env, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        lines: Iterator[dict[str, Any]] = (json.loads(line) for line in process.stderr if line.startswith("{"))
        yield next(line["url"] for line in lines if line["event"] == "listening")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_port_that_the_system_chose_is_known_to_games(sqlite_url: str, tmp_path: Path) -> None:
    env = Server(sqlite_url, tmp_path).env
    del env["OKLP_PUBLIC_URL"]
    out = tmp_path / "config.json"
    with on_any_port(env) as url:
        # Whoever connects from now on waits for the answer; nobody is refused.
        assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200
        run_cli(env, "game", "register", "--name", "Any port", "--discovery", "pull", "--out", str(out))
        config = json.loads(out.read_text())
        assert config["okletsplay_url"] == url
        assert httpx.get(config["authentication"]["public_key_url"]).status_code == 200


def test_a_port_in_use_is_told_in_a_line(sqlite_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refusal(Server(sqlite_url, tmp_path).env, "serve", "--port", port)
    assert port in said
    assert "address already in use" in said.lower()
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists(), "nothing is touched before there is a port"


# --- how it ends -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def half_a_request(server: Server, path: str, kind: str) -> Iterator[socket.socket]:
    """A request whose body the server waits for; it has said so."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/{kind}\r\nExpect: 100-continue\r\n"
        connection.sendall(f"{head}Content-Length: 10\r\n\r\n".encode())
        assert connection.recv(1_000).startswith(b"HTTP/1.1 100")
        yield connection


def test_what_outlasts_the_drain_is_answered(sqlite_url: str, tmp_path: Path) -> None:
    with serving(sqlite_url, tmp_path, OKLP_DRAIN_SECONDS="2") as server:
        with (
            half_a_request(server, TOKEN, "x-www-form-urlencoded") as short,
            half_a_request(server, "/api/player/v1/sessions", "json") as long,
        ):
            assert server.process is not None
            server.process.terminate()
            for connection, code in ((short, b"temporarily_unavailable"), (long, b"urn:oklp:error:unavailable")):
                answer = b"".join(iter(lambda: connection.recv(10_000), b""))
                assert answer.startswith(b"HTTP/1.1 503"), answer
                assert b"retry-after: 2" in answer.lower()
                assert code in answer, answer
        assert server.stop() == 0
        text = server.log.read_text()
    assert "Traceback" not in text, text[-3_000:]
    assert "Exception in ASGI" not in text
