"""`python -m oklp.cli` is `oklp`."""

from __future__ import annotations

from oklp.cli import main

if __name__ == "__main__":
    main()
