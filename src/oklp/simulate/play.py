"""One match, played by its script, line by line: what is answered is compared with what the model expects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from oklp.simulate.games import Board, GameClient, Table
from oklp.simulate.model import ACCEPTED, KEPT_ASIDE, OK, REUSED, Model, Outcome, Seen
from oklp.simulate.players import CURRENCY, Player
from oklp.simulate.script import CUT, REUSE, TWIN, Script, Step
from oklp.simulate.wire import GAME, OPERATOR, PLAYER, STUDIO, Latencies, Lost, Reply, Wire

BRIEF_SECONDS: Final = 5
START_SECONDS: Final = 90.0
END_SECONDS: Final = 90.0
FIRST_LOOK_SECONDS: Final = 0.008
LONGEST_LOOK_SECONDS: Final = 0.4
NOBODY: Final = "00000000-0000-4000-8000-000000000000"
NO_NAME: Final = "nobody-of-that-name"
MAX_SCORE: Final = 2**53 - 1


class Difference(Exception):
    """Something is not as it must be."""

    def __init__(self, script: Script, line: int, expected: object, found: object, match_id: str = "") -> None:
        self.script = script
        self.line = line
        self.match_id = match_id
        self.expected = str(expected)
        self.found = str(found)
        where = f"line {line}: {script.steps[line - 1]}" if 0 < line <= len(script.steps) else "the end"
        self.where = where
        super().__init__(f"match {script.number} ({match_id}), {where}: expected {expected}, found {found}")


@dataclass
class Pace:
    """How long matches take just now to go live once their game has accepted: when it is worth looking."""

    seconds: float = 0.01

    def looked(self, times: int, seconds: float) -> None:
        """A look too many costs the server more than a moment too late costs the run."""
        goal = self.seconds * 0.9 if times == 1 else 1.3 * seconds
        self.seconds = min(max(self.seconds + 0.1 * (goal - self.seconds), 0.002), 1.0)


@dataclass(frozen=True)
class Stage:
    """What all matches share."""

    wire: Wire
    board: Board
    players: Sequence[Player]
    games: Sequence[GameClient]
    guests: frozenset[int]
    operator_token: str
    prefix: str
    to_put: Latencies
    to_live: Latencies
    pace: Pace
    studio_token: str


@dataclass(frozen=True)
class Played:
    """How a match ended: what the model says of it, after every look has agreed."""

    match_id: str
    script: Script
    outcome: Outcome
    disturbed: bool
    members: frozenset[int]


class Play:
    """One match on the stage."""

    def __init__(self, stage: Stage, script: Script) -> None:
        self.stage = stage
        self.script = script
        self.model = Model(script, stage.guests)
        self.match_id = ""
        self._line = 0
        self._game = stage.games[script.game.number]
        self._teams: list[str] = []
        self._code = ""
        self._table: Table | None = None
        self._tokens: dict[int, str] = {}
        self._epoch = 0
        self._confirmed_at = 0.0
        self._looks = 0
        self._alone = False

    async def play(self) -> Played:
        """Raises Difference."""
        try:
            for line, step in enumerate(self.script.steps, 1):
                self._line = line
                await self._do(step)
            self._line = 0
            if self.model.status == "live":  # its result came when the time was up
                await self._do(Step("wait"))
            await self._compare_end()
        except Lost as lost:
            raise self._difference("an answer", lost) from lost
        finally:
            self._leave_table()
            self._let_others_start()
        members = frozenset(self.model.seats)
        return Played(self.match_id, self.script, self.model.outcome(), self.model.disturbed, members)

    def _leave_table(self) -> None:
        table = self._table
        if table is None:
            return
        table.release()
        aborted = self.model.status != "finished"
        owed = self.model.must_call_off(table.answered)
        self.stage.board.close(self.match_id, owed=owed, maybe=aborted)
        self.stage.board.faults.extend(f"match {self.script.number} ({self.match_id}): {each}" for each in table.faults)

    async def _order_fault(self) -> None:
        """Before the first confirmation: the next PUT of this game, which will be this match's, is struck."""
        if self.script.fault and not self._alone:
            await self._game.one_start.acquire()
            self._alone = True
            path = f"{STUDIO}/games/{self._game.client_id}/faults"
            token = self.stage.studio_token
            # Left over, where a server died: what was ordered for a match that was never told.
            await self.stage.wire.must("clear faults", "DELETE", path, token=token, repeatable=True)
            # Ordered twice, should the answer be lost: one PUT takes one of them, and the next match clears the other.
            order = {"kind": self.script.fault}
            await self.stage.wire.must("order fault", "POST", path, order, token=token, repeatable=True)

    def _let_others_start(self) -> None:
        if self._alone:
            self._alone = False
            self._game.one_start.release()

    def _difference(self, expected: object, found: object) -> Difference:
        return Difference(self.script, self._line, expected, found, self.match_id)

    def _check(self, what: str, expected: object, found: object) -> None:
        if expected != found:
            raise self._difference(f"{what} {expected}", found)

    # --- a step ---

    async def _do(self, step: Step) -> None:
        self._notice_restarts()
        if step.do == "confirm":
            await self._order_fault()
        if step.do == "confirm" and step.whom:
            # One at a time for the model; at once for the platform.
            each = [replace(step, who=player, whom=()) for player in step.whom]
            self._begin_start()
            replies = await asyncio.gather(*(self._confirm(single) for single in each))
            self._notice_restarts()
            for single, reply in zip(each, replies, strict=True):
                self._judge(single, Seen(reply.code), reply)
            return
        seen, said = await self._send(step)
        self._notice_restarts()
        self._judge(step, seen, said)

    def _judge(self, step: Step, seen: Seen, said: object) -> None:
        allowed = self.model.expects(step)
        if seen.code not in allowed:
            raise self._difference(" or ".join(sorted(allowed)), said)
        self.model.apply(step, seen)

    def _notice_restarts(self) -> None:
        """A server that went away while the match was starting leaves it open what the game has heard."""
        if self.model.status == "starting" and self.stage.wire.gate.epoch != self._epoch:
            self.model.disturbed = True

    def _begin_start(self) -> None:
        """Before a confirmation, which may be the last."""
        self._epoch = self.stage.wire.gate.epoch
        self._confirmed_at = time.perf_counter()

    async def _send(self, step: Step) -> tuple[Seen, object]:
        match step.do:
            case "start":
                return await self._start()
            case "wait":
                return await self._wait()
            case "stop-short":
                return await self._stop_short()
            case "report":
                reply = await self._report(step)
                if reply.status == 200:
                    code = ACCEPTED if reply.body["accepted"] else KEPT_ASIDE
                    return Seen(code), reply
            case "create":
                reply = await self._create(step)
            case "launch":
                reply = await self._launch(step)
            case "token-info":
                reply = await self._token_info(step)
            case "settle" | "call-off":
                reply = await self._operate(step)
            case "confirm":
                if self.model.status == "pending":
                    self._begin_start()
                reply = await self._confirm(step)
            case _:
                path, body = self._request(step)
                reply = await self._keyed(step, path, body)
        return Seen(reply.code), reply

    def _key(self, suffix: str = "") -> str:
        number, line = self.script.number, self._line
        return f"{self.stage.prefix}-{number}-{line}{suffix}" if self.script.keyed else ""

    def _player(self, number: int) -> Player:
        return self.stage.players[number]

    async def _keyed(self, step: Step, path: str, body: object) -> Reply:
        """A player's request: once, or as a nervous or an unlucky client sends it."""
        player, kind = self._player(step.who), step.do
        key = self._key(f"-{step.who}")
        if step.manner == CUT:
            await self.stage.wire.cut("POST", PLAYER + path, body, token=player.token, key=key)
        if step.manner != TWIN:
            reply = await player.act(kind, path, body, key=key)
            if step.manner == REUSE:
                other = await player.act("reused key", path, {"team_id": "another"}, key=key)
                self._check("for its key with another body", REUSED, other.code)
            return reply
        one, two = await asyncio.gather(*(player.act(kind, path, body, key=key) for _ in range(2)))
        self._check("twice with one key", (one.status, one.body), (two.status, two.body))
        if not one.replayed and not two.replayed:
            raise self._difference("one of two requests with one key to be a replay", "neither was")
        return one

    def _request(self, step: Step) -> tuple[str, object]:
        base = f"/matches/{self.match_id}"
        match step.do:
            case "misplan":
                return "/matches", self._misplanned(step.how)
            case "invite":
                names = [NO_NAME] if step.how == "nobody" else [self._player(number).name for number in step.whom]
                return f"{base}/invitations", {"usernames": names}
            case "join":
                return f"{base}/join", self._joining(step)
            case "deposit" | "withdraw":
                return f"/wallet/{step.do}{'s' if step.do == 'deposit' else 'als'}", self._money(step.amount)
            case "overdraw":
                return "/wallet/withdrawals", self._money(1)
            case _:
                return f"{base}/{step.do}", None

    @staticmethod
    def _money(amount: int) -> dict[str, object]:
        return {"amount": amount, "currency": CURRENCY}

    def _joining(self, step: Step) -> dict[str, object] | None:
        body: dict[str, object] = {}
        if step.how == "no-team":
            body["team_id"] = "no-such-team"
        elif step.team >= 0:
            body["team_id"] = self._teams[step.team]
        if step.how == "code":
            body["join_code"] = self._code
        elif step.how == "wrong-code":
            body["join_code"] = "not-the-code"
        return body or None

    # --- making ---

    def _offer(self, invited: Sequence[str]) -> dict[str, object]:
        script = self.script
        return {
            "game_id": self._game.client_id,
            "entry_fee": self._money(script.fee),
            "teams": script.teams,
            "team_size": script.size,
            "invite": list(invited),
            "visibility": "public" if script.public else "private",
            **({"prize_shares_bps": list(script.shares)} if script.shares else {}),
        }

    def _misplanned(self, how: str) -> dict[str, object]:
        wrong: Mapping[str, dict[str, object]] = {
            "fee": {"entry_fee": self._money(1_000_001)},
            "teams": {"teams": 17},
            "size": {"team_size": 0},
            "shares": {"prize_shares_bps": [5_000, 4_000]},
            "nobody": {"invite": [NO_NAME]},
        }
        return {**self._offer([]), **wrong[how]}

    async def _create(self, step: Step) -> Reply:
        reply = await self._keyed(step, "/matches", self._offer([self._player(each).name for each in step.whom]))
        if reply.code == OK:
            self.match_id = reply.body["match_id"]
            self._teams = [team["id"] for team in reply.body["teams"]]
            self._code = reply.body.get("join_code") or ""
            if not self.script.game.pull:
                self._table = self.stage.board.open(self.match_id, self.script)
        return reply

    # --- starting ---

    async def _confirm(self, step: Step) -> Reply:
        if self._table is not None:
            self._table.held = self._line < len(self.script.steps) and self.script.steps[self._line].do == "stop-short"
        return await self._keyed(step, f"/matches/{self.match_id}/confirm", None)

    async def _stop_short(self) -> tuple[Seen, object]:
        """Until the game has the PUT, which it will answer later."""
        table = self._table
        if table is not None:
            await self._until(lambda: bool(table.told_at), START_SECONDS)
        return Seen(), ""

    async def _until(self, done: Any, seconds: float) -> bool:
        """Until the game was told something that makes it `done`; False when the server went away, or it takes long."""
        table, gate = self._table, self.stage.wire.gate
        until = time.monotonic() + seconds
        while table is not None and gate.epoch == self._epoch:
            news = table.news()
            if done():
                return True
            try:
                await asyncio.wait_for(news.wait(), until - time.monotonic())
            except TimeoutError:
                break
        return bool(done())

    async def _start(self) -> tuple[Seen, object]:
        """Until the match is live or off, as a player and, if the game pulls, the game sees it."""
        table = self._table
        starting = self.model.status == "starting"
        if table is not None:
            table.release()
            if starting and not self.script.fault:
                await self._until(lambda: table.settled, START_SECONDS)
                if table.told_at:
                    self.stage.to_put.add(table.told_at - self._confirmed_at)
        view = await self._look_once_started(starting and table is not None)
        self._let_others_start()
        self._notice_restarts()
        status, reason = view["status"], view.get("abort_reason") or ""
        allowed = self.model.allowed_after_start()
        if (status, reason) not in allowed:
            raise self._difference(
                " or ".join(sorted(f"{one} {two}".strip() for one, two in allowed)), (status, reason)
            )
        if status == "live":
            await self._compare_start(view)
        return Seen(OK, status, reason), view

    async def _look_once_started(self, told: bool) -> dict[str, Any]:
        pace, started = self.stage.pace, time.monotonic()
        if told:
            await asyncio.sleep(pace.seconds)
        looks = self._looks
        view = await self._look_until(lambda status: status not in ("pending", "starting"), START_SECONDS)
        if told and self.script.answers == ("200",) and not self.script.fault:
            pace.looked(self._looks - looks, time.monotonic() - started)
        return view

    async def _compare_start(self, view: Mapping[str, Any]) -> None:
        if self.model.status == "starting" or self.script.game.pull:
            self.stage.to_live.add(time.perf_counter() - self._confirmed_at)
        table = self._table
        if table is not None and "200" not in table.answered:
            raise self._difference("a match that its game has not accepted not to be live", f"answers {table.answered}")
        roster = [
            (self._player(player).user_id, self._teams[team])
            for team, members in enumerate(self.model.roster)
            for player in members
        ]
        seen = [
            (member["user_id"], team["id"])
            for team in view["teams"]
            for member in team["members"]
            if member["state"] == "confirmed"
        ]
        self._check("the roster", roster, seen)
        if table is not None and table.info is not None:
            told = [(each.id, each.team_id) for each in table.info.participants]
            self._check("the game to be told of", roster, told)
        if self.script.game.pull:
            await self._compare_pulled(roster)

    async def _compare_pulled(self, roster: Sequence[tuple[str, str]]) -> None:
        reply = await self._game.read(self.match_id)
        self._check("a match for its game", OK, reply.code)
        if self.script.game.brief and reply.body["match_status"] != "live":
            return  # the time was up between two looks
        self._check("a match that is", "live", reply.body["match_status"])
        pulled = [(each["id"], each["team_id"]) for each in reply.body["participants"]]
        self._check("the game to read", roster, pulled)

    async def _look(self) -> dict[str, Any]:
        self._looks += 1
        creator = self._player(self.script.creator)
        reply = await creator.read("read match", f"/matches/{self.match_id}")
        if reply.status != 200:
            raise self._difference("the match to be readable", reply)
        found: dict[str, Any] = reply.body
        return found

    async def _look_until(self, done: Any, seconds: float) -> dict[str, Any]:
        started, pause = time.monotonic(), FIRST_LOOK_SECONDS
        while not done((view := await self._look())["status"]):
            if time.monotonic() > started + seconds:
                raise self._difference("the match to go on", f"{view['status']} for {seconds:.0f} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_LOOK_SECONDS)
        return view

    async def _wait(self) -> tuple[Seen, object]:
        await asyncio.sleep(BRIEF_SECONDS)
        view = await self._look_until(lambda status: status in ("finished", "aborted"), END_SECONDS)
        seen = Seen(OK, view["status"], view.get("abort_reason") or "")
        self._check("the end to be", self.model.after_wait(), (seen.status, seen.reason))
        return seen, view

    # --- playing ---

    async def _launch(self, step: Step) -> Reply:
        path = f"/matches/{self.match_id}/launch"
        reply = await self._player(step.who).act("launch", path, {"platform": "browser"}, repeatable=True)
        if reply.code == OK:
            self._tokens[step.who] = reply.body["launch_url"].rpartition("token=")[2]
        return reply

    async def _token_info(self, step: Step) -> Reply:
        token = self._tokens.get(step.who, "unknown-token") if step.how != "garbage" else "garbage"
        game = self._other_game() if step.how == "foreign" else self._game
        reply = await game.token_info(token)
        if reply.code == OK:
            over = self.model.over or step.who in self.model.scores
            found = [reply.body[name] for name in ("match_id", "user_id", "match_status", "submissions_left")]
            # Of a brief match the time may be up at any moment.
            status = self.model.status if not self.script.game.brief else found[2]
            left = int(not over) if not self.script.game.brief else found[3]
            self._check("token-info", [self.match_id, self._player(step.who).user_id, status, left], found)
        return reply

    def _other_game(self) -> GameClient:
        return self.stage.games[(self.script.game.number + 1) % len(self.stage.games)]

    async def _operate(self, step: Step) -> Reply:
        action = "settle" if step.do == "settle" else "abort"
        body: dict[str, object] = {"reason": f"line {self._line} of a simulated match"}
        if step.ranks:
            body["teams"] = self._team_results(step)
        path = f"{OPERATOR}/matches/{self.match_id}/{action}"
        key = f"{self.stage.prefix}-{self.script.number}-{self._line}"
        wire = self.stage.wire
        return await wire.ask(f"operator {action}", "POST", path, body, token=self.stage.operator_token, key=key)

    def _team_results(self, step: Step) -> list[dict[str, object]]:
        scores = dict(step.scores)
        found: list[dict[str, object]] = []
        for team, members, (rank, forfeit) in zip(self._teams, self.model.roster, step.ranks, strict=True):
            score = min(sum(scores.get(player, 0) for player in members), MAX_SCORE)
            forfeits: dict[str, object] = {"forfeit": forfeit} if forfeit or self.script.number % 2 else {}
            found.append({"id": team, "score": score, "ranking": rank, **forfeits})
        return found

    def _result(self, step: Step) -> dict[str, Any]:
        participants = [{"id": self._player(player).user_id, "score": score} for player, score in step.scores]
        body: dict[str, Any] = {"match_id": self.match_id, "participants": participants}
        if step.ranks:
            body["teams"] = self._team_results(step)
        return _spoiled(body, step.how, self._teams)

    async def _report(self, step: Step) -> Reply:
        body = self._result(step)
        game = self._other_game() if step.how == "foreign" else self._game
        path = f"{GAME}/finish" if self.script.number % 3 else "/api/games/v1/finish"
        if step.manner == CUT:
            await game.cut(path, body)
        if step.manner != TWIN:
            reply = await game.call("finish", "POST", path, body)
        else:
            reply, other = await asyncio.gather(*(game.call("finish", "POST", path, body) for _ in range(2)))
            self._check("twice the same result", (reply.status, reply.body), (other.status, other.body))
        return reply

    # --- the end ---

    async def _compare_end(self) -> None:
        view = await self._look()
        model, script = self.model, self.script
        outcome = model.outcome()
        self._check("the status", (model.status, model.reason), (view["status"], view.get("abort_reason") or ""))
        self._check("the entry fee", script.fee, view["entry_fee"]["amount"])
        pot = script.fee * script.teams * script.size
        self._check("the prize pool", pot - pot * script.game.fee_bps // 10_000, view["prize_pool"]["amount"])
        winnings = {self._player(player).user_id: amount for player, amount in outcome.winnings.items()}
        self._check("winnings", winnings, {each["user_id"]: each["amount"] for each in view["winnings"]})
        states = {self._player(number).user_id: seat.state for number, seat in model.seats.items()}
        members = [member for team in view["teams"] for member in team["members"]]
        self._check("members", states, {each["user_id"]: each["state"] for each in members})
        if model.standings:
            standings = [(standing.rank, standing.forfeit) for standing in model.standings]
            self._check("ranks", standings, [(team["ranking"], bool(team["forfeit"])) for team in view["teams"]])
            self._compare_scores(members)

    def _compare_scores(self, members: Sequence[Mapping[str, Any]]) -> None:
        if not self.model.scores:
            return
        scores = {self._player(number).user_id: score for number, score in self.model.scores.items()}
        shown = {each["user_id"]: each["score"] for each in members if each.get("score") is not None}
        self._check("scores", scores, shown)


def _spoiled(body: dict[str, Any], how: str, teams: Sequence[str]) -> dict[str, Any]:
    """A result with a fault in it."""
    first = body["participants"][0]
    rest = body["participants"][1:]
    match how:
        case "negative":
            body["participants"] = [{**first, "score": -1}, *rest]
        case "huge":
            body["participants"] = [{**first, "score": MAX_SCORE + 1}, *rest]
        case "nobody":
            body["participants"] = []
        case "stranger":
            body["participants"] = [{**first, "id": NOBODY}, *rest]
        case "twice":
            body["participants"] = [first, *body["participants"]]
        case "missing":
            body["participants"] = rest
        case "gap":
            body["teams"] = [{**team, "ranking": team["ranking"] + 1} for team in body["teams"]]
        case "forfeit-above":
            ranked = [{**team, "ranking": 2, "forfeit": False} for team in body["teams"]]
            body["teams"] = [{**ranked[0], "ranking": 1, "forfeit": True}, *ranked[1:]]
        case "wrong-mode" if "teams" in body:
            body["participants"], body["teams"] = [first], []
        case "wrong-mode":
            body["teams"] = [{"id": team, "score": 1, "ranking": rank} for rank, team in enumerate(teams, 1)]
    return body
