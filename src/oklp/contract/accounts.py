"""Sign-up, log-in, sessions, passwords, second factors: of players, studios and operators alike (B3, B4)."""

# Without `from __future__ import annotations`: as texts, they would be compiled at every start.

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from oklp.contract.shared import (
    Base64Url,
    DateOfBirth,
    Email,
    LogInName,
    Name,
    Password,
    Problem,
    Token,
    Username,
    Wire,
)


class SignUp(Wire):
    username: Username
    email: Email
    password: Password
    date_of_birth: DateOfBirth
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class NamedPerson(Wire):
    """A player or operator made by the command line."""

    username: Username
    password: Password


class NewOperator(NamedPerson):
    email: Email | None = None


class LogIn(Wire):
    username: LogInName
    password: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Session(Wire):
    token: str
    expires_in: int
    expires_at: datetime


class OpenSession(Wire):
    """One of the caller's log-ins: where from, and with what."""

    session_id: str
    created_at: datetime
    expires_at: datetime
    address: str | None
    user_agent: str | None
    current: bool


class OpenSessions(Wire):
    sessions: list[OpenSession]


class PasswordReset(Wire):
    """Whose password is forgotten. All accounts of an address are meant."""

    name_or_email: LogInName


class PasswordResetConfirmation(Wire):
    token: Token
    password: Password


class CurrentPassword(Wire):
    """Proof that it is the caller, and not somebody who found his session."""

    password: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class PasswordChange(Wire):
    current_password: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    password: Password


class SecondFactorProblem(Problem):
    """The problem `second-factor-required` of a log-in whose password was right."""

    pending_token: str
    methods: list[Literal["totp", "passkey", "recovery-code"]]
    expires_in: int


class CredentialResponse(Wire):
    """What an authenticator said; of a registration or of a log-in."""

    model_config = ConfigDict(populate_by_name=True)

    client_data_json: Base64Url = Field(alias="clientDataJSON")
    attestation_object: Base64Url | None = Field(default=None, alias="attestationObject")
    authenticator_data: Base64Url | None = Field(default=None, alias="authenticatorData")
    signature: Base64Url | None = None
    user_handle: Base64Url | None = Field(default=None, alias="userHandle")


class Credential(Wire):
    """A `PublicKeyCredential` in its JSON form (Web Authentication, level 3, section 5.1)."""

    model_config = ConfigDict(populate_by_name=True)

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=1_400)]
    raw_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+={0,2}$", max_length=1_400)] = Field(
        alias="rawId"
    )
    type: Literal["public-key"]
    response: CredentialResponse


class TotpCode(Wire):
    code: Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$")]


class SecondFactor(Wire):
    """The second step of a log-in, by one of the three."""

    pending_token: Token
    code: Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$")] | None = None
    recovery_code: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 -]{16,40}$")] | None = None
    credential: Credential | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(each is not None for each in (self.code, self.recovery_code, self.credential)) != 1:
            raise ValueError("must have one of code, recovery_code and credential")
        return self


class PasskeyLogInStart(Wire):
    """With the token of a log-in that waits for its second step; without, for a log-in by passkey alone."""

    pending_token: Token | None = None


class PasskeyLogIn(Wire):
    credential: Credential


class PasskeyRegistration(PasskeyLogIn):
    name: Name


class TotpEnrolment(Wire):
    """For an authenticator app: the secret in base 32, and the same as an address to be shown as a QR code."""

    secret: str
    otpauth_uri: str


class RecoveryCodes(Wire):
    recovery_codes: list[str]


class FactorAdded(Wire):
    """`recovery_codes` come with the first factor; each works once in place of another."""

    recovery_codes: list[str] | None


class Passkey(Wire):
    passkey_id: str
    name: str
    created_at: datetime
    last_used_at: datetime | None


class NewPasskey(Passkey, FactorAdded):
    pass


class SecondFactors(Wire):
    enabled: bool
    totp: bool
    passkeys: list[Passkey]
    recovery_codes_left: int


class EmailChange(CurrentPassword):
    email: Email


class EmailConfirmation(Wire):
    token: Token


class Accepted(Wire):
    """What was asked for happens later, or not: the answer is the same."""

    detail: str
