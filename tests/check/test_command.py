"""`oklp check` as a studio and its pipeline meet it: a process, its status, its files, and nothing left behind."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest
from typer.testing import CliRunner

from oklp.check.catalogue import CHECKS
from oklp.check.report import Report
from oklp.cli import app
from oklp.contract import DeveloperConfig
from tests.check.conftest import BROKEN, ended, oklp_check
from tests.harness import free_port


def broken_game(name: str, port: int) -> list[str]:
    """The arguments for one variant of the broken game, started by the check."""
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(BROKEN), "--config", "{config}", "--own-name", name, "--port", str(port)]
    return [
        f"{url}/{name}/oklp/match",
        *("--browser-url", f"{url}/{name}/play?token={{match-token}}"),
        *("--start-command", shlex.join(command), "--ready-url", f"{url}/healthz"),
    ]


def test_a_server_that_is_up_already_is_known_again_in_a_kept_folder(tmp_path: Path) -> None:
    """The first run writes the configuration; a server that has it passes for as long as the folder is kept."""
    config = tmp_path / "game" / "developer-config.json"
    port = free_port()
    game = broken_game("webhook.no-token", port)
    kept = ["--data", "kept", "--platform-port", str(free_port()), "--write-config", str(config)]
    status, out, err = ended(*game, *kept, cwd=tmp_path)
    assert status == 1, out + err
    assert "✗ webhook.no-token" in out
    assert config.stat().st_mode & 0o077 == 0
    written = config.read_text()

    command = shlex.split(game[game.index("--start-command") + 1].replace("{config}", str(config)))
    server = subprocess.Popen(command)
    try:
        status, out, err = ended(*game[:3], *kept, "--ready-url", f"http://127.0.0.1:{port}/healthz", cwd=tmp_path)
    finally:
        server.terminate()
        server.wait(30)
    assert status == 1, out + err
    assert "1 failed" in out
    assert "✗ webhook.no-token" in out
    assert config.read_text() == written


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1:9000/match", "ftp://127.0.0.1/", "http://127.0.0.1:99999/", "http://[::1", "http://a..b/"],
)
def test_what_is_no_address_is_told_at_once(address: str) -> None:
    """An empty one, above all: a variable that nobody set must not have the built-in game pass in the place of one's
    own.
    """
    for arguments in ([address], ["http://127.0.0.1:9/", "--ready-url", address or "nonsense"]):
        ended_with = CliRunner().invoke(app, ["check", *arguments])
        assert (ended_with.exit_code, "no address" in " ".join(ended_with.stderr.split())) == (2, True)


def test_the_built_in_game_and_another_are_not_checked_at_once() -> None:
    assert CliRunner().invoke(app, ["check", "--builtin", "http://127.0.0.1:9/"]).exit_code == 2


def test_a_game_that_is_not_there_is_status_2(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/oklp/match"
    restart = ["--restart-command", "cp {config} seen.json"]
    status, out, err = ended(url, *restart, "--ready-seconds", "1", "--json", "report.json", cwd=tmp_path)
    assert status == 2
    assert "does not answer" in err
    assert out == ""
    assert not (tmp_path / "report.json").exists()
    assert DeveloperConfig.model_validate_json((tmp_path / "seen.json").read_bytes()).authentication.client_secret


def test_a_template_that_the_platform_refuses_is_a_failed_check(tmp_path: Path) -> None:
    """Nothing else can be seen then: not even the server is started."""
    status, out, err = ended(
        *("http://127.0.0.1:1/match", "--browser-url", "http://127.0.0.1:1/?t={match-token}&u={match-token}"),
        *("--start-command", "touch started", "--junit", "report.xml"),
        cwd=tmp_path,
    )
    assert status == 1, out + err
    assert "✗ launch.template" in out
    assert 'failures="1"' in (tmp_path / "report.xml").read_text()
    assert not (tmp_path / "started").exists()


def test_a_game_server_that_ends_is_shown_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such option')"]
    url = f"http://127.0.0.1:{free_port()}/oklp/match"
    status, _, err = ended(url, "--start-command", shlex.join(command), cwd=tmp_path)
    assert status == 2
    assert "ended with status 1" in err
    assert "no such option" in err


def test_the_built_in_game_passes_and_nothing_is_left_when_it_is_told_to_stop(tmp_path: Path) -> None:
    files = ["--json", "out/report.json", "--junit", "out/report.xml", "--html", "out/report.html"]
    status, out, err = ended("--builtin", "--strict", *files, cwd=tmp_path)
    assert status == 0, out + err
    report = Report.model_validate_json((tmp_path / "out" / "report.json").read_bytes())
    assert {result.verdict for result in report.results} == {"pass"}
    assert f"{len(CHECKS)} passed" in out
    suite = ElementTree.parse(tmp_path / "out" / "report.xml").getroot().find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "0"
    assert len(suite.findall("testcase")) == len(CHECKS)
    assert "Nothing failed" in (tmp_path / "out" / "report.html").read_text()
    with oklp_check(cwd=tmp_path) as process:
        assert process.stderr is not None
        while "a first match" not in process.stderr.readline():
            assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 2
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
