#!/usr/bin/python3
"""Modelled time of a flush: the core on CPUs with clocks, and a price for each thing that they do.

hal/timed/README.md tells what is priced and what is not; docs/modelled-time.md has results.
exit status: 0, or 2 if there is no such run
"""

import argparse
import csv
import io
import itertools
import json
import os
import sys
from pathlib import Path

from hal.timed import critical_path, pictures, runs, tables


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 2,4,64") from wrong


def _modes(text: str) -> list[str]:
    modes = runs.MODES if text == "all" else text.split(",")
    for mode in modes:
        if mode not in runs.MODES:
            raise argparse.ArgumentTypeError(f"{mode!r} is none of all, {', '.join(runs.MODES)}")
    return modes


def _price_lists(text: str) -> list[str]:
    names = runs.PRICE_LISTS if text == "all" else text.split(",")
    for name in names:
        if not runs.price_file(name).is_file():
            raise argparse.ArgumentTypeError(
                f"{name!r} is none of all, {', '.join(runs.PRICE_LISTS)}, and no file ending in .txt")
    return names


def parser() -> argparse.ArgumentParser:
    """The command line."""
    it = argparse.ArgumentParser(prog="time", description=__doc__.strip().splitlines()[0],
                                 epilog=" ".join(__doc__.strip().splitlines()[2:]))
    it.add_argument("--cpus", type=_numbers, metavar="LIST", default=tables.CPUS,
                    help="numbers of CPUs, 1 to 4096 (2,4,8 and so on to 4096)")
    it.add_argument("--prices", type=_price_lists, metavar="LIST", default=runs.PRICE_LISTS,
                    help=f"price lists: all, {', '.join(runs.PRICE_LISTS)}, or files ending in .txt (all)")
    it.add_argument("--mode", type=_modes, metavar="LIST", default=runs.MODES,
                    help=f"ways to flush: all, {', '.join(runs.MODES)} (all)")
    it.add_argument("--pages", type=int, default=1, metavar="N", help="pages that are flushed, 1 to 33 (1)")
    it.add_argument("--pti", choices=["on", "off"], default="off", help="page-table isolation (off)")
    it.add_argument("--loaded", type=int, default=0, metavar="N",
                    help="CPUs that have the mm loaded, from CPU 0 on (all)")
    it.add_argument("--initiators", type=int, default=1, metavar="N",
                    help="CPUs that flush at the same time, from CPU 0 on; times are those of the slowest (1)")
    it.add_argument("--capacity", type=int, default=0, metavar="N",
                    help="CPUs that the kernel is built for: 8, 64, 256, 1024, 4096 (the first that is enough)")
    it.add_argument("--line-bytes", type=int, default=64, metavar="N",
                    help="size of a cache line, to see what false sharing would do (64)")
    it.add_argument("--fetch-ahead", action="store_true",
                    help="as if the line of each bit had been asked for some targets before")
    form = it.add_mutually_exclusive_group()
    form.add_argument("--critical-path", action="store_true", help="what bounds each flush, step by step")
    form.add_argument("--layout", action="store_true", help="memory and lines of the core's state")
    form.add_argument("--csv", action="store_true", help="a line for each flush; times in picoseconds")
    form.add_argument("--json", action="store_true", help="all that is known of each flush")
    form.add_argument("--svg", metavar="FOLDER", help="writes a plot for each price list into a folder that exists")
    return it


def experiments(options: argparse.Namespace) -> list[runs.Experiment]:
    """What the options ask for."""
    return [runs.Experiment(prices=prices, cpus=cpus, mode=mode, pages=options.pages, pti=options.pti == "on",
                            loaded=options.loaded, initiators=options.initiators, capacity=options.capacity,
                            line_bytes=options.line_bytes, fetch_ahead=options.fetch_ahead)
            for prices, cpus, mode in itertools.product(options.prices, options.cpus, options.mode)]


def _title(experiment: runs.Experiment, result: runs.Result) -> str:
    pages = "1 page" if experiment.pages == 1 else f"{experiment.pages} pages"
    return (f"{experiment.prices}, {experiment.cpus} CPUs, {runs.MODE_TITLES[experiment.mode]}, {pages}: "
            f"{critical_path.nanoseconds(result.time)} ns")


def _csv(asked: list[runs.Experiment], results: list[runs.Result]) -> str:
    names = ["time", "longest", "handlers", "handlers_longest", "line_moves", "commands", "interrupts"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["prices", "cpus", "mode", "pages", *names])
    for experiment, result in zip(asked, results):
        writer.writerow([experiment.prices, experiment.cpus, experiment.mode, experiment.pages,
                         *(result[name] for name in names)])
    return text.getvalue()


def _write_plots(options: argparse.Namespace, simulator: runs.Simulator) -> str:
    folder = Path(os.environ.get("BUILD_WORKING_DIRECTORY", ".")) / options.svg
    if not folder.is_dir():
        raise runs.CannotRun(f"--svg: {options.svg} is no folder")
    if len(options.cpus) < 2:
        raise runs.CannotRun("--svg: a plot needs two numbers of CPUs")
    lines = []
    for prices in options.prices:
        path = folder / f"{Path(prices).stem}.svg"
        path.write_text(pictures.of_times(simulator, prices, sorted(options.cpus), vars(options)))
        lines.append(f"{path} is written")
    return "\n".join(lines) + "\n"


def _layout(asked: list[runs.Experiment], results: list[runs.Result]) -> str:
    return "\n".join(tables.layout({(e.cpus, r["capacity"]): r for e, r in zip(asked, results)})) + "\n"


def output(options: argparse.Namespace, simulator: runs.Simulator) -> str:
    """What is printed."""
    if options.svg is not None:
        return _write_plots(options, simulator)
    if options.layout:
        options.prices, options.mode = options.prices[:1], ["concurrent"]
    if options.pti == "on" and options.mode == runs.MODES:
        options.mode = [mode for mode in runs.MODES if mode != "invlpgb"]
    asked = experiments(options)
    results = simulator.run(asked)
    if options.json:
        return json.dumps([{**vars(experiment), **result.values} for experiment, result in zip(asked, results)],
                          indent=1) + "\n"
    if options.csv:
        return _csv(asked, results)
    if options.layout:
        return _layout(asked, results)
    if options.critical_path:
        parts = [[_title(experiment, result), *critical_path.report(result), ""]
                 for experiment, result in zip(asked, results)]
        return "\n".join(itertools.chain(*parts))
    parts = [[f"prices: {prices}", *tables.times(options.cpus, options.mode, {
        (e.cpus, e.mode): r for e, r in zip(asked, results) if e.prices == prices}), ""] for prices in options.prices]
    return "\n".join(itertools.chain(*parts))


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    try:
        sys.stdout.write(output(options, runs.Simulator()))
    except runs.CannotRun as why:
        print(f"time: {why}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
