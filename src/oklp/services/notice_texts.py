"""What mails about notifications say, in the player's language. Every sentence of theirs is here.

`{…}` is filled in: the player's name, the amount, and the links to the match, to the choices and out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from oklp.errors import InvariantBroken
from oklp.services import amounts


class Told(NamedTuple):
    """The subject, and the first sentence."""

    subject: str
    sentence: str


# By language and kind of the notification; with `-free` where no money is in it.
TOLD: Mapping[str, Mapping[str, Told]] = {
    "en": {
        "invited": Told("You are invited to a match", "you are invited to a match for {amount}:"),
        "invited-free": Told("You are invited to a match", "you are invited to a free match:"),
        "began": Told("Your match has begun", "your match has begun. Play here:"),
        "won": Told("You won {amount}", "you won a match, and {amount} are in your wallet:"),
        "won-free": Told("You won", "you won a match:"),
        "drawn": Told("A draw: you get {amount}", "your match ended in a draw, and {amount} are in your wallet:"),
        "drawn-free": Told("A draw", "your match ended in a draw:"),
        "lost": Told("Your match is over", "your match is over. You did not win, but got {amount}:"),
        "lost-free": Told("Your match is over", "your match is over. You did not win this time:"),
        "held": Told(
            "{amount} that you won are held",
            "{amount} that you won are held until an operator has decided about your account:",
        ),
        "released": Told("{amount} are in your wallet", "{amount} that were held are in your wallet now:"),
        "confiscated": Told(
            "{amount} are not paid out",
            "an operator has decided that {amount} that you won, and that were held, are not paid out:",
        ),
        "refunded": Told(
            "Your {amount} are back", "a match was called off, and your entry fee of {amount} is back in your wallet:"
        ),
        "refused": Told(
            "Your {amount} are back", "the game refused a match, and your entry fee of {amount} is back in your wallet:"
        ),
        "forfeited": Told(
            "Your {amount} are back",
            "everybody forfeited a match, and your entry fee of {amount} is back in your wallet:",
        ),
        "called-off": Told("A match was called off", "a match that you had joined was called off:"),
    },
    "de": {
        "invited": Told("Du bist zu einem Match eingeladen", "du bist zu einem Match um {amount} eingeladen:"),
        "invited-free": Told("Du bist zu einem Match eingeladen", "du bist zu einem kostenlosen Match eingeladen:"),
        "began": Told("Dein Match hat begonnen", "dein Match hat begonnen. Hier spielst du:"),
        "won": Told("Du hast {amount} gewonnen", "du hast ein Match gewonnen, {amount} sind auf deinem Guthaben:"),
        "won-free": Told("Du hast gewonnen", "du hast ein Match gewonnen:"),
        "drawn": Told(
            "Unentschieden: du bekommst {amount}",
            "dein Match endete unentschieden, {amount} sind auf deinem Guthaben:",
        ),
        "drawn-free": Told("Unentschieden", "dein Match endete unentschieden:"),
        "lost": Told("Dein Match ist vorbei", "dein Match ist vorbei. Du hast nicht gewonnen, aber {amount} bekommen:"),
        "lost-free": Told("Dein Match ist vorbei", "dein Match ist vorbei. Diesmal hast du nicht gewonnen:"),
        "held": Told(
            "{amount} von deinem Gewinn werden zurückgehalten",
            "{amount}, die du gewonnen hast, werden zurückgehalten, bis über dein Konto entschieden ist:",
        ),
        "released": Told(
            "{amount} sind auf deinem Guthaben", "{amount}, die zurückgehalten wurden, sind jetzt auf deinem Guthaben:"
        ),
        "confiscated": Told(
            "{amount} werden nicht ausgezahlt",
            "der Betreiber hat entschieden, dass dein zurückgehaltener Gewinn von {amount} nicht ausgezahlt wird:",
        ),
        "refunded": Told(
            "Du hast {amount} zurück",
            "ein Match wurde abgesagt, dein Einsatz von {amount} ist wieder auf dem Guthaben:",
        ),
        "refused": Told(
            "Du hast {amount} zurück",
            "das Spiel hat ein Match abgelehnt, dein Einsatz von {amount} ist wieder auf deinem Guthaben:",
        ),
        "forfeited": Told(
            "Du hast {amount} zurück",
            "alle haben ein Match aufgegeben, dein Einsatz von {amount} ist wieder auf deinem Guthaben:",
        ),
        "called-off": Told("Ein Match wurde abgesagt", "ein Match, dem du beigetreten warst, wurde abgesagt:"),
    },
}

FRAME: Mapping[str, str] = {
    "en": """\
Hello {username},

{sentence}

{link}

Choose what we write to you about:
{settings}

No more mails of this kind:
{unsubscribe}
""",
    "de": """\
Hallo {username},

{sentence}

{link}

Wähle, worüber wir dir schreiben:
{settings}

Keine Mails dieser Art mehr:
{unsubscribe}
""",
}


def write(language: str, values: Mapping[str, str]) -> tuple[str, str]:
    """The subject and the text, in a language of TOLD. `amount` are minor units, or nothing.

    Raises InvariantBroken if a value is missing.
    """
    try:
        amount = int(values["amount"] or 0)
        told = TOLD[language].get(f"{values['told']}-free") if not amount else None
        told = told or TOLD[language][values["told"]]
        filled = {**values, "amount": amounts.money(amount, values["currency"], language)}
        sentence = told.sentence.format_map(filled)
        return told.subject.format_map(filled), FRAME[language].format_map({**filled, "sentence": sentence})
    except KeyError as missing:
        raise InvariantBroken(f"a mail about a notification lacks {missing}") from None
