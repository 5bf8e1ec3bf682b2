"""The network half of mails: one mail to a mail server (RFC 5321), or, in the sandbox, to the terminal.

It knows nothing of the outbox. That a mail is sent means that a server has taken it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import IO, Protocol

from oklp.settings import SmtpServer

TIMEOUT_SECONDS = 30
RULE = "─" * 78
# Lines may have 998 characters (RFC 5322, section 2.1.1): a link in a header that is folded is none any more.
# Seven bits, since not every server takes eight.
ON_THE_WIRE = policy.SMTP.clone(max_line_length=998, cte_type="7bit")


class NotSent(Exception):
    """Why not. `permanent`: trying again would end in the same way; `uncertain`: it may have been sent after all."""

    def __init__(self, reason: str, *, permanent: bool, uncertain: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent
        self.uncertain = uncertain


@dataclass(frozen=True, slots=True)
class Mail:
    """`mail_id` is the same at each attempt, so that a mail that comes twice can be told.

    `unsubscribe` is a link that takes a POST (RFC 8058): mail programs have a button for it.
    """

    mail_id: str
    recipient: str
    subject: str
    text: str
    at: int
    unsubscribe: str = ""


class Mailer(Protocol):
    async def send(self, mail: Mail) -> None:
        """Raises NotSent."""


class NoMailer:
    """Production without a mail server: mails wait for one until they are of no more use."""

    async def send(self, mail: Mail) -> None:
        raise NotSent("OKLP_SMTP_URL names no mail server", permanent=False)


class ConsoleMailer:
    """Prints mails for whoever watches the terminal of a sandbox."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream

    async def send(self, mail: Mail) -> None:
        stream = self._stream or sys.stderr
        head = f"{RULE}\nMail to {mail.recipient}\nSubject: {mail.subject}\n"
        stream.write(f"{head}\n{mail.text.rstrip()}\n{RULE}\n")
        stream.flush()


class SmtpMailer:
    """One connection for each mail. `sender` is `Name <address>`."""

    def __init__(self, server: SmtpServer, sender: str) -> None:
        self._server = server
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        import aiosmtplib  # a server that sends no mail need not have it in memory

        message = message_of(mail, self._sender).as_bytes()
        server = self._server
        try:
            await aiosmtplib.send(
                message,
                sender=parseaddr(self._sender)[1],
                recipients=[mail.recipient],
                hostname=server.host,
                port=server.port,
                username=server.username,
                password=server.password,
                use_tls=server.security == "tls",
                start_tls=server.security == "starttls",
                timeout=TIMEOUT_SECONDS,
            )
        except aiosmtplib.SMTPRecipientsRefused as refusal:
            answers = refusal.recipients
            raise NotSent(_in_a_line(answers[0]), permanent=all(each.code >= 500 for each in answers)) from None
        except aiosmtplib.SMTPResponseException as refusal:
            # 5xx of the log-in or the sender is about this server, and somebody may set it right.
            about_mail = isinstance(refusal, aiosmtplib.SMTPDataError)
            raise NotSent(_in_a_line(refusal), permanent=about_mail and refusal.code >= 500) from None
        except aiosmtplib.SMTPNotSupported as refusal:
            raise NotSent(_in_a_line(refusal), permanent=False) from None
        except (aiosmtplib.SMTPConnectError, ValueError) as error:
            raise NotSent(_in_a_line(error), permanent=False) from None
        except (aiosmtplib.SMTPException, OSError) as error:  # the connection ended, perhaps before the last answer
            raise NotSent(_in_a_line(error), permanent=False, uncertain=True) from None


def message_of(mail: Mail, sender: str) -> EmailMessage:
    """The mail as it goes over the wire (RFC 5322). Raises NotSent for an address that mail has no form for."""
    name, address = parseaddr(sender)
    message = EmailMessage(policy=ON_THE_WIRE)
    try:
        message["From"] = Address(name, addr_spec=address)
        message["To"] = Address(addr_spec=mail.recipient)
    except (MessageError, ValueError, IndexError) as error:
        raise NotSent(f"not an address that mail can be sent to: {_in_a_line(error)}", permanent=True) from None
    message["Subject"] = _in_a_line(mail.subject)  # there are names of strangers in it
    message["Date"] = format_datetime(datetime.fromtimestamp(mail.at / 1000, UTC))
    message["Message-ID"] = f"<{mail.mail_id}@{address.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday should answer
    if mail.unsubscribe:
        message["List-Unsubscribe"] = f"<{mail.unsubscribe}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(mail.text)
    return message


def _in_a_line(error: object) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__
