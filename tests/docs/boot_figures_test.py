"""Boots the test kernel in Bochs, and compares what is published of it: ticks of --bench, or an example."""

import contextlib
import io
import sys
from pathlib import Path

from bochs_runner import bench_table, cli, linux_figures
from tests.docs import figures


def ticks(options, output: str) -> dict[str, str]:
    """The cells of the tables, with Linux 6.1 in brackets where it is known, and the lines of the ledger."""
    pti = options.pti == "on"
    means, handlers = bench_table.parse_means(output, "sum"), bench_table.parse_means(output, "handler")
    found = {}
    for flush, (cpus, median, _, _) in bench_table.parse(output).items():
        if flush not in bench_table.TITLES:
            continue
        peers, bar = linux_figures.of(flush, cpus, pti), linux_figures.bar(flush, cpus, pti)
        key = f"pti={options.pti} cpus={cpus} {bench_table.TITLES[flush]}"
        found[f"ticks {key}"] = f"{median} ({peers['6.1']})" if "6.1" in peers else str(median)
        found[f"ledger {key}"] = ledger_line(median, means[flush], handlers.get(flush), peers, bar)
    return found


def ledger_line(median: int, mean: float, handler: float | None, peers: dict[str, int], bar: int | None) -> str:
    parts = [str(median), f"mean {mean:.1f}"]
    if handler is not None:
        parts.append(f"handler {handler:.1f}")
    parts += [f"Linux {version} {peer}" for version, peer in peers.items()]
    if peers:
        parts.append(f"ratio {bench_table.ratio(median, peers):.2f}")
    if bar is not None:
        parts.append(f"bar {bar} {'reached' if median <= bar else f'missed by {median - bar}'}")
    return ", ".join(parts)


def main(argv: list[str]) -> int:
    options = cli.parse_arguments(argv)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = cli.main(argv)
    print(output.getvalue(), flush=True)
    if status != 0:
        return status
    found = ticks(options, output.getvalue()) if options.bench else {
        "example bochs": output.getvalue().replace("\r", "").strip()}
    figures.tell(found)
    wrong = figures.differences(Path("."), found)
    print("\n".join(wrong))
    return 1 if wrong or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
