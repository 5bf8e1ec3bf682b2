"""Write the generated pages of docs/: settings, errors, commands, metrics, checks, faults. `make docs` runs it.

Each page is made from the code alone, so it cannot lag behind. What the code does not explain is an error here
(`UndocumentedError`), and a page that differs from what this would write fails `tests/docs`.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Written by `make docs` from {source}; change that, not this page. -->"


class UndocumentedError(Exception):
    """Something has no explanation; the message names it."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ").strip() for cell in cells) + " |"

    titles = list(head)
    return "\n".join([line(titles), "|" + "---|" * len(titles), *(line(row) for row in rows)])


def page(title: str, source: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", NOTE.format(source=source), *(part.strip() for part in parts)]) + "\n"


def code(text: object) -> str:
    return f"`{text}`"


# --- settings --------------------------------------------------------------------------------------------------------

_BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}"}


def _bounds(metadata: Iterable[Any]) -> list[str]:
    found = []
    for constraint in metadata:
        for name, text in _BOUNDS.items():
            bound = getattr(constraint, name, None)
            if bound is not None:
                found.append(text.format(f"{bound:,}"))
        pattern = getattr(constraint, "pattern", None)
        if pattern:
            found.append(code(pattern))
    return found


def _values(annotation: Any, metadata: Iterable[Any]) -> str:
    """What a setting or an option takes, in a few words."""
    if get_origin(annotation) is Literal:
        return ", ".join(code(value) if value else "empty" for value in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(code(member.value) for member in annotation)
    if annotation in (bool, bool | None):
        return "`1` or `0`"
    words = {int: "whole number", float: "number"}
    word = words.get(annotation, "") if isinstance(annotation, type) else ""
    return " ".join(filter(None, [word, ", ".join(_bounds(metadata))]))


def _default(value: Any) -> str:
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    if isinstance(value, bool):
        return "on" if value else "off"
    return code(value) if value not in ("", None) else "empty"


def settings_page() -> str:
    from oklp.settings import Settings

    prefix = Settings.model_config.get("env_prefix", "")
    rows = []
    for name, field in Settings.model_fields.items():
        if not field.description:
            raise UndocumentedError(f"the setting {name} has no description")
        default = _default(field.get_default(call_default_factory=False))
        rows.append(
            [code(f"{prefix}{name}".upper()), default, _values(field.annotation, field.metadata), field.description]
        )
    return page(
        "Settings",
        "`src/oklp/settings.py`",
        "Each setting is an environment variable. An option of a command wins over it. Names end in their unit; "
        "durations are in seconds, shares in basis points (1/100 of a percent), money in minor units. A value that is "
        "not valid stops the command with a message that names the setting.",
        table(["Variable", "Default", "Takes", "Meaning"], rows),
        "Development only: `OKLP_TEST_POSTGRES` names a PostgreSQL server for the tests, whose user may create "
        "databases; `OKLP_TEST_CHROMIUM` names a browser for them.",
    )


# --- errors ----------------------------------------------------------------------------------------------------------

# What a caller does about each. The tree in `oklp/errors.py` says what they are; this is for the other side.
_ADVICE = {
    "invalid-request": "Correct the fields that `errors` names, and send it again.",
    "idempotency-reuse": "Use a new key for a new request; send the same body with the same key.",
    "malformed-request": "Send what the content type says: well-formed JSON, or a form for the token endpoint.",
    "request-too-large": "Send less. The bound is `OKLP_BODY_LIMIT_BYTES`.",
    "head-too-large": "Send shorter headers, and a shorter address: 64 KB are allowed.",
    "request-timed-out": "Send it anew, all of it within `OKLP_ARRIVAL_SECONDS`.",
    "unauthenticated": "Log in, or ask for a new access token, and send it as `Authorization: Bearer …`.",
    "second-factor-required": "Complete the log-in: `POST …/sessions/second-factor` with `pending_token` and one of "
    "`methods`.",
    "forbidden": "Use an account that may do this. Trying again changes nothing.",
    "role-missing": "Ask an operator whose role may do it; `detail` names the roles ([the console](console.md)).",
    "second-factor-missing": "Set one up: `POST …/me/totp` and `…/me/totp/confirm`, or `…/me/passkeys`. The session "
    "goes on.",
    "account-suspended": "Wait until an operator has reinstated the account. What is live goes on.",
    "not-verified": "Play free matches until an operator has verified the account.",
    "method-not-allowed": "Use a method that the address takes; `/openapi.json` lists them.",
    "not-found": "Check the id. What is not the caller's to see is also answered so.",
    "conflict": "Read the thing again and decide anew. Trying again unchanged changes nothing.",
    "wrong-state": "Read the thing's status: what was asked is not possible in it.",
    "game-suspended": "Choose another game, or wait until an operator has approved it again.",
    "payments-suspended": "Wait until an operator has reinstated the account. The balance does not change.",
    "match-full": "Join another team or another match.",
    "insufficient-funds": "Deposit first. Nothing was taken.",
    "name-taken": "Choose another name.",
    "limit-reached": "A bound on amounts or counts was met; `detail` says which. Ask for less.",
    "too-many-requests": "Wait for the seconds in `Retry-After`.",
    "unavailable": "Wait for the seconds in `Retry-After`, and send it again.",
    "overloaded": "The same. Nothing was begun.",
    "match-starting": "The game is still being told of the match. Wait for `Retry-After`, and send it again.",
    "internal": "A bug: report it with the `X-Request-ID` of the answer. Nothing was changed.",
}


def error_classes() -> Iterator[tuple[int, type[Any]]]:
    """The tree in the order of definition: depth, class."""
    from oklp import errors

    def walk(parent: type[errors.OklpError], depth: int) -> Iterator[tuple[int, type[Any]]]:
        for child in parent.__subclasses__():
            # Tests and rooms above may have subclasses of their own; the contract is what this module defines.
            if child.__module__ == errors.__name__:
                yield depth, child
                yield from walk(child, depth + 1)

    yield from walk(errors.OklpError, 0)


def errors_page() -> str:
    rows = []
    advice = dict(_ADVICE)
    for depth, error in error_classes():
        if error.code not in advice:
            raise UndocumentedError(f"the error code {error.code} has no advice in scripts/gen_docs.py")
        rows.append(["↳ " * depth + code(error.code), str(error.status), error.title, advice.pop(error.code)])
    if advice:
        raise UndocumentedError(f"there is advice for codes that do not exist: {', '.join(advice)}")
    return page(
        "Errors",
        "`src/oklp/errors.py`",
        "Outside `/auth`, every refusal is an `application/problem+json` document (RFC 9457) with `type`, `title`, "
        "`status` and `detail`, and with `errors` where fields are at fault. `type` is `urn:oklp:error:` and the code. "
        "`detail` is for people and may change; the code is for programs and does not.",
        '```json\n{"type": "urn:oklp:error:invalid-request", "title": "A field is not valid", "status": 422,\n '
        '"detail": "teams.0.ranking: must start at 1",\n '
        '"errors": [{"field": "teams.0.ranking", "message": "must start at 1"}]}\n```',
        "A code further in (↳) is a special case of the one above it.",
        table(["Code", "Status", "Title", "What to do"], rows),
        "Under `/auth` errors have the form of RFC 6749 §5.2: `error` and `error_description`.",
    )


# --- commands --------------------------------------------------------------------------------------------------------


def _annotations(command: Any) -> dict[str, Any]:
    """The types of a command's parameters, without `Annotated` and `None`."""
    callback = command.callback
    if callback is None:
        return {}
    return {name: _plain(hint) for name, hint in typing.get_type_hints(inspect.unwrap(callback)).items()}


def _plain(annotation: Any) -> Any:
    if get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [argument for argument in get_args(annotation) if argument is not type(None)]
        return _plain(rest[0]) if len(rest) == 1 else annotation
    if get_origin(annotation) in (list, tuple):
        return _plain(get_args(annotation)[0])
    return annotation


def _parameter_row(path: str, parameter: Any, annotation: Any) -> list[str]:
    is_option = str(parameter.opts[0]).startswith("-")
    shown = ", ".join(code(name) for name in [*parameter.opts, *parameter.secondary_opts])
    if not is_option:
        shown = code(str(parameter.name).upper())
    if not parameter.help:
        raise UndocumentedError(f"{shown} of `{path}` has no help")
    if getattr(parameter, "prompt", None):
        default = "asked for when missing"
    elif parameter.required:
        default = "required"
    elif annotation is bool:
        default = "on" if parameter.default else "off"
    else:
        value = parameter.default
        default = _default(value.value if isinstance(value, Enum) else value) if not callable(value) else "computed"
        default = "" if default == "empty" else default
    takes = "" if annotation is bool else _values(annotation, ())
    repeated = "; may be repeated" if getattr(parameter, "multiple", False) else ""
    return [shown, default, takes, parameter.help + repeated]


def _command_parts(path: str, command: Any) -> Iterator[str]:
    if not command.help:
        raise UndocumentedError(f"the command `{path}` has no help")
    yield f"{'#' * min(path.count(' ') + 1, 3)} `{path}`" if " " in path else ""
    yield inspect.cleandoc(command.help)
    children = getattr(command, "commands", None)
    if children is None:
        annotations = _annotations(command)
        rows = [
            _parameter_row(path, parameter, annotations.get(parameter.name))
            for parameter in command.params
            if not getattr(parameter, "hidden", False) and parameter.name != "help"
        ]
        if rows:
            yield table(["Option", "Default", "Takes", "Meaning"], rows)
        return
    for name, child in children.items():
        if not getattr(child, "hidden", False):
            yield from _command_parts(f"{path} {name}", child)


def cli_page() -> str:
    import typer.main

    from oklp.cli import app

    parts = [part for part in _command_parts("oklp", typer.main.get_command(app)) if part]
    return page(
        "Command line",
        "`src/oklp/cli/`",
        *parts,
        "Every option that is also a [setting](settings.md) can be given by its environment variable. Commands exit "
        "with 0 when they did what was asked.",
    )


# --- metrics ---------------------------------------------------------------------------------------------------------


def metrics_page() -> str:
    from oklp.observability import metric_specs

    rows = []
    for spec in metric_specs():
        if not spec.help:
            raise UndocumentedError(f"the metric {spec.name} has no help")
        rows.append([code(spec.name), spec.kind, ", ".join(code(label) for label in spec.labels), spec.help])
    return page(
        "Metrics",
        "`src/oklp/observability.py`",
        "`GET /metrics` answers in Prometheus' text format. Durations are in seconds. A histogram has the series "
        "`…_bucket`, `…_sum` and `…_count`. The process's own figures (`process_resident_memory_bytes`, "
        "`process_cpu_seconds_total`, …) are there as well, unless the sum of several processes is answered: "
        "`--workers` above 1, or `PROMETHEUS_MULTIPROC_DIR`.",
        table(["Metric", "Kind", "Labels", "What it counts"], rows),
    )


# --- checks of an integration ----------------------------------------------------------------------------------------


def checks_page() -> str:
    from oklp.check.catalogue import CHECKS
    from oklp.check.output import GROUPS

    parts = []
    for group, title in GROUPS.items():
        rows = [
            [code(check.id), f"{check.title}. {check.reason}", check.section, check.fix]
            for check in CHECKS
            if check.id.partition(".")[0] == group
        ]
        parts += [f"## {title}", table(["Check", "What and why", "Contract", "When it fails"], rows)]
    if {check.id.partition(".")[0] for check in CHECKS} != set(GROUPS):
        raise UndocumentedError("a check is of a group without a title in oklp/check/output.py")
    return page(
        "Checks of an integration",
        "`src/oklp/check/catalogue.py`",
        "What [`oklp check`](check.md) looks at. Ids never change their meaning. Sections are those of the "
        "[wire contract](contract.md).",
        *parts,
    )


# --- faults ----------------------------------------------------------------------------------------------------------

_STRIKES = {
    "put": ("Webhooks: the PUT", "Each strikes one attempt, whether of a match, a test event or a resend."),
    "delete": ("Webhooks: the DELETE", "Each strikes one attempt to call a match off."),
    "issuer": ("The issuer", "Each strikes one request for an access token, once the client's secret was found right."),
    "token-info": ("token-info", "Each strikes one call with a good access token."),
    "finish": ("finish", "Each strikes one call with a good access token, whichever of the two paths it takes."),
    "any": (
        "Any call of the game's",
        "token-info, finish, or a read of matches and users; with `call`, only `token-info` or only `finish`.",
    ),
}
_OPTIONS = {
    "delay_seconds": "How much later.",
    "offset_seconds": "How far the clock is ahead; below zero, behind.",
    "retry_after_seconds": "What `Retry-After` says.",
    "call": "Which call it strikes.",
}


def faults_page() -> str:
    from oklp import contract
    from oklp.domain.faults import KINDS, MAX_A_GAME

    parts = []
    for point, (title, note) in _STRIKES.items():
        rows = [
            [
                code(name),
                kind.help,
                ", ".join(f"{code(option)} {code(value)}" for option, value in kind.options.items()),
                kind.expect,
                kind.section,
            ]
            for name, kind in KINDS.items()
            if kind.point == point
        ]
        head = ["Kind", "What happens", "Options", "What a sound game does", "Contract"]
        parts += [f"### {title}", note, table(head, rows)]
    if missing := {kind.point for kind in KINDS.values()} - set(_STRIKES):
        raise UndocumentedError(f"faults strike where gen_docs.py has no title for: {missing}")
    options = []
    for name, field in contract.FaultOptions.model_fields.items():
        if name not in _OPTIONS:
            raise UndocumentedError(f"the option {name} of faults is not explained")
        options.append([code(name), _takes(field.annotation), _OPTIONS[name]])
    text = (DOCS.parent / "scripts" / "faults.txt").read_text(encoding="utf-8")
    before, after = text.replace("{limit}", str(MAX_A_GAME)).split("{kinds}")
    option_table = table(["Option", "Takes", "Meaning"], options)
    kinds = "\n\n".join(parts)
    source = "`src/oklp/domain/faults.py` and `scripts/faults.txt`"
    return page("Faults", source, before, kinds, "### Options", option_table, after)


def _takes(annotation: Any) -> str:
    """What an optional field of the wire takes."""
    inner = next(each for each in get_args(annotation) if each is not type(None))
    if get_origin(inner) is Literal:
        return _values(inner, ())
    base, field = get_args(inner)
    return _values(base, field.metadata)


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "checks.md": checks_page,
    "faults.md": faults_page,
    "cli.md": cli_page,
}


def main() -> int:
    for name, make in PAGES.items():
        path = DOCS / name
        text = make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"docs/{name} written")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UndocumentedError as fault:
        sys.exit(f"undocumented: {fault}")
