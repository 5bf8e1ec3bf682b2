"""How the tools show what they see: lines for people, or one JSON object a line for programs."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from oklp.tools.listen import Line


def clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def duration(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds} ms" if milliseconds < 10_000 else f"{milliseconds / 1_000:.1f} s"


def status_text(status: int | None) -> Text:
    """Only 200 is a yes (contract section A3)."""
    if status is None:
        return Text("---", "red")
    return Text(str(status), "green" if status == 200 else "yellow" if 200 <= status < 400 else "red")


def show(console: Console, *parts: str | Text | tuple[str, str]) -> None:
    """One line, as it is: nothing in it is markup, and it is not broken to the width of a terminal."""
    console.print(Text.assemble(*parts), soft_wrap=True)


class Lines:
    """`oklp listen` for people. Notices go to `err`, so that a pipe has deliveries alone."""

    def __init__(self, out: Console, err: Console) -> None:
        self._out = out
        self._err = err

    def ready(self, game_id: str, target: str) -> None:
        show(
            self._err, "Ready: the deliveries of ", (game_id, "bold"), " go to ", (target, "bold"), ". Ctrl-C ends it."
        )

    def notice(self, text: str) -> None:
        show(self._err, (f"… {text}", "dim"))

    def line(self, line: Line) -> None:
        delivery = line.delivery
        copy = "" if delivery.copy_number == 1 else f", copy {delivery.copy_number}"
        about = f"{delivery.event:<13} {delivery.method:<6} {delivery.match_id or '-':<24}"
        end: list[str | Text | tuple[str, str]] = [
            f"  attempt {delivery.attempt}{copy}  ",
            (delivery.delivery_id, "dim"),
        ]
        if line.result == "missed":
            middle: list[str | Text | tuple[str, str]] = [("missed: its time was out before you were back", "red")]
        else:
            middle = [status_text(line.status), f"  {duration(line.duration_ms):>8}"]
            if not line.counts:
                end.append(("  too late: the platform had given up", "red"))
            if line.error is not None:
                end.append((f"  {line.error}", "red"))
        show(self._out, (f"{clock(line.at)}  ", "dim"), f"{about} -> ", *middle, *end)


class JsonLines:
    """The same for programs."""

    def __init__(self, out: Console, err: Console) -> None:
        self._out = out
        self._err = err

    def ready(self, game_id: str, target: str) -> None:
        self.write({"result": "ready", "game_id": game_id, "forward_to": target})

    def notice(self, text: str) -> None:
        show(self._err, f"… {text}")

    def line(self, line: Line) -> None:
        self.write(line.as_json())

    def write(self, value: Any) -> None:
        self._out.file.write(json.dumps(value) + "\n")
        self._out.file.flush()
