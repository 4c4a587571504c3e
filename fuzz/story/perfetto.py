"""The record of a run in the trace-event format, which ui.perfetto.dev and chrome://tracing open.

A step of the model lasts as long as any other: item i of the record begins at i * 10 microseconds. A CPU is a process
with a thread for its steps and one each for windows with interrupts off, for laziness, and for what its TLB and its
store buffer hold. Interrupts, broadcasts and drained stores are flows; generations are counters.
"""

import re

_LENGTH = 10
_STEPS, _WINDOWS, _LAZY, _CACHED = 1, 2, 3, 100
_FLOWS = {"interrupt": "interrupt", "broadcast": "broadcast", "drain": "store leaves its buffer"}


def _meta(pid: int, name: str, value: object, tid: int = 0) -> dict:
    key = "sort_index" if name.endswith("sort_index") else "name"
    return {"ph": "M", "pid": pid, "tid": tid, "name": name, "args": {key: value}}


def _steps(record: dict) -> list[dict]:
    events = []
    for index, item in enumerate(record["items"]):
        arguments = {key: item[key] for key in ("step", "where", "function", "mark", "nothing") if key in item}
        if "notes" in item:
            arguments["notes"] = "; ".join(item["notes"])
        events.append({"ph": "X", "pid": item["cpu"] + 1, "tid": _STEPS, "ts": index * _LENGTH, "dur": _LENGTH - 1,
                       "name": item["text"].strip(), "cat": item["kind"], "args": arguments})
        if item.get("mark") in ("first", "then", "both"):
            events.append({"ph": "i", "s": "g", "pid": item["cpu"] + 1, "tid": _STEPS, "ts": index * _LENGTH,
                           "name": f"{item['mark']}: {item['text'].strip()}", "cat": "conflict"})
    return events


def _flows(record: dict) -> list[dict]:
    links = [(link["kind"], link["from"], link["to"]) for link in record["links"]]
    marks = {item.get("mark"): index for index, item in enumerate(record["items"])}
    if "first" in marks and "then" in marks:
        links.append(("conflict", marks["first"], marks["then"]))
    events = []
    for number, (kind, start, end) in enumerate(links, 1):
        for phase, index in (("s", start), ("f", end)):
            # A flow begins and ends inside of a slice.
            event = {"ph": phase, "id": number, "pid": record["items"][index]["cpu"] + 1, "tid": _STEPS,
                     "ts": index * _LENGTH + 1, "name": _FLOWS.get(kind, kind), "cat": kind}
            events.append(event | ({"bp": "e"} if phase == "f" else {}))
    return events


def spans(record: dict) -> list[tuple[str, str, int, int]]:
    """(place, content, from, to) of all that the state names, by the items that begin and end it."""
    found = []
    began = {place: (what, 0) for place, what in record["start"].items()}
    for index, item in enumerate(record["items"]):
        for place, what in item.get("changes", {}).items():
            if place in began:
                found.append((place, *began.pop(place), index))
            if what is not None:
                began[place] = (what, index)
    return found + [(place, what, since, len(record["items"])) for place, (what, since) in began.items()]


def _state(record: dict) -> list[dict]:
    events, threads = [], {}
    for place, what, start, end in sorted(spans(record), key=lambda span: span[2:]):
        match = re.match(r"cpu(\d+)/(interrupts|lazy|tlb/\d+|buffer/\d+)$", place)
        if not match or (match[2] == "interrupts" and what == "on") or start == end:
            continue
        pid = int(match[1]) + 1
        if match[2] in ("interrupts", "lazy"):
            tid, name = (_WINDOWS, "interrupts off") if match[2] == "interrupts" else (_LAZY, "lazy")
        else:
            tid, name = threads.setdefault((pid, match[2]), _CACHED + len(threads)), what
            events.append(_meta(pid, "thread_name", match[2].replace("/", " "), tid))
        events.append({"ph": "X", "pid": pid, "tid": tid, "ts": start * _LENGTH, "dur": (end - start) * _LENGTH,
                       "name": name, "cat": "stale" if what.endswith(", stale") else "state"})
    return events


def _generations(record: dict) -> list[dict]:
    return [{"ph": "C", "pid": 0, "ts": start * _LENGTH, "name": place.replace("/", " "),
             "args": {"generation": int(what)}}
            for place, what, start, _ in spans(record) if re.match(r"mm\d+/generation$", place)]


def trace(record: dict) -> dict:
    """The object of the trace-event format."""
    names = [_meta(0, "process_name", "address spaces"), _meta(0, "process_sort_index", record["cpus"] + 1)]
    for cpu in range(record["cpus"]):
        names += [_meta(cpu + 1, "process_name", f"cpu{cpu}"), _meta(cpu + 1, "process_sort_index", cpu)]
        names += [_meta(cpu + 1, "thread_name", name, tid)
                  for tid, name in ((_STEPS, "steps"), (_WINDOWS, "interrupts off"), (_LAZY, "lazy mode"))]
    return {"traceEvents": names + _steps(record) + _flows(record) + _state(record) + _generations(record),
            "displayTimeUnit": "ns",
            "otherData": {key: record[key] for key in ("title", "file", "configuration", "memory")}}
