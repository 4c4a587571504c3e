"""Plots as SVG, written by hand: no library, no font, no reference to anything outside the file."""

import math
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

# Colours that differ in lightness as well, for the light and for the dark scheme, with a dash pattern each.
STYLES = [("#1b6ca8", "#6cb8f0", ""), ("#b8480e", "#f59a62", "7 4"), ("#2f7d32", "#7ccf80", "2 3"),
          ("#8338a8", "#cf97ee", "10 3 2 3")]
_WIDTH, _HEIGHT = 460, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 24, 44, 52


@dataclass
class Series:
    name: str
    points: list[tuple[float, float]]


@dataclass
class Panel:
    title: str
    x_label: str
    y_label: str
    series: list[Series]
    log_y: bool = True
    y_range: tuple[float, float] | None = None
    bands: list[Series] = field(default_factory=list)  # stacked, instead of lines


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _tick_text(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else _number(value)


class _Axes:
    """Where a panel's values stand on the page."""

    def __init__(self, panel: Panel, offset: int):
        self.panel, self.offset = panel, offset
        xs = [x for series in panel.series + panel.bands for x, _ in series.points]
        ys = [y for series in panel.series + panel.bands for _, y in series.points]
        self.x_low, self.x_high = min(xs), max(xs)
        self.y_low, self.y_high = panel.y_range or self._decades(ys)

    @staticmethod
    def _decades(ys: list[float]) -> tuple[float, float]:
        return 10.0 ** math.floor(math.log10(min(ys))), 10.0 ** math.ceil(math.log10(max(ys)))

    def x(self, value: float) -> float:
        share = math.log2(value / self.x_low) / math.log2(self.x_high / self.x_low)
        return self.offset + _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        if self.panel.log_y:
            share = math.log10(value / self.y_low) / math.log10(self.y_high / self.y_low)
        else:
            share = (value - self.y_low) / (self.y_high - self.y_low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def x_ticks(self) -> list[float]:
        count = round(math.log2(self.x_high / self.x_low))
        return [self.x_high / 2**i for i in range(0, count + 1, 2 if count > 6 else 1)]

    def y_ticks(self) -> list[float]:
        if self.panel.log_y:
            decades = round(math.log10(self.y_high / self.y_low))
            return [self.y_low * 10**i for i in range(decades + 1)]
        return [self.y_low + (self.y_high - self.y_low) * i / 5 for i in range(6)]


def _text(x: float, y: float, text: str, anchor: str = "middle", kind: str = "", turn: str = "") -> str:
    more = (f' class="{kind}"' if kind else "") + (f' transform="{turn}"' if turn else "")
    return f'<text x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _frame(axes: _Axes) -> list[str]:
    panel, left, right = axes.panel, axes.offset + _LEFT, axes.offset + _WIDTH - _RIGHT
    bottom = _HEIGHT - _BOTTOM
    lines = [_text((left + right) / 2, 20, panel.title, kind="title")]
    for value in axes.y_ticks():
        y = _number(axes.y(value))
        lines.append(f'<line class="grid" x1="{left}" y1="{y}" x2="{right}" y2="{y}"/>')
        lines.append(_text(left - 6, axes.y(value) + 4, _tick_text(value), "end"))
    for value in axes.x_ticks():
        x = _number(axes.x(value))
        lines.append(f'<line class="grid" x1="{x}" y1="{_TOP}" x2="{x}" y2="{bottom}"/>')
        lines.append(_text(axes.x(value), bottom + 17, _tick_text(value)))
    lines.append(_text((left + right) / 2, bottom + 38, panel.x_label))
    middle = (_TOP + bottom) / 2
    lines.append(_text(axes.offset + 16, middle, panel.y_label,
                       turn=f"rotate(-90 {axes.offset + 16} {_number(middle)})"))
    return lines


def _curves(axes: _Axes) -> list[str]:
    lines = []
    for index, series in enumerate(axes.panel.series):
        points = " ".join(f"{_number(axes.x(x))},{_number(axes.y(y))}" for x, y in series.points)
        lines.append(f'<polyline class="line s{index}" points="{points}"/>')
    return lines


def _stack(axes: _Axes) -> list[str]:
    """Areas on top of each other, the first at the bottom."""
    lines = []
    below = {x: 0.0 for x, _ in axes.panel.bands[0].points}
    for index, band in enumerate(axes.panel.bands):
        above = {x: below[x] + y for x, y in band.points}
        edge = [(x, above[x]) for x, _ in band.points] + [(x, below[x]) for x, _ in reversed(band.points)]
        points = " ".join(f"{_number(axes.x(x))},{_number(axes.y(y))}" for x, y in edge)
        lines.append(f'<polygon class="area a{index}" points="{points}"/>')
        below = above
    return lines


def _legend(names: list[str], areas: bool, width: int) -> list[str]:
    lines = []
    step = (width - 2 * _LEFT) / len(names)
    for index, name in enumerate(names):
        x, y = _LEFT + step * index, _HEIGHT + 12
        if areas:
            lines.append(f'<rect class="area a{index}" x="{_number(x)}" y="{y - 9}" width="26" height="11"/>')
        else:
            end = _number(x + 30)
            lines.append(f'<line class="line s{index}" x1="{_number(x)}" y1="{y - 4}" x2="{end}" y2="{y - 4}"/>')
        lines.append(_text(x + 36, y, name, "start"))
    return lines


def _style() -> list[str]:
    def rules(paper: str, ink: str, grid: str, which: int) -> list[str]:
        lines = [f".paper{{fill:{paper}}}", f"text{{fill:{ink}}}", f".grid{{stroke:{grid}}}"]
        for index, style in enumerate(STYLES):
            lines.append(f".s{index}{{stroke:{style[which]}}} .a{index}{{fill:{style[which]}}}")
        return lines

    dashes = [f".s{index}{{stroke-dasharray:{style[2]}}}" for index, style in enumerate(STYLES) if style[2]]
    return ["<style>", "text{font:12px sans-serif}", ".title{font-weight:bold}", ".grid{stroke-width:.6}",
            ".line{fill:none;stroke-width:2.2}", ".area{stroke:none}", *dashes,
            *rules("#ffffff", "#222222", "#cccccc", 0), "@media (prefers-color-scheme: dark){",
            *rules("#0d1117", "#d8dee6", "#3a4048", 1), "}", "</style>"]


def draw(title: str, panels: list[Panel]) -> str:
    """The panels side by side, with one legend for all: they have series of the same names."""
    width, height = _WIDTH * len(panels), _HEIGHT + 26
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
             f'height="{height}" role="img">', f"<title>{escape(title)}</title>", *_style(),
             f'<rect class="paper" width="{width}" height="{height}"/>']
    for number, panel in enumerate(panels):
        axes = _Axes(panel, number * _WIDTH)
        lines += _stack(axes) if panel.bands else []
        lines += _frame(axes) + _curves(axes)
    names = [series.name for series in (panels[0].bands or panels[0].series)]
    lines += _legend(names, bool(panels[0].bands), width)
    return "\n".join([*lines, "</svg>"]) + "\n"
