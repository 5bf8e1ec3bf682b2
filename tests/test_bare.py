"""What a bare install says of what it has not: no command of the server runs in it, and one of the kit does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def bare(*arguments: str, at: Path) -> subprocess.CompletedProcess[str]:
    """`oklp` where Typer, the first thing that the command line needs of the extra, cannot be imported."""
    program = "import sys; sys.modules['typer'] = None; import oklp.cli; oklp.cli.main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, cwd=at, timeout=60
    )


def test_a_command_that_needs_the_server_says_which_extra_is_missing_and_where_it_is(tmp_path: Path) -> None:
    for arguments in (["listen", "--forward-to", "http://127.0.0.1:9"], ["--help"]):
        said = bare(*arguments, at=tmp_path)
        assert (said.returncode, said.stdout) == (1, "")
        assert "the extra `server` (typer is not installed)" in said.stderr
        # OKLP is on no index: a bare name would find nothing there, or somebody else's package.
        assert "pip install 'PATH/TO/oklp[server]'" in said.stderr
        assert "oklp new-game NAME" in said.stderr
    made = bare("new-game", "word-duel", at=tmp_path)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "word-duel" / "README.md").is_file()
