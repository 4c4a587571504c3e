"""The tables and plots of docs/modelled-time.md, as the simulation gives them now.

In the document each table stands between a line `<!-- modelled NAME -->` and a line `<!-- end -->`.
"""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from hal.timed import critical_path, pictures, runs, tables
from hal.timed.runs import MODE_TITLES, MODES, PRICE_LISTS, Experiment, Simulator

DOCUMENT = "docs/modelled-time.md"
FOLDER = "docs/modelled-time"
_FEW = [2, 8, 64, 256]
_BLOCK = re.compile(r"^<!-- modelled ([^\n]+) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)


def _times(prices: str) -> Callable[[Simulator], list[str]]:
    def block(simulator: Simulator) -> list[str]:
        asked = [Experiment(prices, cpus, mode) for cpus in tables.CPUS for mode in MODES]
        results = {(e.cpus, e.mode): r for e, r in zip(asked, simulator.run(asked))}
        return tables.times(tables.CPUS, MODES, results)

    return block


def _pages(simulator: Simulator) -> list[str]:
    rows = []
    for pages in (1, 10, 33):
        for pti in (False, True):
            modes = MODES[:3] if pti else MODES
            for cpus in _FEW:
                results = simulator.run([Experiment("two-socket", cpus, mode, pages=pages, pti=pti) for mode in modes])
                cells = [tables.microseconds(result.time) for result in results] + ["-"] * (len(MODES) - len(modes))
                rows.append([str(pages), "on" if pti else "off", str(cpus), *cells, critical_path.bound(results[1]),
                             critical_path.bound(results[2])])
    return tables.table(["pages", "isolation", "CPUs", *(f"{MODE_TITLES[mode]}, µs" for mode in MODES),
                         "bounds concurrent", "bounds early"], rows)


def _path(experiment: Experiment) -> Callable[[Simulator], list[str]]:
    def block(simulator: Simulator) -> list[str]:
        return ["```", *(line.rstrip() for line in critical_path.report(simulator.one(experiment))), "```"]

    return block


def _layout(simulator: Simulator) -> list[str]:
    asked = [Experiment("two-socket", cpus) for cpus in (8, 64, 256, 1024, 4096)]
    return tables.layout({(e.cpus, r["capacity"]): r for e, r in zip(asked, simulator.run(asked))})


def _capacity(simulator: Simulator) -> list[str]:
    rows = []
    for cpus in (1, 2, 8, 64):
        cells = []
        for prices in PRICE_LISTS:
            small, large = simulator.run([Experiment(prices, cpus), Experiment(prices, cpus, capacity=4096)])
            cells += [critical_path.nanoseconds(small.time), critical_path.nanoseconds(large.time),
                      f"+{100 * large.time / small.time - 100:.0f} %"]
        rows.append([str(cpus), *cells])
    header = [text for prices in PRICE_LISTS for text in (f"{prices}, ns", "built for 4096", "more")]
    return tables.table(["CPUs", *header], rows)


def _line_bytes(simulator: Simulator) -> list[str]:
    rows = []
    for size in (64, 128, 256):
        cells = []
        for prices in PRICE_LISTS:
            for cpus in (8, 64):
                result = simulator.one(Experiment(prices, cpus, line_bytes=size))
                cells += [tables.microseconds(result.time), f"{result['line_moves']:,}"]
        rows.append([str(size), *cells])
    header = [text for prices in PRICE_LISTS for text in (f"{prices}, 8 CPUs, µs", "moves", "64 CPUs", "moves")]
    return tables.table(["bytes of a line", *header], rows)


def _fetch_ahead(simulator: Simulator) -> list[str]:
    rows = []
    for cpus in (2, 8, 64, 256, 4096):
        cells = []
        for prices in PRICE_LISTS:
            now, ahead = simulator.run([Experiment(prices, cpus, fetch_ahead=ahead) for ahead in (False, True)])
            cells += [tables.microseconds(now.time), tables.microseconds(ahead.time),
                      f"{100 * ahead.time / now.time:.0f} %"]
        rows.append([str(cpus), *cells])
    header = [text for prices in PRICE_LISTS for text in (f"{prices}, µs", "fetched ahead", "of it")]
    return tables.table(["CPUs", *header], rows)


def _initiators(simulator: Simulator) -> list[str]:
    rows = []
    for count in (1, 2, 8, 32, 64):
        cells = []
        for prices in PRICE_LISTS:
            result = simulator.one(Experiment(prices, 64, initiators=count))
            cells += [tables.microseconds(result["longest"]), str(result["interrupts"]), f"{result['line_moves']:,}"]
        rows.append([str(count), *cells])
    header = [text for prices in PRICE_LISTS for text in (f"{prices}, µs", "interrupts", "moves")]
    return tables.table(["initiators", *header], rows)


def _break_even(simulator: Simulator) -> list[str]:
    rows = []
    for cpus in (2, 4, 8, 64, 4096):
        cells = []
        for prices in PRICE_LISTS:
            by_interrupt, early, broadcast = simulator.run(
                [Experiment(prices, cpus, mode) for mode in ("concurrent", "early", "invlpgb")])
            cells += [critical_path.nanoseconds(broadcast.time),
                      critical_path.nanoseconds(by_interrupt.time - broadcast.time),
                      critical_path.nanoseconds(early.time - broadcast.time)]
        rows.append([str(cpus), *cells])
    header = [text for prices in PRICE_LISTS for text in (f"{prices}, ns", "to concurrent", "to early")]
    return tables.table(["CPUs", *header], rows)


def _prices(_simulator: Simulator) -> list[str]:
    lists = [{name: value for name, value, _ in runs.prices_of(prices)} for prices in PRICE_LISTS]
    names = list(dict.fromkeys(name for values in lists for name in values))
    names.sort(key=lambda name: not name.startswith("line"))
    return tables.table(["price, ns", *PRICE_LISTS],
                        [[name, *(values.get(name, "") for values in lists)] for name in names])


def _count(simulator: Simulator, price: str, cpus: int) -> int:
    """How often what has this price is on the critical path, if all else is free."""
    text = "\n".join(f"price {name} {1 if name == price else 0} x" for name, _, _ in runs.prices_of("desktop")
                     if not name.startswith("line") and name != "loads")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(f"level all all 0 x\ncount loads 1 x\n{text}\n")
        file.flush()
        return simulator.one(Experiment(file.name, cpus)).time // 1000


def _instructions(simulator: Simulator) -> list[str]:
    rows = []
    for cpus in (1, 2, 4, 8):
        accesses, blocks = _count(simulator, "access", cpus), _count(simulator, "block", cpus)
        rows.append([str(cpus), str(accesses), str(blocks), f"{2.5 * accesses + 3 * blocks:.0f}"])
    return tables.table(["CPUs", "accesses", "blocks", "2.5 and 3 instructions each"], rows)


# Nanoseconds beyond the flush on one CPU, by CPUs: of a mailing list, Haswell, bare metal, 2019.
_MEASURED = {2: {"serial": 775, "concurrent": 562, "early": 260}, 4: {"serial": 910, "concurrent": 758, "early": 407}}


def _measured(simulator: Simulator) -> list[str]:
    rows = []
    for cpus, measured in _MEASURED.items():
        for mode, value in measured.items():
            cells = []
            for prices in PRICE_LISTS:
                one, more = simulator.run([Experiment(prices, 1, mode), Experiment(prices, cpus, mode)])
                cells.append(critical_path.nanoseconds(more.time - one.time))
            rows.append([str(cpus), mode, str(value), *cells])
    return tables.table(["CPUs", "way", "measured in Linux, ns", *(f"{prices}, ns" for prices in PRICE_LISTS)], rows)


def _blocks() -> dict[str, Callable[[Simulator], list[str]]]:
    return {
        **{f"times {prices}": _times(prices) for prices in PRICE_LISTS},
        "pages": _pages,
        "path of 4": _path(Experiment("two-socket", 4)),
        "path of 4096": _path(Experiment("two-socket", 4096)),
        "layout": _layout,
        "capacity": _capacity,
        "lines": _line_bytes,
        "fetch ahead": _fetch_ahead,
        "initiators": _initiators,
        "break-even": _break_even,
        "prices": _prices,
        "instructions": _instructions,
        "measured": _measured,
    }


def _with_tables(text: str, simulator: Simulator) -> str:
    blocks = _blocks()

    def replaced(match: re.Match) -> str:
        name = match[1]
        if name not in blocks:
            raise runs.CannotRun(f"{DOCUMENT}: there is no table {name!r}, but {', '.join(blocks)}")
        return "\n".join([f"<!-- modelled {name} -->", *blocks.pop(name)(simulator), "<!-- end -->"])

    new = _BLOCK.sub(replaced, text)
    if blocks:
        raise runs.CannotRun(f"{DOCUMENT} has no place for {', '.join(blocks)}")
    return new


PICTURES: dict[str, Callable[[Simulator], str]] = {
    **{prices: (lambda simulator, prices=prices: pictures.of_times(simulator, prices, tables.CPUS))
       for prices in PRICE_LISTS},
    "phases": lambda simulator: pictures.of_phases(simulator, PRICE_LISTS, tables.CPUS),
    "many-pages": lambda simulator: pictures.of_times(simulator, "two-socket", tables.CPUS[:8],
                                                      {"pages": 33, "pti": "on"}),
}
# What is published. key -> document
TEXTS = {"modelled time": DOCUMENT, **{f"plot {name}": f"{FOLDER}/{name}.svg" for name in PICTURES}}


def measured(root: Path, simulator: Simulator) -> dict[str, str]:
    """The document below `root` and its plots, as they are now."""
    # All at once first, so that no CPU waits for the last run of a table.
    simulator.run([Experiment(prices, cpus, mode) for prices in PRICE_LISTS for cpus in tables.CPUS for mode in MODES])
    return {"modelled time": _with_tables((root / DOCUMENT).read_text(), simulator),
            **{f"plot {name}": draw(simulator) for name, draw in PICTURES.items()}}
