"""The benchmark's lines as a table beside Linux's figures."""

import re

from bochs_runner import linux_figures

_LINE = re.compile(r"# bench (\w+) (\d+) cpus=(\d+) median=(\d+) min=(\d+) max=(\d+)")

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


def missing(measured):
    """Titles of the flushes that were not measured."""
    return [title for key, title in TITLES.items() if key not in measured]


def render(measured, pti=False):
    """A Markdown table. Rows that were not measured are left out; `missing` names them."""
    figures = linux_figures.PTI_ON if pti else linux_figures.MITIGATIONS_OFF
    peer = "Linux 6.1, PTI on" if pti else "Linux 6.1, mitigations off"
    cpus = next(iter(measured.values()))[0]
    lines = [f"Ticks per flush, {cpus} CPU{'s' if cpus > 1 else ''}, the others spinning in user mode in the "
             "address space; median of 200:",
             "",
             f"| flush | shootdown | min | max | {peer} | ratio |",
             "|---|---|---|---|---|---|"]
    for key, title in TITLES.items():
        if key not in measured:
            continue
        _, median, least, most = measured[key]
        linux = figures[key].get(cpus)
        ratio = f"{median / linux:.2f}" if linux else "-"
        lines.append(f"| {title} | {median} | {least} | {most} | {linux or '-'} | {ratio} |")
    if ("rdtsc", 0) in measured:
        lines += ["", f"Reading the counter alone: {measured['rdtsc', 0][1]} ticks, not subtracted."]
    return "\n".join(lines)
