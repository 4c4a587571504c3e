"""Reads the test kernel's console output and judges it.

A run passes only if the output is complete: banner, KTAP version, plan, every planned result in
order, none of them bad, matching totals, and a clean shutdown of the emulator. Anything missing is
named, so that a run that was cut short can never look like one that passed.
"""

import dataclasses
import re

BANNER = "shootdown test kernel"
KTAP = "KTAP version 1"

_CONFIGURATION = re.compile(r"# cpus=\d+ .*")
_PLAN = re.compile(r"1\.\.(\d+)")
_RESULT = re.compile(r"(not ok|ok) (\d+) ([^#]*?)(?: # (.*))?")
_TOTALS = re.compile(r"# totals: (\d+) passed, (\d+) failed, (\d+) skipped")


@dataclasses.dataclass(frozen=True)
class Result:
    """One test line."""
    number: int
    name: str
    ok: bool
    skipped: bool
    remark: str


@dataclasses.dataclass
class Console:
    """What the console output says, line by line. Several plans or totals are kept: they are wrong."""
    first_line: str = ""
    configuration: dict = dataclasses.field(default_factory=dict)
    ktap_lines: int = 0
    plans: list = dataclasses.field(default_factory=list)
    results: list = dataclasses.field(default_factory=list)
    totals: list = dataclasses.field(default_factory=list)
    fatal: str = ""

    def failed(self):
        return [result.name for result in self.results if not result.ok]

    def skipped(self):
        return [result.name for result in self.results if result.skipped]


def parse(text):
    """The console output as a Console. Unknown lines are remarks and are ignored."""
    console = Console()
    # An emulator that is killed leaves half a line. Half a result is none.
    lines = text.split("\n")[:-1]
    for line in (line.rstrip("\r") for line in lines):
        if line and not console.first_line:
            console.first_line = line
        _parse_line(console, line)
    return console


def _parse_line(console, line):
    result, plan, totals = _RESULT.fullmatch(line), _PLAN.fullmatch(line), _TOTALS.fullmatch(line)
    if line == KTAP:
        console.ktap_lines += 1
    elif line.startswith("FATAL: "):
        console.fatal = console.fatal or line
    elif plan:
        console.plans.append(int(plan[1]))
    elif result:
        remark = result[4] or ""
        console.results.append(Result(number=int(result[2]), name=result[3], ok=result[1] == "ok",
                                      skipped=remark.startswith("SKIP"), remark=remark))
    elif totals:
        console.totals.append(tuple(int(number) for number in totals.groups()))
    elif _CONFIGURATION.fullmatch(line):
        console.configuration = dict(word.split("=", 1) for word in line[2:].split() if "=" in word)


def problems(console, expected_configuration, exit_status, limit_seconds):
    """What keeps the run from being a success, one sentence each; empty if it is one.

    expected_configuration: words of the kernel's configuration line that must be there.
    exit_status: the emulator's; None if it had to be killed after limit_seconds.
    """
    found = []
    if exit_status is None:
        found.append(f"no end within {limit_seconds:g} s: the emulator was killed")
    if console.fatal:
        found.append(f"the kernel stopped: {console.fatal}")
    if not console.first_line:
        found.append("the console is empty: the kernel did not boot")
    else:
        found += _console_problems(console, expected_configuration)
    if exit_status not in (None, 0) and not console.fatal and not console.failed():
        # Otherwise the kernel itself has asked for this end.
        found.append(f"no clean shutdown: the emulator ended with status {exit_status}")
    if exit_status == 0 and (console.fatal or console.failed()):
        found.append("the kernel failed and yet shut down as if it had not")
    return found


def _console_problems(console, expected_configuration):
    found = []
    if console.first_line != BANNER:
        found.append(f"the first line is not the banner '{BANNER}' but '{console.first_line}'")
    found += _configuration_problems(console, expected_configuration)
    found += _plan_problems(console)
    for result in console.results:
        if not result.ok:
            found.append(f"test {result.number} '{result.name}' failed: {result.remark or 'no reason'}")
    return found + _totals_problems(console)


def _configuration_problems(console, expected):
    if not console.configuration:
        return ["the kernel's configuration line is missing"]
    return [f"asked for {name}={value}, the kernel has {name}={console.configuration.get(name)}"
            for name, value in expected.items() if console.configuration.get(name) != value]


def _plan_problems(console):
    if console.ktap_lines != 1:
        return [f"the line '{KTAP}' is there {console.ktap_lines} times, not once"]
    if len(console.plans) != 1:
        return [f"there are {len(console.plans)} plans, not one"]
    planned = console.plans[0]
    numbers = [result.number for result in console.results]
    found = []
    if planned == 0:
        found.append("the plan has no tests")
    if numbers != list(range(1, planned + 1)):
        found.append(f"{planned} tests are planned, results are there for: "
                     f"{', '.join(map(str, numbers)) or 'none'}")
    if console.results and len(console.skipped()) == len(console.results):
        found.append("every test was skipped")
    return found


def _totals_problems(console):
    if len(console.totals) != 1:
        return [f"there are {len(console.totals)} lines of totals, not one"]
    skipped, failed = len(console.skipped()), len(console.failed())
    counted = (len(console.results) - skipped - failed, failed, skipped)
    if console.totals[0] == counted:
        return []
    return ["the totals (passed, failed, skipped) say {}, the results are {}".format(
        console.totals[0], counted)]
