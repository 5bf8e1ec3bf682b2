"""Mails on the wire: a real mail server takes or refuses them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from oklp.mailer import ConsoleMailer, Mail, NoMailer, NotSent, SmtpMailer
from oklp.settings import Settings

SENDER = "The Platform <noreply@play.example>"
MAIL = Mail("0b5c", "ada@example.org", "Grüße", "Hello ada,\n\nhttps://play.example/verify-email?token=abc\n", 10**12)


@dataclass
class Inbox:
    """A mail server's rules, and what it has taken."""

    answers: dict[str, str] = field(default_factory=dict)  # recipient → its refusal
    data_answer: str = "250 taken"
    hangs_up: bool = False  # once it has the mail, without an answer
    taken: list[Envelope] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        if self.data_answer.startswith("250"):
            self.taken.append(envelope)
        if self.hangs_up:
            server.transport.abort()
        return self.data_answer

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"p:s/w@rd", handled=False)

    def message(self) -> EmailMessage:
        [envelope] = self.taken
        return message_from_bytes(cast(bytes, envelope.content), policy=policy.default)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's context, and the certificate to trust it by."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "both.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context, pem


@contextlib.asynccontextmanager
async def listening(inbox: Inbox, *, at_once: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[int]:
    """A mail server for this long; gives its port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(inbox, **options), "127.0.0.1", 0, ssl=at_once)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def mailer(url: str) -> SmtpMailer:
    server = Settings(smtp_url=url).smtp_server
    assert server is not None
    return SmtpMailer(server, SENDER)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))


def test_a_mail_arrives_as_it_was_written() -> None:
    inbox = Inbox()

    async def work() -> None:
        async with listening(inbox) as port:
            await mailer(f"smtp+plain://127.0.0.1:{port}").send(MAIL)

    run(work)
    message = inbox.message()
    assert inbox.taken[0].mail_from == "noreply@play.example"
    assert inbox.taken[0].rcpt_tos == ["ada@example.org"]
    assert (message["From"], message["To"], message["Subject"]) == (SENDER, "ada@example.org", "Grüße")
    assert message["Message-ID"] == "<0b5c@play.example>"
    assert message.get_content().replace("\r\n", "\n") == MAIL.text


def test_a_mail_that_one_can_stop_says_how() -> None:
    """RFC 8058. The link is longer than a line of mail likes to be, and must come through in one piece."""
    link = f"https://play.example/unsubscribe?token={'Ab-_0' * 60}="
    inbox = Inbox()

    async def work() -> None:
        async with listening(inbox) as port:
            await mailer(f"smtp+plain://127.0.0.1:{port}").send(replace(MAIL, unsubscribe=link))

    run(work)
    raw = cast(bytes, inbox.taken[0].content)
    assert f"List-Unsubscribe: <{link}>\r\n".encode() in raw.replace(b"\r\n ", b" ")
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in raw


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_the_password_goes_through_tls_alone(
    scheme: str, tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, certificate = tls
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    inbox = Inbox()
    options: dict[str, Any] = {"authenticator": inbox.authenticate, "auth_required": True}

    async def work() -> None:
        if scheme == "smtps":
            server = listening(inbox, at_once=context, auth_require_tls=False, **options)
        else:
            server = listening(inbox, tls_context=context, **options)
        async with server as port:
            await mailer(f"{scheme}://oklp:p%3As%2Fw%40rd@localhost:{port}").send(MAIL)
            with pytest.raises(NotSent) as caught:
                await mailer(f"{scheme}://oklp:wrong@localhost:{port}").send(MAIL)
            assert not caught.value.permanent  # somebody may set the password right

    run(work)
    assert inbox.logins[0] == (b"oklp", b"p:s/w@rd")
    assert len(inbox.taken) == 1


def test_without_tls_nothing_is_sent_that_was_to_be_protected() -> None:
    inbox = Inbox()

    async def work() -> None:
        async with listening(inbox) as port:
            with pytest.raises(NotSent) as caught:
                await mailer(f"smtp://127.0.0.1:{port}").send(MAIL)
            assert not caught.value.permanent

    run(work)
    assert inbox.taken == []


@pytest.mark.parametrize(
    ("inbox", "permanent"),
    [
        (Inbox(answers={MAIL.recipient: "550 no such mailbox"}), True),
        (Inbox(answers={MAIL.recipient: "451 greylisted, come again"}), False),
        (Inbox(data_answer="554 looks like spam"), True),
        (Inbox(data_answer="452 the disk is full"), False),
    ],
)
def test_a_refusal_says_whether_to_come_again(inbox: Inbox, permanent: bool) -> None:
    async def work() -> None:
        async with listening(inbox) as port:
            with pytest.raises(NotSent) as caught:
                await mailer(f"smtp+plain://127.0.0.1:{port}").send(MAIL)
            assert (caught.value.permanent, caught.value.uncertain) == (permanent, False)
            words = (inbox.answers.get(MAIL.recipient) or inbox.data_answer)[4:]
            assert words in caught.value.reason

    run(work)


def test_without_an_answer_it_may_have_been_taken() -> None:
    async def work() -> None:
        inbox = Inbox(hangs_up=True)
        async with listening(inbox) as port:
            with pytest.raises(NotSent) as caught:
                await mailer(f"smtp+plain://127.0.0.1:{port}").send(MAIL)
        assert (caught.value.permanent, caught.value.uncertain, len(inbox.taken)) == (False, True, 1)

    run(work)


def test_nobody_listens() -> None:
    async def work() -> None:
        async with listening(Inbox()) as port:
            pass
        with pytest.raises(NotSent) as caught:
            await mailer(f"smtp+plain://127.0.0.1:{port}").send(MAIL)
        assert (caught.value.permanent, caught.value.uncertain) == (False, False)
        with pytest.raises(NotSent) as caught:
            await NoMailer().send(MAIL)
        assert not caught.value.permanent

    run(work)


@pytest.mark.parametrize("address", ["a,b@example.org", "a<b>@example.org", "(a)@example.org", "a@b,c", 'a"@b', ";@b"])
def test_an_address_is_one_recipient_or_none(address: str) -> None:
    """Whatever passed for an address at sign-up: nobody else gets the mail."""
    inbox = Inbox()

    async def work() -> None:
        async with listening(inbox) as port:
            with contextlib.suppress(NotSent):
                await mailer(f"smtp+plain://127.0.0.1:{port}").send(Mail("1", address, "s", "t", 0))

    run(work)
    assert all(len(envelope.rcpt_tos) == 1 for envelope in inbox.taken)
    assert all(len(inbox.message()["To"].addresses) == 1 for _ in inbox.taken)


@pytest.mark.parametrize("end", ["\r\nBcc: thief@evil.example\r\n\r\n", "\n", "\u2028", "\x85", "\x0b", "\x1e", "\r"])
def test_a_subject_is_one_line_whatever_is_in_it(end: str) -> None:
    """Of whatever a reader of mails takes for the end of a line: it sends the mail to nobody else, and is sent."""
    inbox = Inbox()

    async def work() -> None:
        async with listening(inbox) as port:
            await mailer(f"smtp+plain://127.0.0.1:{port}").send(replace(MAIL, subject=f"You are invited to{end}Acme"))

    run(work)
    message = inbox.message()
    assert str(message["Subject"]).startswith("You are invited to")
    assert str(message["Subject"]).endswith("Acme")
    assert message["Bcc"] is None
    assert [envelope.rcpt_tos for envelope in inbox.taken] == [[MAIL.recipient]]
    assert "Hello ada" in message.get_content()


def test_the_sandbox_prints_mails_for_people() -> None:
    stream = io.StringIO()
    asyncio.run(ConsoleMailer(stream).send(MAIL))
    lines = stream.getvalue().splitlines()
    assert lines[1:3] == ["Mail to ada@example.org", "Subject: Grüße"]
    assert "https://play.example/verify-email?token=abc" in lines


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://mail.example", "smtp"),
        ("smtp://", "host"),
        ("smtp://mail.example/inbox", "host"),
        ("smtp://mail.example:99999", "port"),
        ("smtp+plain://me:sesame@mail.example", "for all to read"),
    ],
)
def test_a_wrong_mail_server_is_refused_without_its_password(url: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(smtp_url=url)
    assert words in caught.value.errors()[0]["msg"]
    assert "sesame" not in str(caught.value)


def test_the_sender_is_at_the_public_host_unless_it_is_set() -> None:
    assert Settings(public_url="https://play.example").mail_from == "OKLP <noreply@play.example>"
    assert Settings(mail_from=SENDER).mail_from == SENDER
    for wrong in ("nobody", "a <b>", "x@y\nBcc: z@y"):
        with pytest.raises(ValidationError):
            Settings(mail_from=wrong)
