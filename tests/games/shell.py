"""A shell in which games are installed, without an installation: the commands of a README run in it as they are."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def installed(folder: Path, games: Mapping[Path, str]) -> dict[str, str]:
    """The environment. `games` are folders with the package in each; programs go into the new `folder`."""
    programs = {"oklp": "-m oklp.cli", "python": ""}
    for package in games.values():
        command = package.replace("_", "-")
        programs |= {command: f"-m {package}", f"{command}-bot": f"-m {package}.bot"}
    folder.mkdir()
    for name, arguments in programs.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n', encoding="utf-8")
        path.chmod(0o755)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("OKLP_")},
        "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(map(str, [ROOT / "src", *games])),
        "TMPDIR": str(folder.parent),
    }
