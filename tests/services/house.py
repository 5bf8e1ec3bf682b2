"""Accounts in a world, with a mail server that keeps what it takes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from oklp import contract
from oklp.mailer import Mail, NotSent
from oklp.postman import Postman
from oklp.services import accounts, auth, mails, players
from oklp.services.accounts import Draft
from oklp.services.auth import LogIn, SessionQuestion
from oklp.settings import Settings
from oklp.signing import hash_token
from tests.services.world import World

HERE = "192.0.2.1"
LINK = re.compile(r"token=([A-Za-z0-9_-]+)")


@dataclass
class Box:
    """A mail server that keeps what it takes, or refuses it."""

    taken: list[Mail] = field(default_factory=list)
    refusal: NotSent | None = None

    async def send(self, mail: Mail) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.taken.append(mail)

    def last(self, address: str) -> Mail:
        return [mail for mail in self.taken if mail.recipient == address][-1]

    def tokens(self, address: str) -> list[str]:
        """Of the last mail to this address."""
        return LINK.findall(self.last(address).text)


class House:
    """Accounts in a world, and a postman who is sent around by hand."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.box = Box()

    @property
    def settings(self) -> Settings:
        return self.world.settings

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.world.run(fn, *args)

    def deliver(self) -> None:
        """Send all that is due."""
        world = self.world
        postman = Postman(self.settings, world.db, world.vault, lambda: world.now, world.new_id, self.box)

        async def work() -> None:
            while await postman._look() == 0:
                pass

        asyncio.run(work())

    def draft(self, language: str = "en") -> Draft:
        return Draft(self.world.new_uuid(), self.world.new_id(), language)

    def sign_up(self, username: str, email: str, language: str = "en") -> str:
        world = self.world
        request = contract.SignUp.model_validate(
            {
                "username": username,
                "email": email,
                "password": "correct horse",
                "date_of_birth": "1990-05-17",
                "country": "DE",
            }
        )
        user_id = world.new_uuid()
        given = (user_id, request, "no hash", self.draft(language), world.now)
        self.run(accounts.sign_up_player, self.settings, world.vault, *given)
        return user_id

    def ask_reset(self, name_or_email: str, address: str = HERE, kind: str = "player", language: str = "en") -> None:
        world = self.world
        self.run(
            accounts.ask_reset,
            self.settings,
            world.vault,
            kind,
            name_or_email,
            address,
            world.new_uuid(),
            language,
            world.now,
        )

    def reset(self, token: str, password_hash: str = "new hash", kind: str = "player") -> None:
        world = self.world
        self.run(accounts.check_reset, kind, hash_token(token), world.now)
        self.run(
            accounts.confirm_reset,
            self.settings,
            world.vault,
            kind,
            hash_token(token),
            password_hash,
            HERE,
            world.new_uuid(),
            "en",
            world.now,
        )

    def confirm_email(self, token: str) -> None:
        world = self.world
        given = (self.settings, world.vault, "player", hash_token(token), world.new_uuid(), "en", world.now)
        self.run(accounts.confirm_email, *given)

    def change_email(self, user_id: str, email: str) -> None:
        world = self.world
        given = (self.settings, world.vault, "player", user_id, email, HERE, self.draft(), world.now)
        self.run(accounts.change_email, *given)

    def log_in(self, username: str, user_id: str | None, token: str, address: str = HERE) -> Any:
        attempt = LogIn("player", username, address, "Browser/1")
        return self.run(auth.end_login, self.settings, attempt, user_id, token, self.world.now)

    def is_in(self, token: str) -> bool:
        [outcome] = self.run(auth.sessions, [SessionQuestion(hash_token(token), self.world.now)])
        return isinstance(outcome, auth.Person)

    def profile(self, user_id: str) -> contract.Profile:
        found: contract.Profile = self.run(players.profile, user_id)
        return found

    def password(self, user_id: str) -> str:
        [row] = self.world.rows("SELECT password_hash FROM players WHERE id = :id", id=user_id)
        return str(row[0])

    def mails(self) -> list[contract.Mail]:
        found: list[contract.Mail] = self.run(mails.page, self.settings, self.world.vault, None, None, None, 100)[0]
        return found


@contextmanager
def in_production(house: House) -> Iterator[None]:
    before = house.world.settings
    house.world.settings = before.model_copy(update={"sandbox": False})
    yield
    house.world.settings = before
