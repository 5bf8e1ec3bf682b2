"""Charts as SVG, made here, each with its figures as a table for whoever does not see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from oklp.web.pages import words

WIDTH, HEIGHT = 640, 184
TOP, BOTTOM, LEFT = 12, 8, 8


class Point(NamedTuple):
    label: str
    value: int


class Charts:
    """The charts of one language. `show` writes a value: a number by default, or what is given."""

    def __init__(self, language: str) -> None:
        self._language = language

    def bars(self, title: str, points: Sequence[Point], show: Callable[[int], str] | None = None) -> Markup:
        """A bar for each point; values below zero hang from the line."""
        high, low = _range(points)
        step = (WIDTH - 2 * LEFT) / max(len(points), 1)
        scale = (HEIGHT - TOP - BOTTOM) / (high - low)
        zero = TOP + high * scale
        drawn = []
        for n, point in enumerate(points):
            tall = max(abs(point.value) * scale, 1.5 if point.value else 0)
            y = zero - tall if point.value >= 0 else zero
            drawn.append(
                Markup(
                    '<rect class="bar{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2"><title>{}: {}'
                    "</title></rect>"
                ).format(
                    "" if point.value >= 0 else " bar-low",
                    LEFT + n * step + step * 0.14,
                    y,
                    step * 0.72,
                    tall,
                    point.label,
                    self._show(show, point.value),
                )
            )
        return self._figure(title, points, Markup("").join(drawn), zero, show)

    def line(self, title: str, points: Sequence[Point], show: Callable[[int], str] | None = None) -> Markup:
        """A line through all points, with the area below it."""
        high, low = _range(points)
        scale = (HEIGHT - TOP - BOTTOM) / (high - low)
        step = (WIDTH - 2 * LEFT) / max(len(points) - 1, 1)
        placed = [(LEFT + n * step, TOP + (high - point.value) * scale) for n, point in enumerate(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        zero = TOP + high * scale
        area = f"{LEFT},{zero:.1f} {path} {placed[-1][0]:.1f},{zero:.1f}" if placed else ""
        dots = Markup("").join(
            Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}: {}</title></circle>').format(
                x, y, point.label, self._show(show, point.value)
            )
            for (x, y), point in zip(placed, points, strict=True)
        )
        drawn = Markup('<polygon class="area" points="{}"/><polyline class="line" points="{}"/>{}').format(
            area, path, dots if len(points) <= 60 else ""
        )
        return self._figure(title, points, drawn, zero, show)

    def sparkline(self, label: str, values: Sequence[int]) -> Markup:
        """A small line beside a figure; `label` says what it shows."""
        high, low = max([*values, 1]), min([*values, 0])
        step = 96 / max(len(values) - 1, 1)
        path = " ".join(f"{2 + n * step:.1f},{2 + (high - v) * 24 / (high - low):.1f}" for n, v in enumerate(values))
        return Markup(
            '<svg class="sparkline" viewBox="0 0 100 28" role="img" aria-label="{}"><polyline points="{}"/></svg>'
        ).format(label, path)

    def _show(self, show: Callable[[int], str] | None, value: int) -> str:
        return show(value) if show is not None else words.number(value, self._language)

    def _figure(
        self,
        title: str,
        points: Sequence[Point],
        drawn: Markup,
        zero: float,
        show: Callable[[int], str] | None,
    ) -> Markup:
        rows = Markup("").join(
            Markup('<tr><th scope="row">{}</th><td>{}</td></tr>').format(p.label, self._show(show, p.value))
            for p in points
        )
        first, last = (points[0].label, points[-1].label) if points else ("", "")
        return Markup(
            '<figure class="chart"><svg viewBox="0 0 {w} {h}" role="img" aria-label="{title}">'
            '<line class="axis" x1="{left}" x2="{right}" y1="{zero:.1f}" y2="{zero:.1f}"/>{drawn}</svg>'
            # Beside the picture, which shrinks on a phone, and its letters with it.
            '<p class="ticks" aria-hidden="true"><span>{first}</span><span>{last}</span></p>'
            '<details><summary>{summary}</summary><table class="statement"><caption>{title}</caption>'
            "<tbody>{rows}</tbody></table></details></figure>"
        ).format(
            w=WIDTH,
            h=HEIGHT,
            title=title,
            left=LEFT,
            right=WIDTH - LEFT,
            zero=zero,
            drawn=drawn,
            first=first,
            last=last,
            rows=rows,
            summary=words.translations(self._language).gettext("Show as a table"),
        )


def _range(points: Sequence[Point]) -> tuple[int, int]:
    values = [point.value for point in points]
    return max([*values, 1]), min([*values, 0])
