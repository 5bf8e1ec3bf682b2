"""A visit: one request of a browser, who makes it, in which language, and what is typed into its form.

Sessions are those of the API, in a cookie instead of a header. What a form changes needs more than the cookie, which
browsers send along with other sites' requests too: the form's own token, made from the session, and an `Origin` that is
ours. Before there is a session, a random cookie stands for it, so that nobody is logged in as somebody else unawares.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from oklp.errors import Forbidden, NotFound, Unauthenticated
from oklp.services import auth, live
from oklp.services.auth import Person, SessionQuestion
from oklp.services.matches import Caller
from oklp.signing import hash_token
from oklp.web.caller import PROVED, form_fields
from oklp.web.context import Context, context_of, new_token
from oklp.web.languages import LANGUAGE, language_of
from oklp.web.pages import words

REFRESH = "oklp-refresh"  # a header
STRANGER = "oklp_visit"
NOTICES = "oklp_notices"
# PostgreSQL keeps it in no text. Browsers send none, and show it as the other where they meet it.
NUL, REPLACED = "\0", "\ufffd"
THEME = "oklp_theme"
THEMES = ("auto", "light", "dark")
CHOICES = ("language", "theme")  # in the address of any page
CSRF_FIELD = "_csrf"
ONCE_FIELD = "_once"
YEAR_SECONDS = 365 * 24 * 3600
MAX_COOKIE_CHARS = 512
NOTICE_SECONDS = 300
MOST_NOTICES = 3


@dataclass(eq=False)
class Realm:
    """A surface with log-ins of its own: what is a session here is nothing to the other surfaces.

    `frame` is the template that its pages extend. `nav` reads what that shows of whoever is logged in.
    """

    kind: str  # of auth.Person
    cookie: str
    home: str
    log_in: str
    log_out: str
    frame: str
    nav: Callable[[Visit], Awaitable[Any]] | None = None

    @property
    def prefix(self) -> str:
        """What the addresses of its pages begin with."""
        return self.log_in.removesuffix("/log-in")

    @property
    def security(self) -> str:
        """Where everybody looks after his own account."""
        return f"{self.prefix}/security"


PLAYER = Realm("player", "oklp_player", "/games", "/log-in", "/log-out", "base.html")
STUDIO = Realm("member", "oklp_studio", "/studio", "/studio/log-in", "/studio/log-out", "studio/frame.html")
OPERATOR = Realm(
    "operator", "oklp_operator", "/operator", "/operator/log-in", "/operator/log-out", "operator/frame.html"
)


def realm_of(path: str) -> Realm:
    """Whose page an address is, be there one or not."""
    return next((each for each in (STUDIO, OPERATOR) if f"{path}/".startswith(f"{each.prefix}/")), PLAYER)


def csrf_token(secret: str) -> str:
    """The token of the forms of a session (or of a stranger's cookie): from it, and of no use to find it out."""
    return hmac.new(secret.encode(), b"oklp form", hashlib.sha256).hexdigest()


def local_path(target: str | None) -> str | None:
    """`target` if it is an address of this site and nobody else's, else None."""
    if not target or len(target) > 2_000 or not target.startswith("/") or target.startswith(("//", "/\\")):
        return None
    if any(ord(char) < 0x20 or char == "\\" for char in target):
        return None
    parts = urlsplit(target)
    return target if not parts.scheme and not parts.netloc else None


@dataclass
class Visit:
    """See the module. `expired`: there is a session cookie, and its session is over."""

    request: Request
    here: Context
    realm: Realm
    language: str
    theme: str
    session: str | None = None
    person: Person | None = None
    expired: bool = False
    seen: str = ""  # what has happened before this position, the page shows; the stream of events goes on from here
    address: str = ""  # of the page that is shown, where it is not the one that was asked for
    trusted: bool = False  # the form that was sent is from a page of this visitor's
    retry_after_seconds: int | None = None  # goes with the answer: somebody was too fast
    fields: dict[str, str] = field(default_factory=dict)
    _stranger: str | None = None
    _cookies: list[Callable[[Response], None]] = field(default_factory=list)

    @classmethod
    def begin(cls, request: Request, realm: Realm = PLAYER) -> Visit:
        """Without who it is, which the database has to be asked (`recognise`)."""
        theme = request.cookies.get(THEME, "")
        return cls(
            request,
            context_of(request),
            realm,
            language_of(request),
            theme if theme in THEMES else "auto",
        )

    async def recognise(self) -> None:
        self._stranger = self._cookie(STRANGER)
        token = self._cookie(self.realm.cookie)
        if token is None:
            return
        self.session = token
        try:
            person = await self.here.db.read_set(auth.sessions, SessionQuestion(hash_token(token), self.here.clock()))
        except Unauthenticated:
            self.expired = True
            return
        self.request.scope[PROVED] = hash_token(token)
        if person.kind != self.realm.kind:
            return
        self.person = person
        if self.realm is PLAYER:
            self.seen = str(await self.here.db.read(live.here))

    # --- words ---

    def _(self, text: str, **values: Any) -> str:
        """`text` in the visitor's language, with `%(name)s` filled in."""
        said = words.translations(self.language).ugettext(text)
        return said % values if values else said

    def money(self, amount: int, currency: str) -> str:
        return words.money(amount, currency, self.language)

    # --- who ---

    @property
    def player(self) -> Caller:
        """Raises Unauthenticated."""
        return Caller(self.me.id, self.me.username)

    @property
    def me(self) -> Person:
        """Who is logged in, on whichever surface. Raises Unauthenticated."""
        if self.person is None:
            raise Unauthenticated("Log in first.")
        return self.person

    @property
    def suspended(self) -> bool:
        """A player who may begin nothing and pay nothing until an operator has decided."""
        return self.realm is PLAYER and self.person is not None and self.person.status == "suspended"

    @property
    def at(self) -> str:
        """This address without its query. The framework's own is made with the Host header, which may say anything."""
        return str(self.request.scope["path"])

    @property
    def query(self) -> str:
        """As it came, without the question mark."""
        return str(self.request.scope["query_string"].decode("latin-1"))

    @property
    def path(self) -> str:
        """This address with its query."""
        return f"{self.at}?{self.query}" if self.query else self.at

    @property
    def answers_form(self) -> bool:
        """Whether this page is the answer to a form: at its address there is nothing, or not this, without the form."""
        return self.request.method == "POST"

    def choosing(self, name: str, value: str) -> str:
        """A link to this very page that chooses a language or a theme: what else is in its address stays."""
        return f"?{urlencode([*self.without_choices(), (name, value)])}"

    def without_choices(self) -> list[tuple[str, str]]:
        """The query but for the language and the theme that it chooses."""
        return [each for each in self.request.query_params.multi_items() if each[0] not in CHOICES]

    def argument(self, name: str) -> str | None:
        """Of the query. None for an empty one too: a form that is sent by GET has all of its fields in the address."""
        return self.request.query_params.get(name, "").replace(NUL, REPLACED) or None

    def check_address(self) -> None:
        """Raises NotFound for one that nothing can be at: no name and no id has this character in it."""
        if NUL in self.request.scope["path"]:
            raise NotFound("There is nothing here.")

    @property
    def refreshes(self) -> bool:
        """A page that is open asks for itself again (live.js): there are things in it that somebody may be typing."""
        return REFRESH in self.request.headers

    @property
    def was_a_person(self) -> bool:
        """Whoever the page was shown to that asks for itself again was logged in."""
        return self.request.headers.get(REFRESH) == "person"

    # --- forms ---

    @property
    def csrf(self) -> str:
        if self.session is not None:
            return csrf_token(self.session)
        if self._stranger is None:
            self._stranger = secrets.token_urlsafe(24)
            self.set_cookie(STRANGER, self._stranger)
        return csrf_token(self._stranger)

    async def read_form(self) -> None:
        """What was sent, and whether it is from a page of this visitor's. Raises Forbidden, MalformedRequest."""
        self.check_origin()
        given_fields = form_fields(await self.request.body())
        self.fields = {name: text.replace(NUL, REPLACED) for name, text in given_fields.items()}
        given = self.fields.pop(CSRF_FIELD, "")
        secret = self.session or self._stranger
        self.trusted = secret is not None and hmac.compare_digest(given.encode(), csrf_token(secret).encode())

    def check_origin(self) -> None:
        """Raises Forbidden for what another site made the browser send."""
        headers = self.request.headers
        site = headers.get("sec-fetch-site", "same-origin")
        origin = headers.get("origin")
        if site not in ("same-origin", "none") or (origin is not None and not self._is_ours(origin)):
            raise Forbidden("This request comes from another site.")

    def _is_ours(self, origin: str) -> bool:
        ours = urlsplit(self.here.settings.public_url).netloc
        return urlsplit(origin).netloc in (self.request.headers.get("host", ours), ours)

    # --- cookies ---

    @property
    def _secure(self) -> bool:
        return self.here.settings.public_url.startswith("https://")

    def _name(self, name: str) -> str:
        return f"__Host-{name}" if self._secure else name

    def _cookie(self, name: str) -> str | None:
        value = self.request.cookies.get(self._name(name))
        return value if value and len(value) <= MAX_COOKIE_CHARS else None

    def set_cookie(self, name: str, value: str, max_age: int | None = None) -> None:
        """With the answer, whichever that will be. Language and theme are no secrets and have plain names."""
        named = name if name in (LANGUAGE, THEME) else self._name(name)
        self._cookies.append(
            lambda answer: answer.set_cookie(
                named, value, max_age, path="/", secure=self._secure, httponly=True, samesite="lax"
            )
        )

    def drop_cookie(self, name: str) -> None:
        self._cookies.append(
            lambda answer: answer.delete_cookie(
                self._name(name), path="/", secure=self._secure, httponly=True, samesite="lax"
            )
        )

    def finish(self, answer: Response) -> Response:
        for each in self._cookies:
            each(answer)
        return answer

    # --- notices ---

    def notice(self, text: str, kind: str = "good") -> None:
        """A message for the next page that is shown: `good`, `info` or `bad`."""
        said = json.dumps([*self._told(), [kind, text[:400]]][-MOST_NOTICES:])
        self.set_cookie(NOTICES, base64.urlsafe_b64encode(said.encode()).decode(), NOTICE_SECONDS)

    def notices(self) -> list[tuple[str, str]]:
        """The messages for this page, which are shown this once: not to a page that asks for itself again."""
        if self.refreshes:
            return []
        told = [(kind, text) for kind, text in self._told()]
        if told:
            self.drop_cookie(NOTICES)
        return told

    def _told(self) -> list[list[str]]:
        kept = self.request.cookies.get(self._name(NOTICES), "")[:4_000]
        try:
            told = json.loads(base64.urlsafe_b64decode(kept)) if kept else []
            json.dumps(told, ensure_ascii=False).encode()  # half a surrogate pair fits on no page
        except (ValueError, RecursionError):
            return []
        sound = isinstance(told, list) and all(
            isinstance(each, list) and len(each) == 2 and all(isinstance(part, str) for part in each) for each in told
        )
        return told[:MOST_NOTICES] if sound else []

    # --- sessions ---

    async def begin_session(self, token: str, max_age: int) -> None:
        """A new session, never one that was there before: whoever planted that would share it."""
        if self.session is not None:
            await self.here.db.write(auth.log_out, hash_token(self.session))
        self.set_cookie(self.realm.cookie, token, max_age)
        self.drop_cookie(STRANGER)
        self.session, self.expired = token, False
        if self.realm is PLAYER:
            self.seen = str(await self.here.db.read(live.here))
        self.person = await self.here.db.read_set(auth.sessions, SessionQuestion(hash_token(token), self.here.clock()))

    async def renew_session(self) -> None:
        """Another token for this session, since more depends on it from now on. Raises Unauthenticated."""
        if self.session is None:
            raise Unauthenticated("Log in first.")
        token = new_token()
        await self.here.db.write(auth.renew_session, hash_token(self.session), hash_token(token))
        self.session = token
        self.set_cookie(self.realm.cookie, token, self.here.settings.session_seconds)

    async def end_session(self) -> None:
        if self.session is not None:
            await self.here.db.write(auth.log_out, hash_token(self.session))
        self.drop_cookie(self.realm.cookie)
        self.session = self.person = None
