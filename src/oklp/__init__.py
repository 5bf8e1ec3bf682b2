"""OKLP: an open skill-match platform, and the kit for the games that plug into it.

A bare install is the kit: `oklp.sdk` for game servers, with `oklp.contract`, `oklp.signing` and `oklp.errors` beneath
it. The platform itself (`oklp serve`) comes with the extra `server`. Importing this package loads nothing but itself.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    # Looked up when it is asked for: reading package metadata takes longer than the rest of this import.
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("oklp")
    except PackageNotFoundError:
        # A source tree on the path that was never installed; a user agent still has to be written from it.
        found = "0+source"
    globals()["__version__"] = found
    return found
