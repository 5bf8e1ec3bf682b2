"""One loop a process that sends the outbox of mails: with no transaction open, and its outcome recorded in another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from oklp.errors import OklpError
from oklp.mailer import ConsoleMailer, Mail, Mailer, NoMailer, NotSent, SmtpMailer
from oklp.observability import count_mail, get_logger
from oklp.retries import while_away
from oklp.services import accounts, mails
from oklp.services.mails import Letter
from oklp.services.vault import Vault
from oklp.settings import Settings
from oklp.storage.engine import Database

log = get_logger(__name__)

LOOK_SECONDS = 5.0
# Together less than the lease of a mail: after it, another process would send it.
SEND_SECONDS = 60.0
RECORD_SECONDS = 30.0
AT_ONCE = 10


def mailer_of(settings: Settings) -> Mailer:
    """The way that mails of these settings go."""
    server = settings.smtp_server
    if server is not None:
        return SmtpMailer(server, settings.mail_from)
    return ConsoleMailer() if settings.sandbox else NoMailer()


class Postman:
    """Started once a process, on its event loop."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        vault: Vault,
        clock: Callable[[], int],
        new_token: Callable[[], str],
        mailer: Mailer | None = None,
    ) -> None:
        self._settings = settings
        self._db = db
        self._vault = vault
        self._clock = clock
        self._new_token = new_token
        self._mailer = mailer or mailer_of(settings)
        self._woken = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._follow())

    def wake(self) -> None:
        """There may be something in the outbox."""
        self._woken.set()

    async def stop(self, until: float) -> None:
        """Take nothing more on, and let what is on its way end until then, a time of the loop's clock.

        What is cut off is sent again, once its lease has run out.
        """
        self._stopping = True
        self._woken.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=max(until - asyncio.get_running_loop().time(), 0))
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        while not self._stopping:
            self._woken.clear()
            pause_seconds = LOOK_SECONDS
            try:
                pause_seconds = await self._look()
            except OklpError as refusal:
                log.warning("postman_cannot_look", detail=refusal.detail)
            except Exception:
                log.exception("postman_failed")
            if pause_seconds > 0 and not self._stopping:
                try:
                    async with asyncio.timeout(pause_seconds):
                        await self._woken.wait()
                except TimeoutError:
                    pass

    async def _look(self) -> float:
        """Send what is due. Returns after how many seconds to look again."""
        next_at = await self._db.read(mails.next_at)
        now = self._clock()
        if next_at is None or next_at > now:
            wait = LOOK_SECONDS if next_at is None else (next_at - now) / 1000
            return min(max(wait, 0.01), LOOK_SECONDS)
        await self._db.write(accounts.answer_resets, self._settings, self._vault, self._new_token, now, AT_ONCE)
        letters, too_late = await self._db.write(mails.claim, self._vault, now, AT_ONCE)
        for mail_id in too_late:
            count_mail("failed")
            log.warning("mail_given_up", mail=mail_id)
        await asyncio.gather(*map(self._send, letters))
        return 0

    async def _send(self, letter: Letter) -> None:
        now = self._clock()
        try:
            mail = Mail(letter.mail_id, letter.recipient, letter.subject, letter.text, now, letter.unsubscribe)
            async with asyncio.timeout(SEND_SECONDS):
                await self._mailer.send(mail)
        except NotSent as failure:
            await self._record(letter, failure)
            return
        except TimeoutError:
            await self._record(letter, NotSent("the mail server took too long", permanent=False, uncertain=True))
            return
        except Exception as error:  # or it would be tried for ever, and never told of
            log.exception("mail_unforeseen", mail=letter.mail_id)
            unforeseen = NotSent(f"unforeseen: {type(error).__name__}", permanent=False, uncertain=True)
            await self._record(letter, unforeseen)
            return
        await while_away(lambda: self._db.write(mails.sent, self._settings, letter, self._clock()), RECORD_SECONDS)
        count_mail("sent")
        log.info("mail_sent", mail=letter.mail_id, attempt=letter.attempt)

    async def _record(self, letter: Letter, failure: NotSent) -> None:
        args = (failure.reason, failure.permanent, failure.uncertain, self._clock())
        given_up = await while_away(
            lambda: self._db.write(mails.not_sent, self._settings, letter, *args), RECORD_SECONDS
        )
        count_mail("failed" if given_up else "retried")
        log.warning("mail_not_sent", mail=letter.mail_id, error=failure.reason, given_up=given_up)
