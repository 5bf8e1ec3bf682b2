"""What mails about accounts say. Every sentence that they have is here, and nothing else is.

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


TEXTS: Mapping[str, Text] = {
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
    "recovery-code-used": Text(
        "A recovery code of your account was used",
        """\
Hello {username},

somebody logged in to your account with a recovery code. Of these, {left} are left.

If it was not you, ask for a new password at once, and make new codes:

{link}
""",
    ),
}

# A mail about something that a player is told on the site as well: notice_texts has what it says.
NOTIFICATION = "notification"

# One line of the list of links in a mail that may be about several accounts of one person.
LINK_OF = "{username}: {link}"

_LIVES = ((24 * 3600, "{n} day", "{n} days"), (3600, "{n} hour", "{n} hours"), (60, "{n} minute", "{n} minutes"))


def life(seconds: int) -> str:
    """A duration in its largest whole unit: `30 minutes`."""
    for unit, one, many in _LIVES:
        if seconds >= unit and seconds % unit == 0:
            number = seconds // unit
            return (one if number == 1 else many).format(n=number)
    return f"{seconds} seconds"


def write(kind: str, values: Mapping[str, str]) -> Text:
    """The mail's subject and body."""
    if kind == NOTIFICATION:
        return Text(*notice_texts.write(values))
    try:
        text = TEXTS[kind]
        return Text(text.subject.format_map(values), text.body.format_map(values))
    except KeyError as missing:
        raise InvariantBroken(f"a mail of kind {kind} lacks {missing}") from None
