"""The page of a campaign: how it went on, and what it has found, in files that refer to nothing else."""

import html
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.campaign.crashes import CrashStore
from fuzz.campaign.disk import write_whole
from fuzz.campaign.engine import Engine
from fuzz.campaign.status import counted, totals
from fuzz.story import page

REPORT = "report.html"
_WIDTH, _HEIGHT, _LEFT, _BELOW = 420, 150, 64, 18
_DASHES = ("", "7 3", "2 3")  # without colours the engines differ, too
_QUANTITIES = ("executions", "executions a second", "corpus", "coverage")
_STYLE = """\
body{font:14px/1.45 system-ui,sans-serif;max-width:1180px;margin:1.5em auto;padding:0 1em;color:#1b2330}
h1{font-size:20px}h2{font-size:16px;margin:1.4em 0 .3em}table{border-collapse:collapse}
td,th{padding:2px 14px 2px 0;text-align:right}td:first-child,th:first-child{text-align:left}
pre{background:#f5f7fa;border:1px solid #cfd6df;padding:6px 10px;overflow-x:auto;margin:.3em 0}
figure{display:inline-block;margin:0 18px 12px 0}figcaption{font-weight:bold}
svg text{font:11px system-ui,sans-serif;fill:#55657c}
.kind{border-left:4px solid #b23a00;padding-left:12px;margin:1em 0}
.none{border-left:4px solid #1f5fa8;padding-left:12px}
@media print{.kind,figure{break-inside:avoid}}"""


@dataclass
class History:
    """What was seen of a campaign every few seconds."""

    times: list[float] = field(default_factory=list)
    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # by quantity and engine
    new_at: float = 0.0  # when an engine last found something new

    def add(self, elapsed: float, engines: list[Engine], store: CrashStore) -> None:
        kinds = totals(engines)
        if not self.times:
            self.times.append(0.0)
            self.values = {(name, kind.name): [0.0] for kind in kinds for name in _QUANTITIES}
            self.values["kinds of failure", "all"] = [0.0]
        before = self.last("corpus") + self.last("coverage")
        since = elapsed - self.times[-1]
        for kind in kinds:
            recent = (kind.executions - self.values["executions", kind.name][-1]) / max(since, 1e-3)
            for name, value in zip(_QUANTITIES, (kind.executions, recent, kind.corpus, kind.coverage), strict=True):
                self.values[name, kind.name].append(float(value))
        self.values["kinds of failure", "all"].append(float(len(store.groups)))
        self.times.append(elapsed)
        if self.last("corpus") + self.last("coverage") > before:
            self.new_at = elapsed

    def last(self, quantity: str) -> float:
        """The sum over the engines."""
        return sum(values[-1] for (name, _), values in self.values.items() if name == quantity)


def _curves(history: History, quantity: str) -> str:
    curves = [(engine, values) for (name, engine), values in history.values.items() if name == quantity]
    most = max((max(values) for _, values in curves), default=0.0)
    if most == 0 or len(history.times) < 2:
        return ""
    end = max(history.times[-1], 1e-3)
    parts = [f'<svg width="{_LEFT + _WIDTH + 70}" height="{_HEIGHT + _BELOW}" role="img" aria-label="{quantity}">',
             f'<path d="M{_LEFT} 4 V{_HEIGHT} H{_LEFT + _WIDTH}" fill="none" stroke="#55657c"/>',
             f'<text x="{_LEFT - 6}" y="14" text-anchor="end">{most:,.0f}</text>',
             f'<text x="{_LEFT - 6}" y="{_HEIGHT}" text-anchor="end">0</text>',
             f'<text x="{_LEFT + _WIDTH}" y="{_HEIGHT + 14}" text-anchor="end">{end:,.0f} s</text>']
    for number, (engine, values) in enumerate(curves):
        points = [(_LEFT + _WIDTH * time / end, _HEIGHT - (_HEIGHT - 10) * value / most)
                  for time, value in zip(history.times, values)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts += [f'<polyline points="{path}" fill="none" stroke="#1f5fa8" stroke-width="2" '
                  f'stroke-dasharray="{_DASHES[number % len(_DASHES)]}"/>',
                  f'<text x="{points[-1][0] + 4:.1f}" y="{points[-1][1] + 4:.1f}">{html.escape(engine)}</text>']
    return f"<figure><figcaption>{quantity}</figcaption>{''.join(parts)}</svg></figure>"


def _kind(told: dict) -> str:
    """One kind of failure of `status_record`."""
    parts = [f'<section class="kind"><h2>{html.escape(told["title"])}</h2>',
             f"<p>{counted(told['count'], 'crash file')}, the first by {html.escape(told['engine'])}"
             + (f" after {told['executions']:,} executions" if told["executions"] else "") + ".</p>"]
    for story in told["stories"]:
        file = Path(story["file"])
        links = f'<a href="{file.name}">{file.name}</a>'
        if story.get("page"):
            links += f', <a href="{html.escape(story["page"])}">its timeline</a>'
        rules = f" ({html.escape(story['rules'])})" if story["rules"] else ""
        text = "\n".join([*story["scenario"], "", story["command"]])
        parts.append(f"<p>{links}{rules}</p><pre>{html.escape(text)}</pre>")
    if not told["stories"]:
        parts.append(f"<pre>{html.escape(told['command'] or told['file'])}</pre>")
    return "".join(parts) + "</section>"


def report(told: dict, history: History) -> str:
    """The page. `told` is what status.json says."""
    rows = "".join(f"<tr><td>{html.escape(one['name'])}<td>{one['executions']:,}<td>{one['a_second']:,}"
                   f"<td>{one['corpus']:,}<td>{one['coverage']:,}</tr>" for one in told["engines"])
    failures = "".join(f"<p><b>{html.escape(text)}</b></p>" for text in told["failures"])
    kinds = "".join(_kind(one) for one in told["kinds"]) or '<p class="none">Nothing has failed.</p>'
    curves = "".join(_curves(history, name) for name in (*_QUANTITIES, "kinds of failure"))
    return ("<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Fuzz campaign</title>"
            f"<style>{_STYLE}</style>"
            f"<h1>Fuzz campaign: {told['seconds']:,.0f} s, {counted(len(told['kinds']), 'kind')} of failure</h1>"
            + (f"<p>The last new input came {told['since_new']:,.0f} s before the end.</p>"
               if history.last("corpus") else "") + failures +
            f"<table><tr><th>engine<th>executions<th>a second<th>corpus<th>coverage</tr>{rows}</table>"
            f"<h2>How it went on</h2>{curves}<h2>What has failed</h2>{kinds}\n")


def write(folder: Path, told: dict, history: History, reproducers: dict[str, Path]) -> Path:
    """Writes the page and a timeline for the story of each kind of failure. Raises OSError."""
    for kind in told["kinds"]:
        for story in kind["stories"][:1]:
            file, program = Path(story["file"]), reproducers.get(story["file"])
            text = _timeline(program, file) if program else None
            if folder != file.parent:
                write_whole(folder / file.name, file.read_bytes())
            if text:
                story["page"] = file.with_suffix(".html").name
                write_whole(folder / story["page"], text.encode())
    write_whole(folder / REPORT, report(told, history).encode())
    return folder / REPORT


def _timeline(program: Path, file: Path) -> str | None:
    try:
        run = subprocess.run([str(program), "--json", file.name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, timeout=20, cwd=file.parent, check=False,
                             env={"PATH": "/usr/bin:/bin"})
        return page.page(json.loads(run.stdout)) if run.returncode == 1 else None
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired):
        return None
