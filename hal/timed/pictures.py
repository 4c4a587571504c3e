"""The plots of modelled time."""

from hal.timed import plots
from hal.timed.runs import MODE_TITLES, MODES, Experiment, Simulator

_KEPT = ["pages", "loaded", "initiators", "capacity", "line_bytes", "fetch_ahead"]


def of_times(simulator: Simulator, prices: str, cpus: list[int], options: dict | None = None) -> str:
    """Time by number of CPUs for each way to flush, and the same beside the serial flush."""
    options = options or {}
    kept = {name: options[name] for name in _KEPT if name in options} | {"pti": options.get("pti") == "on"}
    modes = [mode for mode in MODES if mode != "invlpgb" or not kept["pti"]]
    asked = [Experiment(prices, count, mode, **kept) for mode in modes for count in cpus]
    found = dict(zip(asked, simulator.run(asked)))
    series, ratios = [], []
    for mode in modes:
        points = [(count, found[Experiment(prices, count, mode, **kept)].time / 1e6) for count in cpus]
        serial = [found[Experiment(prices, count, "serial", **kept)].time / 1e6 for count in cpus]
        series.append(plots.Series(MODE_TITLES[mode], points))
        ratios.append(plots.Series(MODE_TITLES[mode],
                                   [(x, 100 * y / whole) for (x, y), whole in zip(points, serial)]))
    pages = kept.get("pages", 1)
    what = ("1 page" if pages == 1 else f"{pages} pages") + (", isolation on" if kept["pti"] else "")
    return plots.draw(f"Modelled time of a flush of {what}, price list {prices}", [
        plots.Panel(f"Time of a flush, {what}, prices: {prices}", "CPUs", "microseconds", series),
        plots.Panel("Beside the serial flush", "CPUs", "% of serial", ratios, log_y=False, y_range=(0, 100))])


def of_phases(simulator: Simulator, lists: list[str], cpus: list[int]) -> str:
    """What the critical path of a concurrent flush is made of."""
    names = ["CPU 0 sends", "interrupt and target", "CPU 0 reads answers"]
    panels = []
    for prices in lists:
        results = simulator.run([Experiment(prices, count) for count in cpus])
        shares = [[100 * phase / result.time for phase in result.phases()] for result in results]
        bands = [plots.Series(name, [(count, share[i]) for count, share in zip(cpus, shares)])
                 for i, name in enumerate(names)]
        panels.append(plots.Panel(f"Critical path, prices: {prices}", "CPUs", "% of the time", [], log_y=False,
                                  y_range=(0, 100), bands=bands))
    return plots.draw("What the critical path of a concurrent flush is made of", panels)
