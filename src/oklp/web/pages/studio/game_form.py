"""The form of a game: its fields as people fill them in, and the model of the contract that comes of them.

Registration asks for them step by step, the settings page all at once; both, and what is checked while somebody types,
go through here, so that a field is right or wrong in one way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oklp import contract
from oklp.errors import InvalidRequest, OklpError
from oklp.services import games
from oklp.services.games import slug
from oklp.web.pages import forms, words
from oklp.web.pages.visit import Visit

PLATFORMS = ("browser", "android", "ios", "steam")
STEPS: tuple[tuple[str, ...], ...] = (
    ("name", "game_id"),
    ("discovery", "webhook_url", "start_retries"),
    PLATFORMS,
    (
        "mode",
        "score_order",
        "entry_fee_min",
        "entry_fee_max",
        "fee",
        "teams_min",
        "teams_max",
        "team_size_min",
        "team_size_max",
        "results_due_seconds",
    ),
    (),
)
FIELDS = tuple(name for step in STEPS for name in step)
MONEY = ("entry_fee_min", "entry_fee_max")
NUMBERS = ("teams_min", "teams_max", "team_size_min", "team_size_max", "start_retries", "results_due_seconds")
# What the contract calls otherwise than the form does.
_NAMES = {"fee_bps": "fee"}


def values_of(visit: Visit, game: contract.StudioGame | None) -> dict[str, str]:
    """What is in the fields: those of `game`, or of one that is new."""
    settings = game.settings if game is not None else contract.GameSettings()
    currency = visit.here.settings.currency
    urls = game.launch_urls if game is not None else contract.LaunchTemplates()
    return {
        "name": game.name if game is not None else "",
        "game_id": game.game_id if game is not None else "",
        "discovery": settings.discovery,
        "webhook_url": (game.webhook_url if game is not None else None) or "",
        **{name: getattr(urls, name) or "" for name in PLATFORMS},
        "mode": settings.mode,
        "score_order": settings.score_order,
        **{name: words.plain_money(getattr(settings, name), currency, visit.language) for name in MONEY},
        "fee": words.plain_percent(settings.fee_bps, visit.language),
        **{name: str(getattr(settings, name)) for name in NUMBERS},
    }


def parse(visit: Visit, fields: Mapping[str, str]) -> tuple[dict[str, Any], set[str]]:
    """A game for `contract.NewGame` or `GamePatch`, and the fields that cannot even be read."""
    currency, language = visit.here.settings.currency, visit.language
    settings: dict[str, Any] = {name: fields.get(name, "") for name in ("discovery", "mode", "score_order")}
    numbers: dict[str, int | None] = {
        **{name: words.minor_units(fields.get(name, ""), currency, language) for name in MONEY},
        **{name: _whole(fields.get(name, "")) for name in NUMBERS},
        "fee_bps": words.scaled(fields.get("fee", ""), 100, language),
    }
    unread = {_NAMES.get(name, name) for name, value in numbers.items() if value is None}
    settings |= {name: value for name, value in numbers.items() if value is not None}
    body = {
        "name": fields.get("name", ""),
        "webhook_url": fields.get("webhook_url", "").strip() or None,
        "launch_urls": {name: fields.get(name, "").strip() or None for name in PLATFORMS},
        "settings": settings,
    }
    return body, unread


def _whole(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


async def look(visit: Visit, fields: Mapping[str, str]) -> tuple[contract.NewGame | None, dict[str, str]]:
    """A game to register as the form has it, and what is wrong with each field; None while anything is."""
    body, unread = parse(visit, fields)
    body["game_id"] = fields.get("game_id", "").strip() or slug(fields.get("name", ""))
    errors = {name: message(visit, name) for name in unread}
    try:
        request = forms.model(contract.NewGame, body)
    except InvalidRequest as refusal:
        errors |= told(visit, refusal)
        # What can be read is looked at all the same: nobody likes to hear of his mistakes one by one.
        request = contract.NewGame.model_validate({**body, "name": "-", "game_id": None, "settings": {}})
        request = request.model_copy(update={"settings": _readable(body["settings"])})
    try:
        await visit.here.db.read(games.check_new, visit.here.settings, request)
    except InvalidRequest as refusal:
        errors = told(visit, refusal) | errors
    return (None if errors else request), errors


def _readable(given: Mapping[str, Any]) -> contract.GameSettings:
    """Those of the settings that are right by themselves, with defaults for the others."""
    sound: dict[str, Any] = {}
    for name, value in given.items():
        try:
            contract.GameSettings.model_validate({name: value})
        except ValueError:
            continue
        sound[name] = value
    return contract.GameSettings.model_validate(sound)


def told(visit: Visit, refusal: OklpError) -> dict[str, str]:
    """What is wrong, by the names that the form has for its fields."""
    found = {}
    for each in refusal.errors:
        last = each.field.rpartition(".")[2]
        name = _NAMES.get(last, last)
        found[name] = message(visit, name, taken="taken" in each.message)
    return found


def message(visit: Visit, name: str, *, taken: bool = False) -> str:
    _ = visit._
    sandbox = visit.here.settings.sandbox
    if name in MONEY:
        return _(
            "An amount from 0 to %(most)s; the highest fee is not below the lowest.",
            most=visit.money(1_000_000, visit.here.settings.currency),
        )
    said = {
        "name": _("1 to 80 characters."),
        "game_id": _("This id is taken.") if taken else _("Lower-case letters, digits and hyphens, at most 64."),
        "webhook_url": _("A web address with https, or with http on this machine.")
        if sandbox
        else _("A web address with https that can be reached from the internet."),
        "browser": _("A web address with https, or with http on this machine; {match-token} at most once.")
        if sandbox
        else _("A web address with https; {match-token} at most once."),
        "android": _("An address with https or your app's own scheme; {match-token} at most once."),
        "ios": _("An address with https or your app's own scheme; {match-token} at most once."),
        "steam": _("Such as steam://run/480//-token {match-token}"),
        "fee": _("A percentage from 0 to 40."),
        "teams_min": _("A number from 2 to 16."),
        "teams_max": _("A number from 2 to 16, and not below the least."),
        "team_size_min": _("A number from 1 to 8."),
        "team_size_max": _("A number from 1 to 8, and not below the least."),
        "results_due_seconds": _("Seconds, up to 30 days."),
        "start_retries": _("A number from 0 to 10."),
    }
    return said.get(name, _("Choose one of these."))
