"""What everybody may do with his own account: prove an e-mail address, change it, and get back in.

An address is not an identity (decision 0008). Several accounts may have the same one, and whoever asks about an address
or a name learns nothing from the answer: the question is put into the outbox, and looked at when nobody waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from oklp import contract
from oklp.errors import Conflict, InvalidRequest, NotFound, invalid
from oklp.services import auth, mail_texts, mails, players, studios
from oklp.services.auth import LogIn
from oklp.services.vault import Vault
from oklp.settings import Settings
from oklp.signing import hash_token
from oklp.storage import mails as outbox
from oklp.storage import players as store
from oklp.storage import tickets
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

RESET = "password-reset"
VERIFICATION = "email-verification"
ACCOUNTS_OF_AN_ADDRESS = 20  # of more than these, whoever forgot a name asks by name
# In production, in an hour.
PER_NAME, PER_ADDRESS, WINDOW_SECONDS = 5, 30, 3_600


class Draft(NamedTuple):
    """What a mail with a link needs that is random, and the language of whoever makes us write it."""

    mail_id: str
    token: str
    language: str


class Contact(NamedTuple):
    """Where mails to somebody go; empty for people whom the command line made without an address."""

    email: str
    verified: bool


def bad_token() -> InvalidRequest:
    return invalid("token", "is unknown, used up or expired")


def _check_rate(tx: Tx, settings: Settings, what: str, kind: str, name: str, address: str, now: int) -> None:
    """Names and addresses that nobody has count as well, or the limit would tell them apart."""
    if settings.sandbox:
        return
    auth.limit(tx, f"{what}:{kind}:{hash_token(name.lower())}", PER_NAME, WINDOW_SECONDS, now)
    auth.limit(tx, f"{what}:from:{hash_token(address)}", PER_ADDRESS, WINDOW_SECONDS, now)


# --- signing up ------------------------------------------------------------------------------------------------------


def sign_up_player(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    user_id: str,
    request: contract.SignUp,
    password_hash: str,
    draft: Draft,
    now: int,
) -> contract.Player:
    """A player, who is asked by mail to confirm the address, and whose language is the draft's. Raises NameTaken."""
    made = players.sign_up(tx, settings, user_id, request, password_hash, draft.language, now)
    _send_verification(tx, settings, vault, "player", user_id, request.username, request.email, draft, now)
    return made


def sign_up_studio(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    studio_id: str,
    member_id: str,
    request: contract.NewStudio,
    password_hash: str,
    draft: Draft,
    now: int,
) -> contract.Studio:
    """A studio and its owner, likewise."""
    made = studios.sign_up(tx, studio_id, member_id, request, password_hash, now)
    _send_verification(tx, settings, vault, "member", member_id, request.username, request.email, draft, now)
    return made


def add_member(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    actor: str,
    studio_id: str,
    member_id: str,
    request: contract.NewStudioMember,
    password_hash: str,
    draft: Draft,
    now: int,
) -> contract.StudioMember:
    """A member, likewise; without a password of the request's he is asked by mail to choose one.

    `password_hash` is then that of something nobody knows. Whoever follows the link has proved the address with it.
    """
    made = studios.add_member(tx, actor, studio_id, member_id, request, password_hash, now)
    if request.password is not None:
        _send_verification(tx, settings, vault, "member", member_id, request.username, request.email, draft, now)
        return made
    life_seconds = settings.email_verification_seconds
    _insert_ticket(tx, RESET, "member", member_id, request.email, draft.token, life_seconds, now)
    values = {
        "language": draft.language,
        "username": request.username,
        "studio": studios.profile(tx, member_id).name,
        "link": mails.link(settings, "member", "reset-password", token=draft.token),
        "life": mail_texts.life(life_seconds, draft.language),
    }
    mails.post(tx, vault, draft.mail_id, "invitation", request.email, values, now, life_seconds)
    return made


# --- e-mail addresses ------------------------------------------------------------------------------------------------


def _send_verification(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    kind: str,
    person_id: str,
    username: str,
    email: str,
    draft: Draft,
    now: int,
) -> None:
    life_seconds = settings.email_verification_seconds
    tickets.delete_of(tx, person_id, VERIFICATION)  # of two links the newer one works
    _insert_ticket(tx, VERIFICATION, kind, person_id, email, draft.token, life_seconds, now)
    values = {
        "language": draft.language,
        "username": username,
        "link": mails.link(settings, kind, "verify-email", token=draft.token),
        "life": mail_texts.life(life_seconds, draft.language),
    }
    mails.post(tx, vault, draft.mail_id, VERIFICATION, email, values, now, life_seconds)


def _insert_ticket(
    tx: Tx, purpose: str, kind: str, person_id: str, email: str, token: str, life_seconds: int, now: int
) -> None:
    tickets.insert(
        tx,
        token_hash=hash_token(token),
        purpose=purpose,
        kind=kind,
        subject_id=person_id,
        email=email,
        created_at=now,
        expires_at=now + life_seconds * 1000,
    )


def contact(tx: Tx, kind: str, person_id: str) -> Contact:
    row = _person(tx, kind, person_id)
    return Contact(row.email, row.email_verified_at is not None)


def verify_again(
    tx: Tx, settings: Settings, vault: Vault, kind: str, person_id: str, address: str, draft: Draft, now: int
) -> None:
    """Another mail with another link, unless the address is proved already."""
    row = _person(tx, kind, person_id)
    if row.email and row.email_verified_at is None:
        _check_rate(tx, settings, VERIFICATION, kind, person_id, address, now)
        draft = draft._replace(language=mails.language_of(kind, row, draft.language))
        _send_verification(tx, settings, vault, kind, person_id, row.username, row.email, draft, now)


def change_email(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    kind: str,
    person_id: str,
    email: str,
    address: str,
    draft: Draft,
    now: int,
) -> None:
    """The account keeps its address until the new one is proved by its link."""
    row = _person(tx, kind, person_id)
    _check_rate(tx, settings, VERIFICATION, kind, person_id, address, now)
    draft = draft._replace(language=mails.language_of(kind, row, draft.language))
    _send_verification(tx, settings, vault, kind, person_id, row.username, email, draft, now)


def confirm_email(
    tx: Tx, settings: Settings, vault: Vault, kind: str, token_hash: str, mail_id: str, language: str, now: int
) -> None:
    """The address that the link was sent to is proved, and the account's from now on. Raises InvalidRequest."""
    ticket = tickets.take(tx, VERIFICATION, kind, token_hash, now)
    row = store.person(tx, kind, ticket.subject_id) if ticket is not None else None
    if ticket is None or row is None:
        raise bad_token()
    store.update_person(tx, kind, row.id, email=ticket.email, email_verified_at=now)
    if _address(row.email) != _address(ticket.email):
        tickets.delete_of(tx, row.id, RESET)  # they went to the old address
        values = mails.news(settings, kind, row, language)
        mails.post(tx, vault, mail_id, "email-changed", row.email, values, now)


def _person(tx: Tx, kind: str, person_id: str) -> Row:
    row = store.person(tx, kind, person_id)
    if row is None:
        raise NotFound("There is no such account.")
    return row


# --- forgotten passwords ---------------------------------------------------------------------------------------------


def ask_reset(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    kind: str,
    name_or_email: str,
    address: str,
    mail_id: str,
    language: str,
    now: int,
) -> None:
    """Take the question down. That is the same work for names and addresses that are known and for those that are not.

    Raises TooManyRequests.
    """
    _check_rate(tx, settings, RESET, kind, name_or_email, address, now)
    values = {"language": language, "person": kind, "name_or_email": name_or_email}
    mails.ask(tx, vault, mail_id, RESET, values, now, settings.password_reset_seconds)


def answer_resets(tx: Tx, settings: Settings, vault: Vault, new_token: Callable[[], str], now: int, limit: int) -> int:
    """Look at questions that were taken down: one mail for each address, with a link for each of its accounts.

    Returns how many questions that were.
    """
    asked = outbox.due(tx, "asked", now, limit)
    for row in asked:
        outbox.delete(tx, row.id)
        if row.give_up_at <= now:
            continue
        with contextlib.suppress(Conflict):  # of a key that the sandbox has replaced: it is asked again
            _answer_reset(tx, settings, vault, mails.values_of(vault, row), new_token, row.id, now)
    return len(asked)


def _address(email: str) -> bytes:
    """The same for the same address. Beyond ASCII, those that differ by case alone may be two people's: nobody is sent
    a link to another's account.
    """
    return email.encode().lower()


def _answer_reset(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    asked: Mapping[str, str],
    new_token: Callable[[], str],
    mail_id: str,
    now: int,
) -> None:
    kind, name_or_email = asked["person"], asked["name_or_email"]
    if "@" in name_or_email:
        found = list(store.by_email(tx, kind, name_or_email, ACCOUNTS_OF_AN_ADDRESS))
    else:
        named = store.person_by_name(tx, kind, name_or_email.lower())
        found = [named] if named is not None and named.email else []
    addresses: dict[bytes, list[Row]] = {}
    for row in found:
        addresses.setdefault(_address(row.email), []).append(row)
    for number, rows in enumerate(addresses.values()):
        own_id = hash_token(f"{mail_id}:{number}") if number else mail_id
        _send_reset(tx, settings, vault, kind, rows, asked, new_token, own_id, now)


def _send_reset(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    kind: str,
    accounts: Sequence[Row],
    asked: Mapping[str, str],
    new_token: Callable[[], str],
    mail_id: str,
    now: int,
) -> None:
    """To the address that these accounts have."""
    life_seconds = settings.password_reset_seconds
    links = []
    for row in accounts:
        token = new_token()
        tickets.delete_of(tx, row.id, RESET)
        _insert_ticket(tx, RESET, kind, row.id, row.email, token, life_seconds, now)
        link = mails.link(settings, kind, "reset-password", token=token)
        links.append(mail_texts.LINK_OF.format(username=row.username, link=link))
    language = mails.language_of(kind, accounts[0], asked.get("language", mail_texts.SOURCE))
    values = {"language": language, "links": "\n".join(links), "life": mail_texts.life(life_seconds, language)}
    mails.post(tx, vault, mail_id, RESET, accounts[0].email, values, now, life_seconds)


def check_reset(tx: Tx, kind: str, token_hash: str, now: int) -> None:
    """Before a password is hashed. Raises InvalidRequest."""
    if tickets.find(tx, RESET, kind, token_hash, now) is None:
        raise bad_token()


def confirm_reset(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    kind: str,
    token_hash: str,
    password_hash: str,
    address: str,
    mail_id: str,
    language: str,
    now: int,
) -> None:
    """A new password. All sessions end, and failed log-ins are forgotten. Raises InvalidRequest.

    Whoever has the link reads the mails of the address, which is proved thereby.
    """
    ticket = tickets.take(tx, RESET, kind, token_hash, now)
    row = store.person(tx, kind, ticket.subject_id) if ticket is not None else None
    if ticket is None or row is None:
        raise bad_token()
    if row.email_verified_at is None and row.email == ticket.email:
        store.update_person(tx, kind, row.id, email_verified_at=now)
    for key in LogIn(kind, row.username, address).keys:
        store.clear_failures(tx, key)
    _set_password(tx, settings, vault, kind, row, password_hash, None, mail_id, language, now)


# --- changing it -----------------------------------------------------------------------------------------------------


def change_password(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    kind: str,
    person_id: str,
    password_hash: str,
    current_hash: str,
    mail_id: str,
    language: str,
    now: int,
) -> None:
    """By somebody who has proved to know the old one. His other sessions end."""
    row = _person(tx, kind, person_id)
    _set_password(tx, settings, vault, kind, row, password_hash, current_hash, mail_id, language, now)


def _set_password(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    kind: str,
    row: Row,
    password_hash: str,
    keep_session: str | None,
    mail_id: str,
    language: str,
    now: int,
) -> None:
    store.update_person(tx, kind, row.id, password_hash=password_hash)
    store.delete_sessions_of(tx, row.id, but=keep_session)
    # Whoever had the old password may wait for a second step, or for an address of his to be made the account's.
    tickets.delete_of(tx, row.id, RESET, auth.SECOND_FACTOR)
    tickets.delete_of_addresses(tx, row.id, VERIFICATION, but=row.email)
    values = mails.news(settings, kind, row, language)
    mails.post(tx, vault, mail_id, "password-changed", row.email, values, now)
