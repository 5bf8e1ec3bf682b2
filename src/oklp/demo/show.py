"""What the terminal shows: steps with a spinner on a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from oklp import contract

TEXT_WIDTH = 42
DETAIL_WIDTH = 40


def money(amount: int) -> str:
    """Minor units as people write them: 500 is `5.00 XTS`."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100:,}.{abs(amount) % 100:02d} XTS"


class Step:
    """A step under way: `detail` is what came of it."""

    def __init__(self, text: str, status: Status | None) -> None:
        self.detail = ""
        self._text = text
        self._status = status

    def so_far(self, how: str) -> None:
        """How it stands. Seen on a terminal, until the step is done."""
        if self._status is not None:
            self._status.update(f"{escape(self._text)} … [dim]{escape(how)}[/]")


class Show:
    """Prints what happens, as it happens."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._wide = self._console.is_terminal and self._console.width >= TEXT_WIDTH + DETAIL_WIDTH + 14

    def title(self, text: str, note: str) -> None:
        self.line()
        self.line(f"[bold]{escape(text)}[/]")
        self.line(f"[dim]{escape(note)}[/]")

    def chapter(self, text: str) -> None:
        self.line()
        self.line(f"[bold cyan]{escape(text)}[/]")

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """A line that is there once the block is done, with the time that it took. A failure leaves a cross."""
        began = time.monotonic()
        status = self._console.status(f"{escape(text)} …", spinner="dots") if self._console.is_terminal else None
        step = Step(text, status)
        try:
            with status or contextlib.nullcontext():
                yield step
        except Exception:
            self.line(f" [red]✗[/] {escape(text)}")
            raise
        self._done(text, step.detail, time.monotonic() - began)

    def _done(self, text: str, detail: str, seconds: float) -> None:
        took = f"{seconds:.1f} s" if seconds >= 0.95 else f"{seconds * 1000:.0f} ms"
        if self._wide:
            self.line(
                f" [green]✓[/] {escape(text.ljust(TEXT_WIDTH))} {escape(detail.ljust(DETAIL_WIDTH))}"
                f" [dim]{took.rjust(8)}[/]"
            )
        else:
            self.line(f" [green]✓[/] {escape(text)}{': ' if detail else ''}{escape(detail)} [dim]({took})[/]")

    def line(self, text: str = "") -> None:
        """A line of markup, never folded: addresses and commands are there to be copied."""
        self._console.print(text)

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.line(f"   [dim]{escape(name.ljust(width))}[/]  {escape(value)}")

    def books(self, books: contract.Books) -> None:
        """The totals, as `oklp books verify` has them."""
        for totals in books.totals:
            columns = ("players", "escrow", "held", "platform_fees", "studios", "clearing")
            if self._console.is_terminal:
                table = Table(box=None, padding=(0, 1), header_style="dim")
                for column in columns:
                    table.add_column(column.replace("_", " "), justify="right")
                table.add_row(*(money(getattr(totals, column)) for column in columns))
                self._console.print(table, soft_wrap=False)
            else:
                self.pairs([(column.replace("_", " "), money(getattr(totals, column))) for column in columns])

    def done(self, text: str) -> None:
        self.line(f" [green]✓[/] {escape(text)}")

    def note(self, text: str) -> None:
        self.line(f" [yellow]•[/] {escape(text)}")

    def fault(self, message: str, lines: Sequence[str] = ()) -> None:
        self.line()
        self.line(f"[bold red]The demo failed.[/] {escape(message)}")
        for line in lines:
            self.line(f"   [dim]{escape(line)}[/]")

    def ending(self, why: str) -> None:
        self.line()
        self.line(f"[dim]{why}: ending the bots, the games and the platform …[/]")
