"""Every check: what it is called, why it matters, where the contract says so, and what to do when it fails.

A check's id never changes its meaning; pipelines may name it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from oklp.check.report import CheckResult, Verdict
from oklp.errors import InvariantBroken


@dataclass(frozen=True, slots=True)
class Check:
    """`section` is of the wire contract."""

    id: str
    title: str
    section: str
    reason: str
    fix: str


CHECKS = (
    # --- match info ----------------------------------------------------------------------------------------------
    Check(
        "webhook.start",
        "A valid PUT is answered with 200",
        "A3",
        "Anything but 200 aborts the match, and every entry fee goes back.",
        "Answer exactly 200 once the match can be played. Where even this request is refused, see that the server has "
        "the developer configuration that this check wrote.",
    ),
    Check(
        "webhook.quick",
        "The PUT is answered quickly",
        "A3",
        "The players' money waits on this answer, and after ten seconds the match is off.",
        "Write the match down, answer, and do slow work afterwards.",
    ),
    Check(
        "webhook.repeat",
        "The same PUT twice is one match",
        "A3",
        "An answer can be lost on its way; the platform then sends the same PUT again and goes by the new answer.",
        "Look the match_id up first, and answer 200 for a match that is known.",
    ),
    Check(
        "webhook.extra-fields",
        "Unknown fields are tolerated",
        "A3",
        "The platform may add fields to the match info at any time. A game that refuses them stops working that day.",
        "Read the fields that you need, and ignore all others.",
    ),
    Check(
        "webhook.body",
        "A body that is no match info is refused with a 4xx",
        "A3",
        "A 200 would start a match that does not exist, and a 5xx is an error that nobody handled.",
        "Check the body before using it, and answer 400 or 422.",
    ),
    Check(
        "webhook.no-token",
        "A PUT without a token is refused",
        "A2",
        "The address of a webhook is no secret. Without a check anybody can start matches.",
        "Answer 401 when there is no Authorization header with a Bearer token.",
    ),
    Check(
        "webhook.forged",
        "A token that is signed with another key is refused",
        "A2",
        "Whoever can sign for themselves can start matches. This tries a stranger's RSA key under the platform's key "
        "id and under an unknown one, and HS256 with the public key as its secret.",
        "Verify the signature with the platform's public key, and allow RS256 alone.",
    ),
    Check(
        "webhook.alg-none",
        "A token without a signature (alg none) is refused",
        "A2",
        "A token can claim that it needs no signature. A library that believes it believes everybody.",
        "Allow the algorithm RS256 and no other, whatever the token's header says.",
    ),
    Check(
        "webhook.expired",
        "An expired token is refused",
        "A2",
        "Otherwise a request that leaked once can be played back for ever.",
        "Check exp, with a minute of leeway at the most.",
    ),
    Check(
        "webhook.audience",
        "A token for another game is refused",
        "A2",
        "Every game on the platform gets tokens signed with the same key. Without this check each can call yours.",
        "Check that aud is your client_id.",
    ),
    Check(
        "webhook.issuer",
        "A token of another issuer is refused",
        "A2",
        "Two platforms may share neither players nor money, even where they share a key by mistake.",
        "Check that iss is exactly the public_key_url of your developer configuration.",
    ),
    Check(
        "webhook.method",
        "A token for another method is refused",
        "A2",
        "A start and its abort have the same body, which is all that their signature covers. Whoever can play a start "
        "back as a DELETE calls the match off, unless the token is looked at: its claim htm names its method.",
        "Check that htm, where the token has it, is the method of the request. The receivers of oklp.sdk do.",
    ),
    Check(
        "webhook.signature",
        "A body that was changed on its way is noticed",
        "A3",
        "The token says who calls, and nothing about the body. Only the signature ties the two together.",
        "Verify webhook-signature with webhook_secret over webhook-id, webhook-timestamp and the raw body. "
        "A Standard Webhooks library, or the receivers of oklp.sdk, do it.",
    ),
    Check(
        "webhook.delete",
        "DELETE calls a match off",
        "A3",
        "The platform says so that a match is off and refunded, and repeats it until it is heard.",
        "Take DELETE at the same address with the same checks, forget the match, and answer 200.",
    ),
    Check(
        "webhook.delete-unknown",
        "DELETE of an unknown match is no error",
        "A3",
        "A match is also called off when its PUT never arrived. Nothing is wrong then.",
        "Answer 200: there is nothing to forget.",
    ),
    # --- launch --------------------------------------------------------------------------------------------------
    Check(
        "launch.template",
        "The launch templates are well formed",
        "A5",
        "Players are sent to this address. The platform fills in {match-token}, spelt just so.",
        "Register a https address for browsers, with {match-token} at most once and not in the host.",
    ),
    Check(
        "launch.page",
        "The launch page opens with a fresh token",
        "A5",
        "This is the first thing that a player sees who has paid.",
        "Answer a GET of the filled template with 200 and a page, redirects included.",
    ),
    Check(
        "launch.again",
        "A player can come back with the same link",
        "A6",
        "Players reload the page and lose their connection. A token may be asked about again and again while it lives.",
        "Do not use a match-token up. Let the same player back into the same seat.",
    ),
    Check(
        "launch.unknown-token",
        "An unknown or expired token gets a friendly page",
        "A6",
        "Old links are followed all the time. The platform answers 404 to them, which is no error of your server.",
        "Handle 404 from token-info: show a page that leads back to the platform, with a status below 500.",
    ),
    Check(
        "launch.secrets",
        "No secret reaches the browser",
        "A6",
        "Whoever has the client secret can report any result. A page is public, its scripts included. An access token, "
        "which a page may be handed to call token-info with, can do the same until it expires, and is warned of.",
        "Call the platform from your server only. Then rotate the secret that was shown.",
    ),
    Check(
        "token.checked",
        "The match-token is asked about before anybody plays",
        "A6",
        "Only token-info says which player of which match this is. All else can be made up.",
        "Call token-info for each player before the game begins, and take match and player from its answer alone.",
    ),
    Check(
        "token.reused",
        "The access token is kept, not fetched for each call",
        "A2",
        "A token lives for minutes. Fetching one for each call doubles the time of every call and meets rate limits.",
        "Keep the token until shortly before expires_in has passed. oklp.sdk does.",
    ),
    # --- results -------------------------------------------------------------------------------------------------
    Check(
        "result.reported",
        "A result is reported for each finished match",
        "A7",
        "Without a result in time everybody is refunded, and nobody has won.",
        "Report as soon as the match is over, also when a player forfeits, leaves or never comes.",
    ),
    Check(
        "result.shape",
        "Results have the shape of the contract",
        "A7",
        "The platform refuses anything else. Scores and ranks are JSON integers, neither text nor 300.0.",
        "Send match_id, participants with id and score and, in a synchronous game, teams with id, score and ranking.",
    ),
    Check(
        "result.mode",
        "Results are those of the game's mode",
        "A7",
        "A synchronous game sends one result for the whole match, an asynchronous one a result for each player.",
        "With mode sync send all participants and teams in one call; with async one participant and no teams. Or "
        "register the other mode.",
    ),
    Check(
        "result.roster",
        "Results name the players and teams of the match",
        "A7",
        "A result with somebody missing, or with a stranger, is refused as a whole.",
        "Take the ids from the PUT. In a synchronous game list everybody, also those who forfeited.",
    ),
    Check(
        "result.ranking",
        "Ranks start at 1 without a gap, forfeits last",
        "A7",
        "Ranks decide who is paid. The platform takes 1,1,2 and 1,1,3 for ties and nothing else.",
        "Rank from 1. Never rank a team that forfeited above one that played.",
    ),
    Check(
        "result.scores",
        "A team's score is the sum of its players'",
        "A7",
        "In a synchronous game scores only inform, but players compare them and ask.",
        "Sum the members' scores up, or accept this warning if your game counts otherwise.",
    ),
    Check(
        "result.retry-503",
        "A result is sent again after a 503",
        "A7",
        "A platform restarts, and says 503 while a match is being started. A result that is not repeated is lost.",
        "Repeat on 429 and 5xx with a growing wait, no sooner than Retry-After says. ResultOutbox of oklp.sdk does.",
    ),
    Check(
        "result.retry-dropped",
        "A result is sent again when the answer was lost",
        "A7",
        "When a connection breaks nobody knows whether the result arrived. The endpoint is idempotent for just that.",
        "Repeat the identical call when there was no answer.",
    ),
    Check(
        "result.same",
        "Nobody's result is sent twice differently",
        "A7",
        "The first accepted result counts. A different one later is kept for an operator, who will ask.",
        "Make the result once, write it down, and repeat that. Let one process report a match.",
    ),
    Check(
        "result.called-off",
        "A match that was called off has no result",
        "A3",
        "Everybody has been refunded. Who plays on plays for nothing.",
        "After DELETE end the match, refuse new players, and report nothing. Let nobody in whose token-info does not "
        "say live.",
    ),
    Check(
        "fair.seed",
        "The players of a match get the same seed",
        "A8",
        "Who plays for a prize must meet the same game as the others.",
        "Draw everything random from match_id (MatchRandom of oklp.sdk). To have it seen here, put "
        '`<meta name="oklp-seed" content="…">` into the launch page, or give --seed-url.',
    ),
)

_BY_ID = {check.id: check for check in CHECKS}
_SEVERITY: dict[Verdict, int] = {"not-seen": 0, "not-applicable": 1, "pass": 2, "warn": 3, "fail": 4}


@dataclass(slots=True)
class Grades:
    """Verdicts as they come in. The worst of a check counts, with all that was said at that level."""

    _given: dict[str, tuple[Verdict, list[str]]] = field(default_factory=dict)

    def give(self, check_id: str, verdict: Verdict, detail: str) -> None:
        if check_id not in _BY_ID:
            raise InvariantBroken(f"there is no check {check_id}")
        known, details = self._given.get(check_id, (verdict, []))
        if _SEVERITY[verdict] > _SEVERITY[known]:
            self._given[check_id] = (verdict, [detail])
        elif verdict == known:
            self._given[check_id] = (verdict, [*details, *([detail] if detail not in details else [])])

    def judge(self, check_id: str, faults: Iterable[str], fine: str) -> None:
        """Fail with what is wrong, or pass with `fine`."""
        found = list(faults)
        for fault in found:
            self.give(check_id, "fail", fault)
        if not found:
            self.give(check_id, "pass", fine)

    def verdict(self, check_id: str) -> Verdict:
        return self._given[check_id][0] if check_id in self._given else "not-seen"

    def results(self) -> list[CheckResult]:
        return [
            CheckResult(
                id=check.id,
                title=check.title,
                section=check.section,
                reason=check.reason,
                fix=check.fix,
                verdict=self.verdict(check.id),
                detail=" ".join(self._given.get(check.id, ("not-seen", ["The run did not get that far."]))[1]),
            )
            for check in CHECKS
        ]
