"""Set-up for `make demo` and `make test`, from a fresh Debian 12 with python3 and make, to a working `.venv`.

    python3 scripts/setup.py run     the package with its server and demo: what `make demo` needs (no apt, no root)
    python3 scripts/setup.py dev     that, the development tools, and PostgreSQL and Chromium for the tests

It runs on the system's Python, so it uses the standard library alone. A stamp in `.venv` holds a hash of everything
that decides the outcome: a second call returns at once, and a change of `pyproject.toml` installs again. A lock file
makes concurrent calls wait for each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / "oklp-stamp.json"
LOCK = ROOT / ".make" / "setup.lock"
OLDEST_PYTHON = (3, 11)
OLDEST_PIP = (25, 1)  # the first with `--group`
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class SetupError(Exception):
    """Something that only the person at the keyboard can put right; the message says what."""


def say(text: str) -> None:
    print(f"setup: {text}", file=sys.stderr, flush=True)


def run(command: list[str]) -> None:
    """Run a command with its output shown; raises SetupError when it fails."""
    try:
        subprocess.run(command, check=True, cwd=ROOT, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise SetupError(f"{command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise SetupError(f"`{' '.join(command)}` failed with status {error.returncode}") from error


def answers(command: list[str]) -> str | None:
    """The output of a command, or None when it cannot be run or fails."""
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the set-up lock of this checkout."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is running here; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- the virtual environment -----------------------------------------------------------------------------------------


def python_version(python: str) -> tuple[int, ...] | None:
    version = answers([python, "-c", "import sys; print(*sys.version_info[:2])"])
    return tuple(int(part) for part in version.split()) if version else None


def find_python() -> str:
    """A Python that is new enough: the one running this, or the newest on the path."""
    names = [sys.executable, *(f"python3.{minor}" for minor in range(19, OLDEST_PYTHON[1] - 1, -1))]
    for name in names:
        path = shutil.which(name)
        if path and (python_version(path) or (0,)) >= OLDEST_PYTHON:
            return path
    raise SetupError("Python 3.11 or later is needed; install it and run this again")


def make_venv(python: str) -> None:
    """Create `.venv` with pip in it.

    Debian ships `venv` without `ensurepip` unless python3-venv is installed. A pip of the system can stand in, by
    installing into the new environment from outside; only when there is none either is apt asked.
    """
    shutil.rmtree(VENV, ignore_errors=True)
    say(f"creating {VENV.name} with {python}")
    if (
        answers([python, "-c", "import ensurepip"]) is not None
        and answers([python, "-m", "venv", str(VENV)]) is not None
    ):
        return
    if answers([python, "-m", "venv", "--clear", "--without-pip", str(VENV)]) is not None:
        say("this Python has no ensurepip; trying the system's pip")
        if answers([python, "-m", "pip", "--python", str(VENV_PYTHON), "install", "pip"]) is not None:
            return
    shutil.rmtree(VENV, ignore_errors=True)
    apt_install(["python3-venv"], "pip inside a virtual environment", "install your Python's venv package")
    run([python, "-m", "venv", str(VENV)])


def usable_venv() -> bool:
    """True when `.venv` has a Python that starts, new enough, and a pip; an interrupted creation may lack either."""
    recent = (python_version(str(VENV_PYTHON)) or (0,)) >= OLDEST_PYTHON
    return recent and pip_version() > (0,)


def pip_version() -> tuple[int, ...]:
    """The version of the environment's pip, `(0,)` when it has none."""
    found = answers([str(VENV_PYTHON), "-c", "import pip; print(pip.__version__)"])
    digits = [part for part in (found or "0").split(".")[:2] if part.isdigit()]
    return tuple(int(part) for part in digits)


def fingerprint() -> str:
    """A hash of what decides the outcome. The folder counts, as an editable install points into it."""
    parts = [str(ROOT).encode(), (ROOT / "pyproject.toml").read_bytes(), Path(__file__).read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def stamped() -> dict[str, object]:
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def up_to_date(kind: str) -> bool:
    stamp = stamped()
    return stamp.get("fingerprint") == fingerprint() and stamp.get("kind") in (kind, "dev") and VENV_PYTHON.exists()


def install(kind: str) -> None:
    """Install the package and, for `dev`, the tools. Once installed, the tools are kept up to date by `run` as well."""
    if stamped().get("kind") == "dev":
        kind = "dev"
    if not usable_venv():
        make_venv(find_python())
    STAMP.unlink(missing_ok=True)
    pip = [str(VENV_PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    if pip_version() < OLDEST_PIP:
        run([*pip, "install", "--quiet", "--upgrade", "pip>={}.{}".format(*OLDEST_PIP)])
    say(f"installing the package and its dependencies ({kind}); the first time takes a minute")
    group = ["--group", "dev"] if kind == "dev" else []
    run([*pip, "install", "--quiet", "--editable", ".[demo]", *group])
    # As pip does with what it copies: where nothing may be written later on, each start would compile anew.
    run([str(VENV_PYTHON), "-m", "compileall", "-q", "src", "games"])
    # Written beside its place and renamed, so that a set-up cut short never leaves half a stamp.
    fresh = STAMP.with_suffix(".new")
    fresh.write_text(json.dumps({"fingerprint": fingerprint(), "kind": kind}))
    fresh.replace(STAMP)


# --- programs of the system, for the tests ---------------------------------------------------------------------------


def postgres_found() -> bool:
    """True when a server is given, or the programs of one are here."""
    if os.environ.get("OKLP_TEST_POSTGRES"):
        return True
    return bool(glob.glob("/usr/lib/postgresql/*/bin/initdb") or shutil.which("initdb"))


def browser_found() -> bool:
    named = os.environ.get("OKLP_TEST_CHROMIUM")
    return bool(named and os.access(named, os.X_OK)) or any(shutil.which(name) for name in BROWSERS)


def apt_install(packages: list[str], purpose: str, otherwise: str) -> None:
    """Install Debian packages, with sudo where needed; raises SetupError with what to do by hand."""
    wanted = " ".join(packages)
    by_hand = f"for {purpose}, install the Debian package(s) {wanted}, or {otherwise}"
    if not shutil.which("apt-get"):
        raise SetupError(f"{by_hand} (there is no apt-get here)")
    become: list[str] = []
    if os.geteuid() != 0:
        if not shutil.which("sudo"):
            raise SetupError(f"{by_hand} (not root, and there is no sudo)")
        # Without a terminal sudo could only hang at its password prompt.
        become = ["sudo"] if sys.stderr.isatty() else ["sudo", "-n"]
    apt = [*become, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=600"]
    say(f"installing {wanted} from Debian's packages, for {purpose}")
    try:
        run([*apt, "update"])
        run([*apt, "install", "-y", "--no-install-recommends", *packages])
    except SetupError as error:
        raise SetupError(f"{by_hand} ({error})") from error


def install_programs() -> None:
    missing = []
    if not postgres_found():
        missing.append("postgresql")
    if not browser_found():
        missing.append("chromium")
    if missing:
        apt_install(
            missing,
            "testing on a real database and in a real browser",
            "name a PostgreSQL server in OKLP_TEST_POSTGRES and a Chromium in OKLP_TEST_CHROMIUM",
        )


def main(arguments: list[str]) -> int:
    if arguments not in (["run"], ["dev"]):
        print(__doc__, file=sys.stderr)
        return 2
    kind = arguments[0]
    try:
        if not up_to_date(kind) or (kind == "dev" and not (postgres_found() and browser_found())):
            with alone():
                if not up_to_date(kind):
                    install(kind)
                if kind == "dev":
                    install_programs()
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
