"""The benchmark's lines as a table beside Linux's figures."""

import re

from bochs_runner import linux_figures

_LINE = re.compile(r"# bench (\w+) (\d+) cpus=(\d+) median=(\d+) min=(\d+) max=(\d+)")
_SUM = re.compile(r"# bench-(sum|handler) (\w+) (\d+) cpus=\d+ times=(\d+) ticks=(\d+)")

TITLES = {
    ("range", 1): "1 page",
    ("range", 10): "10 pages",
    ("range", 33): "33 pages",
    ("all", 0): "all",
    ("freed_tables", 1): "1 page, freed tables",
}


def parse(text):
    """(kind, pages) -> (CPUs, median, min, max), in the order of the lines."""
    return {(match[1], int(match[2])): tuple(int(match[i]) for i in range(3, 7))
            for match in map(_LINE.fullmatch, text.splitlines()) if match}


def parse_means(text, what):
    """(kind, pages) -> average ticks: of the whole flush ("sum") or of the handler on a target ("handler")."""
    return {(match[2], int(match[3])): int(match[5]) / int(match[4])
            for match in map(_SUM.fullmatch, text.splitlines()) if match and match[1] == what}


def missing(text):
    """Titles of the flushes that were not measured, in one way or another."""
    measured = parse(text)
    several = any(cpus > 1 for cpus, *_ in measured.values())
    needed = [measured, parse_means(text, "sum")] + ([parse_means(text, "handler")] if several else [])
    return [title for key, title in TITLES.items() if any(key not in found for found in needed)]


def ratio(median, peers):
    """Of the ticks to those of the better Linux; None: there is none."""
    return median / min(peers.values()) if peers else None


def _row(flush, line, mean, handler, pti):
    cpus, median, least, most = line
    peers = linux_figures.of(flush, cpus, pti)
    part, bar = ratio(median, peers), linux_figures.bar(flush, cpus, pti)
    cells = [TITLES[flush], median, least, most, "-" if mean is None else f"{mean:.1f}",
             "-" if handler is None else f"{handler:.1f}", peers.get("6.1", "-"), peers.get("6.12", "-"),
             "-" if part is None else f"{part:.2f}",
             "-" if bar is None else bar if median <= bar else f"{bar}, missed"]
    return f"| {' | '.join(map(str, cells))} |"


def render(text, pti=False):
    """A Markdown table. Rows that were not measured are left out; `missing` names them."""
    measured, means, handlers = parse(text), parse_means(text, "sum"), parse_means(text, "handler")
    cpus = next(iter(measured.values()))[0]
    lines = [f"Ticks per flush, {cpus} CPU{'s' if cpus > 1 else ''}, the others spinning in user mode in the "
             "address space; median of 200.",
             "Mean: begun in every phase of the emulator. Handler: mean ticks from its entry to its exit on a target, "
             "in C++. Around it",
             "is the stub that enters the kernel; in Linux's figures it is a real kernel's interrupt entry.",
             f"Linux with {'page-table isolation' if pti else 'mitigations off'}; the ratio is to the better one, the "
             "bar half of 6.1, and a third on one CPU.",
             "",
             "| flush | shootdown | min | max | mean | handler | Linux 6.1 | Linux 6.12 | ratio | bar |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    lines += [_row(flush, measured[flush], means.get(flush), handlers.get(flush), pti)
              for flush in TITLES if flush in measured]
    if ("rdtsc", 0) in measured:
        lines += ["", f"Reading the counter alone: {measured['rdtsc', 0][1]} ticks, not subtracted."]
    return "\n".join(lines)
