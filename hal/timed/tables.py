"""Tables of modelled time, in Markdown."""

from hal.timed import critical_path
from hal.timed.runs import MODE_TITLES, Result

CPUS = [2**i for i in range(1, 13)]


def microseconds(time: int) -> str:
    return f"{time / 1e6:,.2f}"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A table, its numbers as they are."""
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header),
            *("| " + " | ".join(row) + " |" for row in rows)]


def times(cpus: list[int], modes: list[str], results: dict[tuple[int, str], Result]) -> list[str]:
    """Microseconds for each number of CPUs and mode, and what bounds the concurrent flush, or the first mode's."""
    told = "concurrent" if "concurrent" in modes else modes[0]
    header = ["CPUs", *(f"{MODE_TITLES[mode]}, µs" for mode in modes), "send", "way, target", "answers",
              f"bounds {MODE_TITLES[told]}", "handler, µs"]
    rows = []
    for count in cpus:
        result = results[count, told]
        targets = max(result["interrupts"], 1)
        rows.append([str(count), *(microseconds(results[count, mode]["longest"]) for mode in modes),
                     *(microseconds(phase) for phase in result.phases()), critical_path.bound(result),
                     microseconds(result["handlers"] // targets)])
    return table(header, rows)


def _kib(size: int) -> str:
    return f"{size:,} B" if size < 10_000 else f"{size / 1024:,.0f} KiB"


def layout(results: dict[tuple[int, int], Result]) -> list[str]:
    """What the core's state takes, by (CPUs, CPUs that the kernel is built for)."""
    header = ["CPUs", "built for", "system", "posts", "pending words", "CPU states", "an mm", "words of a mask",
              "words a target scans", "lines of these", "lines CPU 0 uses", "lines a target uses", "lines that move",
              "moves"]
    rows = []
    for (cpus, capacity), result in results.items():
        sizes, lines = result["layout"], result["lines"].values()
        rows.append([str(cpus), str(capacity), *(_kib(sizes[name]) for name in (
            "system", "posts", "pending", "cpu_states", "mm")), str(sizes["mask_words"]), str(sizes["pending_words"]),
            str(sizes["pending_lines"]), *(f"{sum(line[name] for line in lines):,}" for name in (
                "initiator", "target", "lines", "moves"))])
    return table(header, rows)
