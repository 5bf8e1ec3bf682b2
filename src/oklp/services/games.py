"""Games: registration, configuration, secrets, vetting, figures (contract sections A1, A5, B4)."""

from __future__ import annotations

import json
import re
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args
from urllib.parse import urlsplit

import idna

from oklp import contract
from oklp.addresses import check_webhook_url
from oklp.domain import matches as rules
from oklp.errors import FieldError, InvalidRequest, NotFound, WrongState, invalid
from oklp.services import auth, matches, views
from oklp.services.launch import PLACEHOLDER
from oklp.services.players import taken
from oklp.services.vault import Vault
from oklp.settings import Settings
from oklp.signing import new_webhook_secret
from oklp.storage import events
from oklp.storage import games as store
from oklp.storage import matches as match_store
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

DEFAULT_STUDIO = "default"
COMMAND_LINE = "command-line"  # who acts when nobody has logged in, in the audit log
NOT_THE_STUDIOS = "is not the studio's to set"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
WEB_SCHEMES = {"https": 443, "http": 80}  # with the ports that an origin does not name
FORBIDDEN_SCHEMES = frozenset({"javascript", "data", "file", "vbscript", "blob", "about", "view-source", "ws", "wss"})


# --- what a game says of itself --------------------------------------------------------------------------------------


def check_launch_urls(urls: contract.LaunchTemplates, *, sandbox: bool) -> None:
    """Launch templates (A5): https for browsers (in the sandbox loopback http too), other schemes for apps."""
    for platform, template in urls.model_dump(exclude_none=True).items():
        _check_template(f"launch_urls.{platform}", platform, template, sandbox)


def _check_template(field: str, platform: str, template: str, sandbox: bool) -> None:
    if template.count(PLACEHOLDER) > 1:
        raise invalid(field, f"must contain {PLACEHOLDER} at most once")
    filled = template.replace(PLACEHOLDER, "token")
    try:
        parts = urlsplit(filled)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        raise invalid(field, "is not a URL") from error
    scheme = parts.scheme.lower()
    # Launchers of apps take a command line after the address, spaces and all: `steam://run/480//-token …` (A5).
    plain = platform == "browser" or scheme in WEB_SCHEMES or filled != filled.strip()
    bare = filled if plain else filled.replace(" ", "")
    if any(character.isspace() or character in '<>"\\^`{|}' for character in bare):
        raise invalid(field, "contains a character that does not belong in a URL")
    if not scheme or scheme in FORBIDDEN_SCHEMES or not template.lower().startswith(scheme):
        raise invalid(field, f"must not use the scheme {scheme or '(none)'}")
    if platform == "browser":
        loopback = sandbox and scheme == "http" and host in LOOPBACK
        if not (scheme == "https" or loopback) or not host:
            raise invalid(field, "must be an https URL" + (" or a loopback http URL" if sandbox else ""))
        if parts.username is not None or PLACEHOLDER in template.split("//", 1)[1].split("/", 1)[0]:
            raise invalid(field, "must not have credentials or a token in its host")
        try:
            _origin(template)
        except idna.IDNAError as error:
            raise invalid(field, "has a host that is not a valid name") from error
    elif scheme == "http":
        raise invalid(field, "must be https or an app's own scheme")
    elif scheme == "https" and not host:
        raise invalid(field, "has no host")


def check_settings(settings: contract.GameSettings) -> None:
    """Ranges must not be empty."""
    pairs = (("entry_fee_min", "entry_fee_max"), ("teams_min", "teams_max"), ("team_size_min", "team_size_max"))
    faults = tuple(
        FieldError(f"settings.{high}", f"must not be below {low}")
        for low, high in pairs
        if getattr(settings, low) > getattr(settings, high)
    )
    if faults:
        raise InvalidRequest("; ".join(f"{fault.field} {fault.message}" for fault in faults), errors=faults)


def _check_webhook(settings: contract.GameSettings, url: str | None, *, sandbox: bool) -> None:
    if url is not None:
        check_webhook_url(url, sandbox=sandbox)
    elif settings.discovery == "push":
        raise invalid("webhook_url", "is needed for a game that is pushed its matches")


def check_new(tx: Tx, settings: Settings, request: contract.NewGame) -> None:
    """What a registration would be refused for, all of it at once. Raises InvalidRequest."""
    sandbox = settings.sandbox
    looks: tuple[Callable[[], None], ...] = (
        lambda: check_settings(request.settings),
        lambda: _check_webhook(request.settings, request.webhook_url, sandbox=sandbox),
        lambda: check_launch_urls(request.launch_urls, sandbox=sandbox),
    )
    faults: list[FieldError] = []
    for look in looks:
        try:
            look()
        except InvalidRequest as refusal:
            faults.extend(refusal.errors)
    if request.game_id is not None and store.game(tx, request.game_id) is not None:
        faults.append(FieldError("game_id", "is taken"))
    if faults:
        raise InvalidRequest("; ".join(f"{each.field}: {each.message}" for each in faults), errors=tuple(faults))


def slug(name: str) -> str:
    """A game_id made from a name: lower-case letters, digits and hyphens."""
    made = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:56].strip("-")
    return made or "game"


# --- registration ----------------------------------------------------------------------------------------------------


def register(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    studio_id: str,
    request: contract.NewGame,
    now: int,
    actor: str = COMMAND_LINE,
) -> contract.RegisteredGame:
    """A new game with its secrets, which are shown this once. Approved at once in the sandbox, else a draft."""
    sandbox = settings.sandbox
    check_settings(request.settings)
    _check_webhook(request.settings, request.webhook_url, sandbox=sandbox)
    check_launch_urls(request.launch_urls, sandbox=sandbox)
    auth.check_vault(tx, vault)
    game_id = _free_id(tx, request)
    with tx.refusing(taken("game_id", "is taken")):
        store.insert_game(
            tx,
            id=game_id,
            studio_id=studio_id,
            name=request.name,
            webhook_url=request.webhook_url,
            launch_urls=json.dumps(request.launch_urls.model_dump(exclude_none=True)),
            settings=request.settings.model_dump_json(),
            vetting="approved" if sandbox else "draft",
            vetting_reason="The sandbox approves at once." if sandbox else None,
            vetting_by="sandbox" if sandbox else None,
            vetting_at=now if sandbox else None,
            created_at=now,
        )
    _audit(tx, actor, "game.register", game_id, None, {"studio": studio_id, "webhook_url": request.webhook_url}, now)
    tx.notify("games")
    return contract.RegisteredGame(
        **get(tx, game_id).model_dump(),
        developer_config=_new_secrets(tx, settings, vault, game_id, now),
    )


def _free_id(tx: Tx, request: contract.NewGame) -> str:
    if request.game_id is not None:
        if store.game(tx, request.game_id) is not None:
            raise taken("game_id", "is taken")
        return request.game_id
    base = slug(request.name)
    if store.game(tx, base) is None:
        return base
    return f"{base}-{secrets.token_hex(3)}"


def developer_config(
    settings: Settings, game_id: str, client_secret: str | None = None, webhook_secret: str | None = None
) -> contract.DeveloperConfig:
    """developer-config.json (A1)."""
    return contract.DeveloperConfig(
        okletsplay_url=settings.public_url,
        authentication=contract.Authentication(
            client_id=game_id,
            client_secret=client_secret,
            webhook_secret=webhook_secret,
            public_key_url=settings.issuer,
            token_url=f"{settings.issuer}/protocol/openid-connect/token",
        ),
    )


def _new_secrets(tx: Tx, settings: Settings, vault: Vault, game_id: str, now: int) -> contract.DeveloperConfig:
    client_secret = str(uuid.uuid4())
    webhook_secret = new_webhook_secret(secrets.token_bytes(32))
    auth.add_client_secret(tx, game_id, client_secret, now)
    auth.add_webhook_secret(tx, vault, game_id, webhook_secret, now)
    return developer_config(settings, game_id, client_secret, webhook_secret)


def rotate_secrets(
    tx: Tx, settings: Settings, vault: Vault, actor: str, game_id: str, now: int
) -> contract.DeveloperConfig:
    """New secrets; the old ones work until the overlap ends."""
    if store.lock_game(tx, game_id) is None:
        raise NotFound("There is no such game.")
    auth.check_vault(tx, vault)
    store.expire_secrets(tx, game_id, now + settings.secret_overlap_seconds * 1000)
    _audit(tx, actor, "game.rotate-secrets", game_id, None, {}, now)
    return _new_secrets(tx, settings, vault, game_id, now)


def default_studio(tx: Tx, now: int) -> str:
    """The studio that games registered by the command line belong to."""
    if store.studio(tx, DEFAULT_STUDIO) is None:
        store.insert_studio(tx, id=DEFAULT_STUDIO, name="Default studio", created_at=now)
    return DEFAULT_STUDIO


# --- configuration ---------------------------------------------------------------------------------------------------


def get(tx: Tx, game_id: str) -> contract.StudioGame:
    return views.studio_game(_row(store.game(tx, game_id)))


def _row(row: Row | None) -> Row:
    if row is None:
        raise NotFound("There is no such game.")
    return row


def of_studio(tx: Tx, studio_id: str) -> contract.StudioGamePage:
    return contract.StudioGamePage(games=[views.studio_game(row) for row in store.games_of_studio(tx, studio_id)])


def update(
    tx: Tx, settings: Settings, actor: str, game_id: str, request: contract.GamePatch, now: int
) -> contract.StudioGame:
    """Change what is given. Matches keep the rules they were made with.

    An approved game stays approved when its URLs change: a studio must be able to move a failing server at once, and a
    game in review takes no confirmations, so the honest would pay with every pending match. What a change could do is
    bounded instead: each URL passes the same checks as at registration, the webhook tells ids alone, and the audit log
    has the old value beside the new for an operator, who can suspend the game.
    """
    row = _row(store.lock_game(tx, game_id))
    known = views.studio_game(row)
    given = request.settings.model_dump(exclude_none=True) if request.settings is not None else {}
    share = known.settings.studio_share_bps
    if given.get("studio_share_bps", share) != share:
        raise invalid("settings.studio_share_bps", NOT_THE_STUDIOS)
    changed = known.model_copy(
        update={
            "name": request.name if request.name is not None else known.name,
            "webhook_url": request.webhook_url if "webhook_url" in request.model_fields_set else known.webhook_url,
            "launch_urls": request.launch_urls if request.launch_urls is not None else known.launch_urls,
            "settings": contract.GameSettings.model_validate({**known.settings.model_dump(), **given}),
        }
    )
    check_settings(changed.settings)
    _check_webhook(changed.settings, changed.webhook_url, sandbox=settings.sandbox)
    check_launch_urls(changed.launch_urls, sandbox=settings.sandbox)
    if changed.webhook_url is None:
        _check_nobody_is_to_be_told(tx, game_id)
    differences = _differences(known, changed)
    if not differences:
        return known
    store.update_game(
        tx,
        game_id,
        name=changed.name,
        webhook_url=changed.webhook_url,
        launch_urls=json.dumps(changed.launch_urls.model_dump(exclude_none=True)),
        settings=changed.settings.model_dump_json(),
    )
    _audit(tx, actor, "game.update", game_id, None, differences, now)
    tx.notify("games")
    return get(tx, game_id)


def _check_nobody_is_to_be_told(tx: Tx, game_id: str) -> None:
    """A match that was made while the game was pushed is started by a push, whatever the game says since."""
    if match_store.ids_of(tx, status=rules.PENDING, game_id=game_id, discovery="push"):
        raise WrongState("Matches that will be pushed to the webhook URL have not started yet.")


def _differences(before: contract.StudioGame, after: contract.StudioGame) -> dict[str, Any]:
    """What changed, as `{"settings.fee_bps": {"from": 1000, "to": 500}}`."""
    old, new = (
        {
            "name": game.name,
            "webhook_url": game.webhook_url,
            **{f"launch_urls.{name}": value for name, value in game.launch_urls},
            **{f"settings.{name}": value for name, value in game.settings},
        }
        for game in (before, after)
    )
    return {name: {"from": old[name], "to": new[name]} for name in old if old[name] != new[name]}


def submit(tx: Tx, actor: str, game_id: str, now: int) -> contract.StudioGame:
    """A draft goes to review."""
    row = _row(store.lock_game(tx, game_id))
    if row.vetting != "draft":
        raise WrongState(f"The game is {row.vetting}; only a draft can be submitted for review.")
    _set_vetting(tx, game_id, "in-review", actor, None, now)
    _audit(tx, actor, "game.submit", game_id, None, {}, now)
    return get(tx, game_id)


def vet(
    tx: Tx, settings: Settings, actor: str, game_id: str, request: contract.VettingDecision, now: int
) -> contract.StudioGame:
    """An operator approves, refuses (back to draft) or suspends. Suspending aborts what has not started (B4)."""
    row = _row(store.lock_game(tx, game_id))
    before = {"approve": ("draft", "in-review", "suspended"), "refuse": ("in-review",), "suspend": ("approved",)}
    if row.vetting not in before[request.decision]:
        raise WrongState(f"The game is {row.vetting}: it is not possible to {request.decision} it.")
    after = {"approve": "approved", "refuse": "draft", "suspend": "suspended"}[request.decision]
    _set_vetting(tx, game_id, after, actor, request.reason, now)
    if after == "suspended":
        matches.abort_pending(tx, settings, "game-suspended", "The game was suspended.", now, game_id=game_id)
    seen = views.studio_game(row).conformance
    detail = {} if seen is None else {"conformance_report": seen.report_id}
    _audit(tx, actor, f"game.{request.decision}", game_id, request.reason, detail, now)
    return get(tx, game_id)


def _set_vetting(tx: Tx, game_id: str, vetting: str, by: str, reason: str | None, now: int) -> None:
    store.update_game(tx, game_id, vetting=vetting, vetting_by=by, vetting_reason=reason, vetting_at=now)
    tx.notify("games")


def _audit(
    tx: Tx, actor: str, action: str, game_id: str, reason: str | None, detail: Mapping[str, Any], now: int
) -> None:
    events.insert_audit(
        tx, at=now, actor=actor, action=action, subject=f"game:{game_id}", reason=reason, detail=json.dumps(detail)
    )


# --- for players and for the game itself -----------------------------------------------------------------------------


def playable(tx: Tx, settings: Settings, after: str, limit: int) -> contract.GamePage:
    rows = store.approved(tx, after, limit + 1)
    return contract.GamePage(
        games=[views.game(row, settings.currency) for row in rows[:limit]],
        next_cursor=rows[limit - 1].id if len(rows) > limit else None,
    )


class Known(NamedTuple):
    """A game that players know, and whether it can be played now."""

    game: contract.Game
    offered: bool


def known_one(tx: Tx, settings: Settings, game_id: str) -> Known:
    """A game that is approved, or was and is suspended. Raises NotFound for one that never was."""
    row = _row(store.game(tx, game_id))
    if row.vetting not in ("approved", "suspended"):  # none is suspended that was not approved (vet)
        raise NotFound("There is no such game.")
    return Known(views.game(row, settings.currency), row.vetting == "approved")


def playable_one(tx: Tx, settings: Settings, game_id: str) -> contract.Game:
    known = known_one(tx, settings, game_id)
    if not known.offered:
        raise NotFound("There is no such game.")
    return known.game


class Face(NamedTuple):
    """A game as it is named beside its matches."""

    name: str
    platforms: list[str]  # on which it is played, browsers first


def faces(tx: Tx, game_ids: Sequence[str]) -> dict[str, Face]:
    """By game id, whatever state the games are in."""
    rows = store.games_by_id(tx, game_ids) if game_ids else {}
    urls = {key: json.loads(row.launch_urls) for key, row in rows.items()}
    return {
        key: Face(row.name, [each for each in get_args(contract.Platform) if each in urls[key]])
        for key, row in rows.items()
    }


def origins_of_browsers(tx: Tx) -> dict[str, frozenset[str]]:
    """Origin of each browser template → its games, for CORS on token-info (A6)."""
    found: dict[str, set[str]] = {}
    for row in store.templates(tx):
        template = json.loads(row.launch_urls).get("browser")
        if template is not None:
            found.setdefault(_origin(template), set()).add(row.id)
    return {origin: frozenset(game_ids) for origin, game_ids in found.items()}


def _origin(template: str) -> str:
    """What a browser sends as the `Origin` of such a page: no port where it is the scheme's own, the name in ASCII.

    The template has been checked, or is being checked. Raises IDNAError for a host that is no name.
    """
    parts = urlsplit(template.replace(PLACEHOLDER, "token"))
    scheme, host = parts.scheme.lower(), parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    elif not host.isascii():
        host = idna.encode(host, uts46=True).decode("ascii")
    port = "" if parts.port in (None, WEB_SCHEMES.get(scheme)) else f":{parts.port}"
    return f"{scheme}://{host}{port}"
