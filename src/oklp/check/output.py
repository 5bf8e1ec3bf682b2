"""The report as people and pipelines want it: a table in the terminal, JSON, JUnit XML, one page of HTML."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from rich.console import Console
from rich.markup import escape as plain
from rich.table import Table

from oklp.check.report import CheckResult, Report, Verdict
from oklp.check.wire import CheckError

GROUPS: Final = {
    "webhook": "Match info",
    "launch": "Launch",
    "token": "Tokens",
    "result": "Results",
    "fair": "Fair play",
}
WORDS: Final[dict[Verdict, str]] = {
    "pass": "pass",
    "fail": "FAIL",
    "warn": "warn",
    "not-seen": "not seen",
    "not-applicable": "n/a",
}
_COLOURS: Final[dict[Verdict, str]] = {
    "pass": "green",
    "fail": "bold red",
    "warn": "yellow",
    "not-seen": "dim",
    "not-applicable": "dim",
}
_SIGNS: Final[dict[Verdict, str]] = {"pass": "✓", "fail": "✗", "warn": "!", "not-seen": "·", "not-applicable": "-"}
# What XML 1.0 cannot hold, even escaped.
_NO_XML: Final = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


def summary(report: Report) -> str:
    """`30 passed, 1 failed, 1 not seen`."""
    words: dict[Verdict, str] = {
        "pass": "passed",
        "fail": "failed",
        "warn": "with a warning",
        "not-seen": "not seen",
        "not-applicable": "not applicable",
    }
    counts = {verdict: len(report.of(verdict)) for verdict in words}
    return ", ".join(f"{number} {words[verdict]}" for verdict, number in counts.items() if number)


def _groups(report: Report) -> Iterator[tuple[str, list[CheckResult]]]:
    for prefix, results in groupby(report.results, lambda result: result.id.partition(".")[0]):
        yield GROUPS.get(prefix, prefix), list(results)


# --- the terminal ----------------------------------------------------------------------------------------------------


def show(report: Report, console: Console) -> None:
    table = Table(title=f"oklp check {plain(report.game.webhook_url)}", title_justify="left", expand=False)
    table.add_column("")
    table.add_column("check", no_wrap=True)
    table.add_column("what is checked")
    table.add_column("§", no_wrap=True)
    for title, results in _groups(report):
        table.add_section()
        table.add_row("", f"[bold]{title}[/]", "", "")
        for result in results:
            colour = _COLOURS[result.verdict]
            sign = f"[{colour}]{_SIGNS[result.verdict]} {WORDS[result.verdict]}[/]"
            table.add_row(sign, f"[{colour}]{result.id}[/]", plain(result.title), result.section)
    console.print(table)
    for result in [*report.of("fail"), *report.of("warn")]:
        colour = _COLOURS[result.verdict]
        console.print(f"\n[{colour}]{_SIGNS[result.verdict]} {result.id}[/] {plain(result.title)} ({result.section})")
        console.print(f"  seen: {plain(result.detail)}", highlight=False)
        console.print(f"  why:  {plain(result.reason)}", highlight=False)
        console.print(f"  fix:  {plain(result.fix)}", highlight=False)
    untold = [*report.of("not-seen"), *report.of("not-applicable")]
    if untold:
        console.print()
    for result in untold:
        console.print(f"[dim]{_SIGNS[result.verdict]} {result.id}: {plain(result.detail)}[/]", highlight=False)
    for problem in report.problems:
        console.print(f"\n[bold yellow]The run was not complete:[/] {plain(problem)}", highlight=False)
    console.print(f"\n{summary(report)} in {report.duration_seconds:.0f} s.", highlight=False)


# --- files -----------------------------------------------------------------------------------------------------------


def to_json(report: Report) -> str:
    return report.model_dump_json(indent=2) + "\n"


def to_junit(report: Report) -> str:
    """One test case for each check. Warnings pass, with what was seen as their output."""
    suite = ElementTree.Element(
        "testsuite",
        name="oklp check",
        tests=str(len(report.results)),
        failures=str(len(report.of("fail"))),
        errors="0",
        skipped=str(len(report.of("not-seen")) + len(report.of("not-applicable"))),
        time=f"{report.duration_seconds:.3f}",
        timestamp=report.started_at.isoformat(timespec="seconds"),
    )
    for result in report.results:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"oklp.{result.id.partition('.')[0]}", name=result.id
        )
        about = f"{result.title} ({result.section})\nSeen: {result.detail}\nWhy: {result.reason}\nFix: {result.fix}"
        if result.verdict == "fail":
            failure = ElementTree.SubElement(case, "failure", message=_for_xml(result.detail), type=result.id)
            failure.text = _for_xml(about)
        elif result.verdict in ("not-seen", "not-applicable"):
            ElementTree.SubElement(case, "skipped", message=_for_xml(result.detail))
        elif result.verdict == "warn":
            ElementTree.SubElement(case, "system-out").text = _for_xml(f"Warning: {about}")
    if report.problems:
        ElementTree.SubElement(suite, "system-err").text = _for_xml("\n".join(report.problems))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _for_xml(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)


_STYLE: Final = """
:root { color-scheme: light dark; --text: #1c2330; --soft: #5b6577; --back: #f6f7f9; --card: #fff; --line: #dde1e8;
  --pass: #17713a; --fail: #b3261e; --warn: #8a5a00; --unseen: #5b6577; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e9ef; --soft: #9aa5b8; --back: #12151b; --card: #1b2029; --line: #303846;
    --pass: #5fd38d; --fail: #ff8a80; --warn: #f2c14e; --unseen: #9aa5b8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 56rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.soft { color: var(--soft); } code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
.counts { display: flex; flex-wrap: wrap; gap: .5rem; margin: 1.25rem 0; padding: 0; list-style: none; }
.counts li { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .35rem .8rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
details { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; margin: .4rem 0; }
summary { cursor: pointer; padding: .55rem .8rem; display: flex; gap: .75rem; align-items: baseline; flex-wrap: wrap; }
summary .title { flex: 1 1 16rem; } details dl { padding: .25rem .8rem .9rem; }
.verdict { font-weight: 600; min-width: 5.5rem; }
.pass { color: var(--pass); } .fail { color: var(--fail); } .warn { color: var(--warn); }
.not-seen, .not-applicable { color: var(--unseen); }
.problem { border-left: 4px solid var(--warn); padding: .25rem .8rem; }
@media (max-width: 32rem) { dl { grid-template-columns: 1fr; } dt { margin-top: .4rem; } }
"""


def to_html(report: Report) -> str:
    """One page that needs nothing else: no script, no font, no picture from anywhere."""
    outcome = {0: "Nothing failed", 1: "Not conformant", 2: "Not complete"}[report.exit_status()]
    counts = "".join(
        f'<li class="{verdict}">{_SIGNS[verdict]} {len(report.of(verdict))} {WORDS[verdict].lower()}</li>'
        for verdict in WORDS
    )
    problems = "".join(f'<p class="problem">{escape(problem)}</p>' for problem in report.problems)
    groups = "".join(
        f"<section><h2>{escape(title)}</h2>{''.join(map(_entry, results))}</section>"
        for title, results in _groups(report)
    )
    game = report.game
    facts = {
        "Game": game.game_id,
        "Webhook": game.webhook_url,
        "Launch page": game.launch_urls.browser or "none",
        "Mode": f"{game.mode}, {game.teams} teams of {game.team_size}",
        "Checked": f"{report.started_at:%Y-%m-%d %H:%M} UTC, in {report.duration_seconds:.0f} s",
        "By": f"oklp {report.oklp_version}",
    }
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>oklp check: {escape(outcome)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<header><h1>{escape(outcome)}</h1><p class="soft">oklp check, {len(report.results)} checks</p>'
        f'<ul class="counts">{counts}</ul>{_facts(facts)}{problems}</header>\n{groups}\n</main>\n</body>\n</html>\n'
    )


def _facts(facts: dict[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(n)}</dt><dd>{escape(v)}</dd>" for n, v in facts.items()) + "</dl>"


def _entry(result: CheckResult) -> str:
    opened = " open" if result.verdict in ("fail", "warn") else ""
    facts = {"Seen": result.detail, "Why": result.reason, "Fix": result.fix, "Contract": f"section {result.section}"}
    return (
        f'<details id="{escape(result.id)}"{opened}><summary>'
        f'<span class="verdict {result.verdict}">{_SIGNS[result.verdict]} {WORDS[result.verdict]}</span>'
        f'<span class="title">{escape(result.title)}</span><code class="soft">{escape(result.id)}</code>'
        f"</summary>{_facts(facts)}</details>"
    )


def write(path: Path | None, make: Callable[[Report], str], report: Report) -> None:
    """Raises CheckError."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make(report), encoding="utf-8")
    except OSError as error:
        raise CheckError(f"{path} cannot be written: {error.strerror}") from error
