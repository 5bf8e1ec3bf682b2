"""The run: matches are started, players sent in, a match called off, and what the game does about it is graded.

Four matches, each for something of its own, and all under way at once:

    plain      a good PUT, the same again, the launch page, a result without any trouble
    unlucky    a PUT with unknown fields; its first result is answered with 503
    cut off    its first result arrives, and the answer to it is lost
    off        called off after its PUT; players try to go on
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

import oklp
from oklp import contract
from oklp.check.catalogue import Grades
from oklp.check.grade import PLAYERS_LOG_IN, Evidence, Played, grade, grade_secrets, keys_of, wanted_keys
from oklp.check.launch import Page, Visitor, excerpt, is_blank
from oklp.check.platform import Platform
from oklp.check.probes import Prober
from oklp.check.proxy import Fault, Registered
from oklp.check.report import CheckedGame, Report
from oklp.check.wire import CheckError, Delivery, GameCall, Reply, new_match_id
from oklp.signing import WEBHOOK_SECRET_PREFIX

PLACEHOLDER: Final = "{match-token}"
DELETE_SECONDS: Final = 20.0
CALLED_OFF_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Seat:
    """Whom a player stands in for. `number` counts from 1."""

    match_id: str
    user_id: str
    number: int


PlayFunction: TypeAlias = Callable[[str, Seat], Awaitable[str | None]]
"""Play a match from its launch URL to the end. Returns why that was not possible, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A game to be checked, and how.

    `player` plays one seat. Without one, `ends_by_itself` says that a match to which nobody comes ends with a result.
    `wait_seconds` is how long a player may play, and then how long a result may take; `retry_seconds` how long one may
    take to be sent again; a PUT should be answered within `quick_seconds`; for `settle_seconds` after the last result
    nothing else should come.
    """

    webhook_url: str
    launch_urls: contract.LaunchTemplates
    mode: Literal["sync", "async"] = "sync"
    score_order: Literal["high", "low"] = "high"
    teams: int = 2
    team_size: int = 1
    player: PlayFunction | None = None
    ends_by_itself: bool = False
    wait_seconds: float = 60.0
    retry_seconds: float = 30.0
    quick_seconds: float = 2.0
    settle_seconds: float = 1.0
    one_at_a_time: bool = False
    seed_url: str | None = None
    seed_key: str | None = None

    @property
    def settings(self) -> contract.GameSettings:
        return contract.GameSettings(mode=self.mode, score_order=self.score_order)

    @property
    def by_token(self) -> bool:
        """Whether players come with a match-token, as far as the template for browsers says; else they log in (A5)."""
        return self.launch_urls.browser is None or PLACEHOLDER in self.launch_urls.browser


class Run:
    """One game on one platform. `step` hears what is being done, in a few words."""

    def __init__(
        self, platform: Platform, subject: Subject, game: Registered, step: Callable[[str], None] = lambda text: None
    ) -> None:
        self.grades = Grades()
        self.problems: list[str] = []
        self._platform = platform
        self._proxy = platform.proxy
        self._subject = subject
        self._game = game
        self._step = step
        self._pages: list[Page] = []
        self._matches: list[Played] = []
        self._urls: dict[str, list[tuple[str, Seat]]] = {}
        self._one_match = asyncio.Semaphore(1 if subject.one_at_a_time else 16)

    async def check(self) -> None:
        """Everything. Raises CheckError when it cannot be done."""
        if self._subject.launch_urls.browser is None:
            self.grades.give("launch.template", "warn", "No launch template for browsers, so nobody can be sent in.")
        else:
            self.grades.give("launch.template", "pass", "The platform takes the launch templates as they are.")
        self._step("a first match")
        plain = await self._started(None)
        if plain is None:
            return
        await self._repeat(plain)
        self._step("the launch page")
        await self._launch(plain)
        self._step("requests that are to be refused")
        await Prober(self._proxy, self._game, plain.info, self.grades).probe()
        self._step("matches that meet faults")
        unlucky = await self._started("503", extra_fields=True)
        cut_off = await self._started("dropped")
        off = await self._called_off()
        self._step("players play" if self._subject.player else "results")
        await self._play_all([match for match in (plain, unlucky, cut_off) if match is not None], off)
        await asyncio.sleep(self._subject.settle_seconds)
        self._platform.check_alive()
        self._grade()

    # --- matches -----------------------------------------------------------------------------------------------------

    async def _started(self, fault: Fault | None, *, extra_fields: bool = False) -> Played | None:
        """A match that the game has been told of, or None when it did not take it."""
        match = await self._platform.new_match(self._game.game_id, self._subject.teams, self._subject.team_size)
        if extra_fields:
            self._proxy.with_extra_fields.add(match.match_id)
        if fault is not None:
            self._proxy.faults[match.match_id] = fault
        live = await self._platform.start_match(match)
        delivery = self._delivery("PUT", match.match_id)
        if delivery is None:
            raise CheckError(f"The platform did not tell the game of a match: {live.abort_detail or live.status}.")
        self._judge_start(delivery.reply, "webhook.extra-fields" if extra_fields else "webhook.start")
        if delivery.reply.status != 200:
            return None
        if live.status == "aborted":
            raise CheckError(f"The game answered 200, and the platform called the match off: {live.abort_detail}")
        info = contract.MatchInfo.model_validate_json(delivery.body)
        played = Played(info, fault, ends_by_itself=self._subject.ends_by_itself)
        self._matches.append(played)
        self._urls[match.match_id] = await self._launch_urls(info)
        return played

    def _judge_start(self, reply: Reply, check_id: str) -> None:
        if reply.unreachable:
            raise CheckError(f"Nothing answers at {self._game.webhook_url}: {reply.error}")
        if reply.status != 200:
            self.grades.give(check_id, "fail", f"The PUT of a match that everybody paid for: the game {reply.said}.")
            return
        self.grades.give(check_id, "pass", "The game answered 200.")
        took = f"The slowest answer took {reply.seconds:.1f} s."
        if reply.seconds > self._subject.quick_seconds:
            self.grades.give("webhook.quick", "warn", took)
        else:
            self.grades.give("webhook.quick", "pass", f"Less than {self._subject.quick_seconds:.0f} s.")

    def _delivery(self, method: str, match_id: str) -> Delivery | None:
        found = (each for each in self._proxy.deliveries if each.method == method and each.match_id == match_id)
        return next(found, None)

    async def _repeat(self, match: Played) -> None:
        """The same delivery once more: same webhook-id and body, signed anew, as the platform's own retries are."""
        first = self._delivery("PUT", match.match_id)
        if first is None:
            return
        reply = await self._proxy.push(self._game, "PUT", first.body, webhook_id=first.webhook_id)
        if reply.status == 200:
            self.grades.give("webhook.repeat", "pass", "200 both times.")
        else:
            self.grades.give("webhook.repeat", "fail", f"200 the first time; the second time the game {reply.said}.")

    async def _launch_urls(self, info: contract.MatchInfo) -> list[tuple[str, Seat]]:
        """The way in for each player; none where the game has no page or the match is over already."""
        if self._subject.launch_urls.browser is None:
            return []
        found = []
        by_id = {player.user_id: player for player in self._platform.players}
        for number, participant in enumerate(info.participants, 1):
            url = await self._platform.launch_url(by_id[participant.id], info.match_id)
            if url is not None:
                found.append((url, Seat(info.match_id, participant.id, number)))
        return found

    async def _called_off(self) -> Played | None:
        """A match that has started, that players were about to play, and that is off."""
        match = await self._started(None)
        if match is None:
            return None
        await self._platform.call_off(match.match_id)
        told = await self._proxy.until(lambda: self._delivery("DELETE", match.match_id) is not None, DELETE_SECONDS)
        delivery = self._delivery("DELETE", match.match_id)
        if not told or delivery is None:
            raise CheckError("The platform did not tell the game that a match is off.")
        match.called_off_at = delivery.at
        if delivery.reply.ok:
            self.grades.give("webhook.delete", "pass", f"The game {delivery.reply.said}.")
        else:
            self.grades.give(
                "webhook.delete", "fail", f"DELETE of a match that had started: the game {delivery.reply.said}."
            )
        return match

    # --- the launch page ---------------------------------------------------------------------------------------------

    async def _launch(self, match: Played) -> None:
        ways = self._urls[match.match_id]
        if not ways:
            for check_id in ("launch.page", "launch.again", "launch.unknown-token", "launch.secrets"):
                self.grades.give(check_id, "not-seen", "There is no launch page, or the match was over too soon.")
            return
        seeds: list[str | None] = []
        for url, seat in ways:
            async with Visitor() as visitor:
                page = await visitor.open(url)
                self._judge_page(page)
                if seat.number == 1:
                    await visitor.load_parts(page)
                    await self._again(visitor, url, page)
                self._pages.append(page)
                seeds.append(await self._seed(visitor, page, url, seat))
        self._judge_seeds(seeds)
        await self._unknown_token()

    def _judge_page(self, page: Page) -> None:
        if page.status == 200 and not is_blank(page):
            self.grades.give("launch.page", "pass", "The page opens for every player.")
        else:
            what = "answered 200 with nothing in it" if page.status == 200 else page.said
            self.grades.give("launch.page", "fail", f"With a fresh token it {what}.")

    async def _again(self, visitor: Visitor, url: str, first: Page) -> None:
        """The same player with the same link, as after a reload; and from another browser, as on another device."""
        for who, page in (("the same browser", await visitor.open(url)), ("another browser", await _opened(url))):
            if page.status == first.status:
                self.grades.give("launch.again", "pass", "The same link works again, also in another browser.")
            else:
                self.grades.give("launch.again", "fail", f"The second time, from {who}, it {page.said}.")

    async def _seed(self, visitor: Visitor, page: Page, launch_url: str, seat: Seat) -> str | None:
        if self._subject.seed_url is None:
            return await visitor.seed(page, None, None)
        token = _token_in(self._subject.launch_urls.browser or "", launch_url)
        places = {"{match-token}": token, "{match-id}": seat.match_id, "{user-id}": seat.user_id}
        url = self._subject.seed_url.replace("{page}", page.url.partition("?")[0])
        for place, value in places.items():
            url = url.replace(place, value)
        try:
            return await visitor.seed(page, url, self._subject.seed_key)
        except CheckError as error:
            self.problems.append(str(error))
            return None

    def _judge_seeds(self, seeds: Sequence[str | None]) -> None:
        shown = {seed for seed in seeds if seed is not None}
        if len(seeds) < 2 or None in seeds:
            self.grades.give("fair.seed", "not-seen", "The game does not show what seeds a match.")
        elif len(shown) == 1:
            self.grades.give("fair.seed", "pass", f"The same for all {len(seeds)} players.")
        else:
            self.grades.give(
                "fair.seed", "fail", f"{len(seeds)} players of one match got {len(shown)} different seeds."
            )

    async def _unknown_token(self) -> None:
        template = self._subject.launch_urls.browser or ""
        if not self._subject.by_token:
            self.grades.give("launch.unknown-token", "not-applicable", PLAYERS_LOG_IN)
            return
        for token in (new_match_id() + new_match_id(), ""):
            page = await _opened(template.replace(PLACEHOLDER, token))
            self._pages.append(page)
            kind = "an unknown token" if token else "an empty token"
            if page.status is None or page.status >= 500:
                self.grades.give("launch.unknown-token", "fail", f"With {kind} it {page.said}.")
            elif is_blank(page):
                self.grades.give("launch.unknown-token", "fail", f"With {kind} it {page.said}, and shows nothing.")
            else:
                detail = f"It {page.said}: “{excerpt(page, self._game.hidden)}”"
                self.grades.give("launch.unknown-token", "pass", detail)

    # --- play --------------------------------------------------------------------------------------------------------

    async def _play_all(self, matches: Sequence[Played], off: Played | None) -> None:
        async with asyncio.TaskGroup() as group:
            for match in matches:
                group.create_task(self._play(match))
            if off is not None and self._subject.player is not None:
                group.create_task(self._try_on(off))
        if off is not None and self._subject.ends_by_itself and self._subject.player is None:
            off.watched = any(self._calls(match) for match in matches)
        for match in matches:
            if match.failed and not self._calls(match):
                self.problems.extend(match.failed)
        self.problems[:] = dict.fromkeys(self.problems)

    async def _play(self, match: Played) -> None:
        player = self._subject.player
        if player is not None:
            ways = self._urls[match.match_id]
            async with self._one_match:
                said = await asyncio.gather(*(self._sit(player, url, seat) for url, seat in ways))
            match.by_players = len(ways) == len(match.info.participants)
            match.failed = [why for why in said if why is not None]
        if player is not None or self._subject.ends_by_itself:
            await self._await_results(match)

    async def _sit(self, player: PlayFunction, url: str, seat: Seat) -> str | None:
        try:
            async with asyncio.timeout(self._subject.wait_seconds):
                why = await player(url, seat)
        except TimeoutError:
            why = f"was not done after {self._subject.wait_seconds:.0f} s"
        return None if why is None else f"Player {seat.number} {why}."

    async def _try_on(self, off: Played) -> None:
        """Players who will not take no for an answer. What becomes of them does not matter: results do."""
        player = self._subject.player
        if player is None:
            return
        limit = min(self._subject.wait_seconds, CALLED_OFF_SECONDS)
        async with self._one_match:
            try:
                async with asyncio.timeout(limit):
                    await asyncio.gather(*(player(url, seat) for url, seat in self._urls[off.match_id]))
            except TimeoutError:
                pass
        off.watched = bool(self._urls[off.match_id])

    async def _await_results(self, match: Played) -> None:
        """Until all results of the match have come and been answered, or it has taken too long."""
        # A player who gave up may still have moved the game to report: what has begun is seen to its end.
        first_within = 0.0 if match.failed else self._subject.wait_seconds
        if not await self._proxy.until(lambda: bool(self._calls(match)), first_within):
            return
        mode = self._subject.mode
        wanted = wanted_keys(mode, match.info)

        def complete() -> bool:
            answered = [call for call in self._calls(match) if call.status is not None and not call.fault]
            return wanted <= {key for call in answered for key in keys_of(mode, call)}

        limit = self._subject.retry_seconds if match.fault else self._subject.wait_seconds
        await self._proxy.until(complete, limit)

    # --- grading -----------------------------------------------------------------------------------------------------

    def _evidence(self) -> Evidence:
        def of(*kinds: str) -> list[GameCall]:
            return [call for call in self._proxy.calls if call.game_id == self._game.game_id and call.kind in kinds]

        return Evidence(
            self._subject.mode, of("finish"), of("token-info"), of("token"), of("finish", "token-info", "api")
        )

    def _calls(self, match: Played) -> list[GameCall]:
        return self._evidence().of(match.match_id)

    def _grade(self) -> None:
        seen = self._evidence()
        grade(self.grades, self._matches, seen, by_token=self._subject.by_token)
        if self._pages:
            bare = self._game.webhook_secret.removeprefix(WEBHOOK_SECRET_PREFIX)
            grade_secrets(self.grades, self._pages, [*self._game.hidden, bare, quote(bare, safe="")], seen)


async def _opened(url: str) -> Page:
    """By a browser that has never been there."""
    async with Visitor() as visitor:
        return await visitor.open(url)


def _token_in(template: str, url: str) -> str:
    """The match-token that a launch URL was filled with."""
    before, placeholder, after = template.partition(PLACEHOLDER)
    return url[len(before) : len(url) - len(after)] if placeholder else ""


# --- the whole of it -------------------------------------------------------------------------------------------------


async def check_game(
    platform: Platform, subject: Subject, game: Registered, step: Callable[[str], None] = lambda text: None
) -> Report:
    """Check a registered game that is running. Raises CheckError when that cannot be done."""
    started_at = datetime.now(UTC)
    run = Run(platform, subject, game, step)
    try:
        await run.check()
    except* CheckError as errors:
        raise errors.exceptions[0] from None
    return _report(subject, game.game_id, run.grades, run.problems, started_at)


def refused_template(subject: Subject, game_id: str, why: str) -> Report:
    """The report of a game that the platform does not register: there is nothing else to be seen."""
    grades = Grades()
    grades.give("launch.template", "fail", f"The platform does not take it: {why}")
    return _report(subject, game_id, grades, [], datetime.now(UTC))


def _report(subject: Subject, game_id: str, grades: Grades, problems: Sequence[str], started_at: datetime) -> Report:
    return Report(
        oklp_version=oklp.__version__,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        game=CheckedGame(
            game_id=game_id,
            webhook_url=subject.webhook_url,
            launch_urls=subject.launch_urls,
            mode=subject.mode,
            teams=subject.teams,
            team_size=subject.team_size,
        ),
        results=grades.results(),
        problems=list(problems),
    )
