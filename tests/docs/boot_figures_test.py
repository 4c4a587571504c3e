"""Boots the test kernel in Bochs, and compares what is published of it: ticks of --bench, or an example."""

import contextlib
import io
import sys
from pathlib import Path

from bochs_runner import bench_table, cli, linux_figures
from tests.docs import figures


def ticks(options, output: str) -> dict[str, str]:
    """The cells of the table: ticks, and Linux's in brackets where they are known."""
    linux = linux_figures.PTI_ON if options.pti == "on" else linux_figures.MITIGATIONS_OFF
    cells = {}
    for key, (cpus, median, _, _) in bench_table.parse(output).items():
        if key not in bench_table.TITLES:
            continue
        peer = linux[key].get(cpus)
        cells[f"ticks pti={options.pti} cpus={cpus} {bench_table.TITLES[key]}"] = \
            f"{median} ({peer})" if peer else str(median)
    return cells


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
