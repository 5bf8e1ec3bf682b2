"""What mails about accounts say, in the language of whom they are to. Every sentence that they have is here.

A mail is plain text: a greeting, paragraphs, one link or a few. `{…}` is filled in; `write` refuses a text whose
values are missing, so a mail with a hole in it cannot be sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from oklp.errors import InvariantBroken
from oklp.services import notice_texts


class Text(NamedTuple):
    subject: str
    body: str


SOURCE = "en"

# By language and kind of mail.
TEXTS: Mapping[str, Mapping[str, Text]] = {
    "en": {
        "email-verification": Text(
            "Please confirm your e-mail address",
            """\
Hello {username},

this address was given for your account. Please confirm that it is yours:

{link}

The link works for {life}. If you did not give this address to us, leave it be: nothing happens without the link.
""",
        ),
        "invitation": Text(
            "You are invited to {studio}",
            """\
Hello {username},

{studio} has made an account for you among its members. Choose a password, and it is yours:

{link}

The link works once, and for {life}. After that, ask for a new password by your username. If you do not know {studio},
leave it be: nobody can use the account without the link.
""",
        ),
        "password-reset": Text(
            "Choose a new password",
            """\
Hello,

somebody, we hope you, asked for a new password. Choose it here:

{links}

Each link works once, and for {life}. If you did not ask, leave it be: your password stays as it is.
""",
        ),
        "password-changed": Text(
            "Your password was changed",
            """\
Hello {username},

the password of your account was changed, and its other sessions were ended.

If it was not you, ask for a new password at once:

{link}
""",
        ),
        "email-changed": Text(
            "Your e-mail address was changed",
            """\
Hello {username},

your account has another e-mail address from now on. This one gets no more mail from us.

If it was not you, ask for a new password at once, by your username:

{link}
""",
        ),
        "factor-added": Text(
            "A second factor was added to your account",
            """\
Hello {username},

an authenticator app or a passkey was added to your account. Logging in takes it from now on.

If it was not you, ask for a new password at once, and remove what is not yours:

{link}
""",
        ),
        "factor-removed": Text(
            "A second factor was removed from your account",
            """\
Hello {username},

an authenticator app or a passkey was removed from your account.

If it was not you, ask for a new password at once:

{link}
""",
        ),
        "factors-removed": Text(
            "The second factors of your account were removed",
            """\
Hello {username},

an operator has removed every second factor of your account, with its recovery codes, and ended its sessions. Your
password alone lets you in: log in, and set up a new second factor.

If you did not ask for it, ask for a new password at once, and tell whoever runs the platform:

{link}
""",
        ),
        "recovery-code-used": Text(
            "A recovery code of your account was used",
            """\
Hello {username},

somebody logged in to your account with a recovery code. Of these, {left} are left.

If it was not you, ask for a new password at once, and make new codes:

{link}
""",
        ),
        "account-suspended": Text(
            "Your account is suspended",
            """\
Hello {username},

an operator has suspended your account. What is being played or about to start goes on, and its result counts. Matches
that you had joined, and that still waited for players or fees, were called off, and every fee went back.

Nothing new can be begun, and deposits and withdrawals wait for an operator. Your balance stays as it is; what you win
is held until an operator has decided. You can log in as before:

{link}
""",
        ),
        "account-reinstated": Text(
            "Your account is open again",
            """\
Hello {username},

your account is not suspended any more: you can play, deposit and withdraw as before. Winnings that were held meanwhile
wait until an operator has decided about them.

{link}
""",
        ),
    },
    "de": {
        "email-verification": Text(
            "Bitte bestätige deine E-Mail-Adresse",
            """\
Hallo {username},

diese Adresse wurde für dein Konto angegeben. Bitte bestätige, dass es deine ist:

{link}

Der Link gilt {life} lang. Wenn du uns diese Adresse nicht gegeben hast, ist nichts zu tun: ohne den Link geschieht
nichts.
""",
        ),
        "invitation": Text(
            "{studio} lädt dich ein",
            """\
Hallo {username},

{studio} hat für dich ein Konto als Mitglied angelegt. Wähle ein Passwort, und es gehört dir:

{link}

Der Link gilt einmal und {life} lang. Danach kannst du mit deinem Benutzernamen ein neues Passwort anfordern. Wenn du
{studio} nicht kennst, ist nichts zu tun: ohne den Link kann niemand das Konto benutzen.
""",
        ),
        "password-reset": Text(
            "Wähle ein neues Passwort",
            """\
Hallo,

jemand, hoffentlich du, hat ein neues Passwort angefordert. Wähle es hier:

{links}

Jeder Link gilt einmal und {life} lang. Wenn du das nicht warst, ist nichts zu tun: dein Passwort bleibt, wie es ist.
""",
        ),
        "password-changed": Text(
            "Dein Passwort wurde geändert",
            """\
Hallo {username},

das Passwort deines Kontos wurde geändert, und du wurdest überall sonst abgemeldet.

Wenn du das nicht warst, fordere sofort ein neues Passwort an:

{link}
""",
        ),
        "email-changed": Text(
            "Deine E-Mail-Adresse wurde geändert",
            """\
Hallo {username},

dein Konto hat ab jetzt eine andere E-Mail-Adresse. Diese bekommt keine E-Mails mehr von uns.

Wenn du das nicht warst, fordere sofort mit deinem Benutzernamen ein neues Passwort an:

{link}
""",
        ),
        "factor-added": Text(
            "Ein zweiter Faktor wurde zu deinem Konto hinzugefügt",
            """\
Hallo {username},

zu deinem Konto wurde eine Authenticator-App oder ein Passkey hinzugefügt. Beim Anmelden wird ab jetzt danach gefragt.

Wenn du das nicht warst, fordere sofort ein neues Passwort an und entferne, was nicht deines ist:

{link}
""",
        ),
        "factor-removed": Text(
            "Ein zweiter Faktor deines Kontos wurde entfernt",
            """\
Hallo {username},

aus deinem Konto wurde eine Authenticator-App oder ein Passkey entfernt.

Wenn du das nicht warst, fordere sofort ein neues Passwort an:

{link}
""",
        ),
        "factors-removed": Text(
            "Die zweiten Faktoren deines Kontos wurden entfernt",
            """\
Hallo {username},

der Betreiber hat alle zweiten Faktoren deines Kontos entfernt, auch die Wiederherstellungscodes, und dich überall
abgemeldet. Zum Anmelden genügt dein Passwort: melde dich an und richte einen neuen zweiten Faktor ein.

Wenn du nicht darum gebeten hast, fordere sofort ein neues Passwort an und sag dem Betreiber Bescheid:

{link}
""",
        ),
        "recovery-code-used": Text(
            "Ein Wiederherstellungscode deines Kontos wurde benutzt",
            """\
Hallo {username},

jemand hat sich mit einem Wiederherstellungscode bei deinem Konto angemeldet. Übrig sind davon noch: {left}.

Wenn du das nicht warst, fordere sofort ein neues Passwort an und erzeuge neue Codes:

{link}
""",
        ),
        "account-suspended": Text(
            "Dein Konto ist gesperrt",
            """\
Hallo {username},

der Betreiber hat dein Konto gesperrt. Was gespielt wird oder gerade beginnt, geht weiter, und das Ergebnis zählt.
Matches, denen du beigetreten warst und die noch auf Spieler oder Einsätze warteten, wurden abgesagt, und jeder Einsatz
ging zurück.

Neues kann nicht beginnen, und Ein- und Auszahlungen warten auf den Betreiber. Dein Guthaben bleibt, wie es ist; was du
gewinnst, wird einbehalten, bis der Betreiber entschieden hat. Anmelden kannst du dich wie bisher:

{link}
""",
        ),
        "account-reinstated": Text(
            "Dein Konto ist wieder offen",
            """\
Hallo {username},

dein Konto ist nicht mehr gesperrt: du kannst spielen, einzahlen und auszahlen wie zuvor. Gewinne, die inzwischen
einbehalten wurden, warten, bis der Betreiber darüber entschieden hat.

{link}
""",
        ),
    },
}

# A mail about something that a player is told on the site as well: notice_texts has what it says.
NOTIFICATION = "notification"

# One line of the list of links in a mail that may be about several accounts of one person.
LINK_OF = "{username}: {link}"

_UNITS = (("day", 24 * 3600), ("hour", 3600), ("minute", 60), ("second", 1))


def life(seconds: int, language: str) -> str:
    """A duration in its largest whole unit: `30 minutes`, `30 Minuten`."""
    from babel.units import format_unit  # as in amounts: commands need not wait for it

    unit, length = next(each for each in _UNITS if seconds % each[1] == 0)
    return format_unit(seconds // length, f"duration-{unit}", "long", locale=language)


def write(kind: str, values: Mapping[str, str]) -> Text:
    """The mail's subject and body, in the `language` of the values; a mail of before they had one is English."""
    language = values.get("language", SOURCE)
    if language not in TEXTS:
        language = SOURCE
    if kind == NOTIFICATION:
        return Text(*notice_texts.write(language, values))
    try:
        text = TEXTS[language][kind]
        return Text(text.subject.format_map(values), text.body.format_map(values))
    except KeyError as missing:
        raise InvariantBroken(f"a mail of kind {kind} lacks {missing}") from None
