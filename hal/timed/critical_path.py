"""The critical path of a flush as text: the chain of what waited for what, and what it is made of."""

from hal.timed.runs import Result, Step

_WHAT = {
    "compute": "computes",
    "line": "gets the line {line}",
    "memory": "gets the line {line} from memory",
    "queue": "waits for the line {line}, which is busy",
    "drain": "waits for the store to {line} before a locked instruction",
    "locked": "locked instruction",
    "fence": "fence",
    "pause": "looks again and again",
    "clock": "reads the clock",
    "command": "sends an interrupt",
    "delivery": "the interrupt is on its way",
    "entry": "enters the handler",
    "exit": "leaves the handler",
    "invlpg": "INVLPG",
    "invpcid": "INVPCID",
    "cr3": "loads CR3",
    "cr4": "loads CR4",
    "invlpgb": "INVLPGB",
    "tlbsync": "TLBSYNC, until all CPUs have invalidated",
}
_MOST_STEPS_OF_A_LOOP = 8
_LEAST_ROUNDS = 3


def nanoseconds(time: int) -> str:
    return f"{time / 1000:,.1f}"


def what(step: Step) -> str:
    """What a CPU does in a step."""
    text = _WHAT[step.cause].format(line=step.line)
    return text + (f" from CPU {step.other}" if step.cause == "line" and step.other >= 0 else "")


def _key(step: Step) -> tuple[int, str, str]:
    return step.cpu, step.cause, step.line


def _relay(steps: list[Step]) -> int:
    """How many of the first steps are the same, each on another CPU: CPUs that take turns."""
    count = 1
    while count < len(steps) and _key(steps[count])[1:] == _key(steps[0])[1:] and (
            steps[count].cpu != steps[count - 1].cpu):
        count += 1
    return count


def _rounds(steps: list[Step], length: int) -> int:
    """How often the first `length` steps follow each other, with whichever CPU has the line."""
    keys = [_key(step) for step in steps[:length]]
    rounds = 1
    while [_key(step) for step in steps[rounds * length:(rounds + 1) * length]] == keys:
        rounds += 1
    return rounds


def _loop(steps: list[Step]) -> tuple[int, int]:
    """(steps of a round, rounds) of the loop that the steps begin with, the one that covers most; or (1, 1)."""
    best = (1, 1)
    for length in range(1, min(_MOST_STEPS_OF_A_LOOP, len(steps)) + 1):
        rounds = _rounds(steps, length)
        if rounds >= _LEAST_ROUNDS and rounds * length > best[0] * best[1]:
            best = (length, rounds)
    return best


def chain(result: Result) -> list[str]:
    """The critical path, a line for each step, and one for each loop."""
    begin = result.path[0].start
    lines = [f"{'from ns':>12} {'for ns':>12} {'CPU':>5}  what"]
    steps = result.path
    while steps:
        relay = _relay(steps)
        if relay >= _LEAST_ROUNDS:
            part, steps = steps[:relay], steps[relay:]
            time = part[-1].end - part[0].start
            lines.append(f"{nanoseconds(part[0].start - begin):>12} {nanoseconds(time):>12} {part[0].cpu:>5}  "
                         f"{relay} CPUs, the last is {part[-1].cpu}, one after the other: {_WHAT[part[0].cause]}"
                         .format(line=part[0].line))
            continue
        length, rounds = _loop(steps)
        part, steps = steps[:length * rounds], steps[length * rounds:]
        text = what(part[0])
        if rounds > 1:
            inside = "; ".join(_WHAT[step.cause].format(line=step.line) for step in part[:length])
            text = f"{rounds} times: {inside}"
        time = part[-1].end - part[0].start
        lines.append(f"{nanoseconds(part[0].start - begin):>12} {nanoseconds(time):>12} {part[0].cpu:>5}  {text}")
    return lines


def by_cause(result: Result) -> list[tuple[str, int]]:
    """(cause, time), the largest first; lines by name."""
    sums: dict[str, int] = {}
    for step in result.path:
        kind = f"{step.cause} {step.line}".rstrip()
        sums[kind] = sums.get(kind, 0) + step.time
    return sorted(sums.items(), key=lambda item: (-item[1], item[0]))


def bound(result: Result) -> str:
    """Which CPU is the largest part of the critical path."""
    shares = result.share_by_cpu()
    cpu = max(shares, key=lambda one: (shares[one], -one))
    name = "interrupts on their way" if cpu < 0 else f"CPU {cpu}"
    return f"{name}: {100 * shares[cpu] / result.time:.0f} %" if result.time else "nothing"


def report(result: Result) -> list[str]:
    """The whole report on one flush."""
    if not result.path:
        return ["nothing takes time"]
    last = [step.cpu for step in result.path if step.cpu != 0]
    answer = f"; the last CPU that it waited for is CPU {last[-1]}" if last else "; it waited for no other CPU"
    sums = ", ".join(f"{cause} {nanoseconds(time)}" for cause, time in by_cause(result))
    return [*chain(result), f"bounded by {bound(result)}{answer}", f"by cause, ns: {sums}"]
