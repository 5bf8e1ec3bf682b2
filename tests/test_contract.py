"""The models of the wire: what no request may say, whatever its other fields."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError, create_model

from oklp import contract

REQUESTS: list[type[contract.Wire]] = [
    contract.TokenInfoRequest,
    contract.ParticipantResult,
    contract.TeamResult,
    contract.FinishRequest,
    contract.SignUp,
    contract.NamedPerson,
    contract.LogIn,
    contract.Money,
    contract.NewMatch,
    contract.Invite,
    contract.Join,
    contract.Launch,
    contract.Payment,
    contract.LaunchTemplates,
    contract.NewGameSettings,
    contract.GameSettingsPatch,
    contract.NewGame,
    contract.GamePatch,
    contract.NewStudio,
    contract.NewStudioMember,
    contract.OperatorReason,
    contract.VettingDecision,
    contract.PlayerAction,
    contract.HeldDecision,
    contract.SettleRequest,
]
FIELDS = [(model, name) for model in REQUESTS for name in model.model_fields]
# Hashed, and never stored or shown: any character will do.
SECRET = {"password", "token", "join_code"}
# Compared with the ids of a match, which have no such characters, before anything is kept.
COMPARED = {(contract.ParticipantResult, "id"), (contract.TeamResult, "id")}


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=lambda part: getattr(part, "__name__", part))
def test_no_field_takes_half_a_character(model: Any, name: str) -> None:
    """`"\\ud800"` is well-formed JSON and no text: no UTF-8, and so no database, hash or header can hold it."""
    field = model.model_fields[name]
    one: Any = create_model("One", value=(field.rebuild_annotation(), ...))
    for hostile in ("\ud800" * 12, "https://a.example/\udfff", "1990-05-1\ud800"):
        for value in (hostile, [hostile]):
            with pytest.raises(ValidationError):
                one.model_validate({"value": value})


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=lambda part: getattr(part, "__name__", part))
def test_no_field_that_is_kept_takes_control_characters(model: Any, name: str) -> None:
    if name in SECRET or (model, name) in COMPARED:
        return
    field = model.model_fields[name]
    one: Any = create_model("One", value=(field.rebuild_annotation(), ...))
    hostiles = ["\0" * 12, "https://a.example/\x0bx", "ab\x9fc@b.example", "a\x00bcdefgh"]
    # Whoever gives a reason may do it in several lines.
    for hostile in hostiles if name == "reason" else [*hostiles, "https://a.example/\nx", "a\tbcdefgh"]:
        for value in (hostile, [hostile]):
            with pytest.raises(ValidationError):
                one.model_validate({"value": value})


def test_a_name_that_is_too_short_is_not_spoken_of_as_a_list() -> None:
    with pytest.raises(ValidationError) as caught:
        contract.LogIn.model_validate({"username": "", "password": "x"})
    assert [error["type"] for error in caught.value.errors()] == ["string_too_short"]


@pytest.mark.parametrize("value", ["1990-01-01T00:00:00", "1990-01-01 ", 631152000, 631152000.0, "631152000", True, ""])
def test_a_date_of_birth_is_a_date_and_is_written_as_one(value: object) -> None:
    known = {"username": "ann", "email": "a@b.example", "password": "long enough", "country": "DE"}
    with pytest.raises(ValidationError):
        contract.SignUp.model_validate({**known, "date_of_birth": value})
    good = contract.SignUp.model_validate({**known, "date_of_birth": "1990-01-31"})
    assert good.date_of_birth.isoformat() == "1990-01-31"


def test_null_is_no_forfeit_and_no_teams_are_none() -> None:
    """Serializers of typed games write what they have no value for."""
    team = contract.TeamResult.model_validate({"id": "t", "score": 1, "ranking": 1, "forfeit": None})
    assert not team.forfeit
    body = {"match_id": "0" * 24, "participants": [{"id": "u", "score": 1}], "teams": []}
    assert not contract.FinishRequest.model_validate(body).teams
