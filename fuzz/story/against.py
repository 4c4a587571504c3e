"""Two runs of one scenario by two builds, side by side from the first step at which they differ."""

import textwrap

_BEFORE, _AFTER = 6, 14


def _step(item: dict) -> tuple:
    """What two builds may be expected to share: lines of the code are moved by any change."""
    return item["cpu"], item["step"], item["text"]


def _state_of(record: dict, end: int) -> dict[str, str]:
    """What is there behind item `end` - 1."""
    state = dict(record["start"])
    for item in record["items"][:end]:
        for place, what in item.get("changes", {}).items():
            if what is None:
                state.pop(place, None)
            else:
                state[place] = what
    return state


def first_difference(one: dict, other: dict) -> int | None:
    """The number of the first item that only one of them has, or None."""
    pairs = enumerate(zip(one["items"], other["items"]))
    found = next((index for index, (a, b) in pairs if _step(a) != _step(b)), None)
    if found is not None or len(one["items"]) == len(other["items"]):
        return found
    return min(len(one["items"]), len(other["items"]))


def first_state_difference(one: dict, other: dict) -> tuple[int, list[str]] | None:
    """The first item behind which something else is there, and what; None if that never comes."""
    a, b = dict(one["start"]), dict(other["start"])
    for index, (mine, theirs) in enumerate(zip(one["items"], other["items"])):
        if _step(mine) != _step(theirs):
            return None
        for state, item in ((a, mine), (b, theirs)):
            for place, what in item.get("changes", {}).items():
                state[place] = what
        places = sorted({place for item in (mine, theirs) for place in item.get("changes", {})})
        wrong = [place for place in places if a.get(place) != b.get(place)]
        if wrong:
            return index, [f"{place}: {b.get(place) or 'nothing'} | {a.get(place) or 'nothing'}" for place in wrong]
    return None


def _text(item: dict) -> str:
    mark = f"{item['mark']}: " if item.get("mark") in ("first", "then", "both") else ""
    return f"{item['step']:<5} cpu{item['cpu']}  {mark}{item['text'].strip()}"


def _block(items: list[dict], width: int) -> list[str]:
    lines = []
    for item in items:
        lines += textwrap.wrap(_text(item), width, subsequent_indent=" " * 13) or [""]
        for note in item.get("notes", []):
            lines += textwrap.wrap(f"[{note}]", width, initial_indent=" " * 13, subsequent_indent=" " * 13)
    return lines


def _verdict(record: dict) -> str:
    return record["title"] if record["verdict"] else "ok"


def compare(mine: dict, theirs: dict, width: int = 150,
            names: tuple[str, str] = ("this build", "the clean core"), after: int | None = None) -> str:
    """The text: what both do, then the two runs, `theirs` on the left, with `after` items (0: all)."""
    half = max(30, (width - 3) // 2)
    lines = [f"{names[1]}: {_verdict(theirs)}", f"{names[0]}: {_verdict(mine)}", ""]
    at = first_difference(mine, theirs)
    if at is None:
        return "\n".join([*lines, "The two runs have the same steps."]) + "\n"
    earlier = first_state_difference(mine, theirs)
    if earlier:
        item = mine["items"][earlier[0]]
        lines += [f"Behind step {item['step']} of cpu{item['cpu']} ({item['text'].strip()}) the state differs "
                  f"({names[1]} | {names[0]}):", *(f"  {text}" for text in earlier[1]), ""]
    lines += [f"The first {at} lines are the same" + (", the last of them:" if at else ".")]
    lines += _block(theirs["items"][max(0, at - _BEFORE):at], width)
    left, right = theirs["items"], mine["items"]
    conflict = [index for index, item in enumerate(right) if item.get("mark") in ("then", "both")]
    usual = max([at + _AFTER, *(index + 1 for index in conflict if index < at + 3 * _AFTER)])
    end = usual if after is None else at + after if after else max(len(left), len(right))
    lines += ["", f"{names[1]:<{half}} | {names[0]}", "-" * half + "-+-" + "-" * half]
    a, b = _block(left[at:end], half), _block(right[at:end], half)
    for index in range(max(len(a), len(b))):
        lines.append(f"{a[index] if index < len(a) else '':<{half}} | {b[index] if index < len(b) else ''}".rstrip())
    for name, items in ((names[1], left), (names[0], right)):
        if len(items) > end:
            lines.append(f"... {len(items) - end} more lines of {name}; --last 0 shows all")
    if mine["verdict"]:
        lines += ["", f"{names[0]}: {mine['verdict']['detail']}"]
    return "\n".join(lines) + "\n"
