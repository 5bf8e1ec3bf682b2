"""The icons of the site: outlines on a grid of 24, drawn in the colour of the text around them."""

from __future__ import annotations

from markupsafe import Markup

_PATHS = {
    "games": (
        "M7 7h10a5 5 0 0 1 5 5.5c-.3 3-1 5.5-3 5.5-1.6 0-2.2-2-4-2H9c-1.8 0-2.4 2-4 2-2 0-2.7-2.5-3"
        "-5.5A5 5 0 0 1 7 7zM8 10v4M6 12h4M16 11h.01M18 13h.01"
    ),
    "matches": "M4 5h7v6H4zM13 13h7v6h-7zM11 8h4a2 2 0 0 1 2 2v3M13 16H9a2 2 0 0 1-2-2v-3",
    "wallet": (
        "M4 7a2 2 0 0 1 2-2h11v4M4 7v10a2 2 0 0 0 2 2h13a1 1 0 0 0 1-1v-8a1 1 0 0 0-1-1H6a2 2 0 0 1-2-2zM16 14h.01"
    ),
    "person": "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM5 20a7 7 0 0 1 14 0",
    "check": "M5 12.5l4.5 4.5L19 7.5",
    "cross": "M6 6l12 12M18 6L6 18",
    "clock": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v5l3 2",
    "shield": "M12 3l7 3v5c0 5-3 8-7 10-4-2-7-5-7-10V6zM9 12l2 2 4-4",
    "scales": "M12 4v16M7 20h10M5 8h14M5 8l-2.5 6h5zM19 8l-2.5 6h5z",
    "bolt": "M13 3L5 14h6l-1 7 8-11h-6z",
    "link": "M10 14a4 4 0 0 0 6 .5l3-3a4 4 0 0 0-5.7-5.7L12 7M14 10a4 4 0 0 0-6-.5l-3 3a4 4 0 0 0 5.7 5.7L12 17",
    "play": "M8 5.5v13l10.5-6.5z",
    "trophy": "M8 4h8v6a4 4 0 0 1-8 0zM8 6H4v1a4 4 0 0 0 4 4M16 6h4v1a4 4 0 0 1-4 4M12 14v4M8 20h8",
    "arrow": "M5 12h14M13 6l6 6-6 6",
    "info": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 11v5M12 8h.01",
    "users": (
        "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM3 19a6 6 0 0 1 12 0M16 4.5a3.5 3.5 0 0 1 0 6.5M18 14a6 6 0 0 1 3 5"
    ),
    "bell": "M6 16V11a6 6 0 0 1 12 0v5l1.5 2h-15zM10 21h4",
    "key": "M8 18a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM11 11l8-7M16 6.5l3 3",
    "download": "M12 4v11M7 11l5 5 5-5M5 20h14",
}


def icon(name: str, label: str = "") -> Markup:
    """An icon; with a `label` it means something by itself, without it is decoration."""
    spoken = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    return Markup('<svg class="icon" viewBox="0 0 24 24" {}><path d="{}"/></svg>').format(spoken, _PATHS[name])
