"""A bare install, as a studio has it: the wheel of this checkout in a new virtual environment, without an extra.

python -m scripts.bare FOLDER
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def install(folder: Path) -> Path:
    """Builds the wheel and installs it in a new environment in `folder`. The path of the environment's Python.

    Raises CalledProcessError.
    """
    home = folder / "venv"
    built = wheel(folder / "wheels")
    # This environment's pip installs into the other: a new one of its own would take seconds to unpack.
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    subprocess.run([*PIP, "--python", str(python), "install", str(built)], check=True)
    return python


def wheel(folder: Path) -> Path:
    """Builds the wheel into `folder`; its path. Raises CalledProcessError."""
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    (built,) = folder.glob("oklp-*.whl")
    return built


if __name__ == "__main__":
    print(install(Path(sys.argv[1])))
