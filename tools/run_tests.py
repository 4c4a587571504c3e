#!/usr/bin/python3
"""Runs `bazel test`, by default on every target, and ends with a line that counts the test targets.

usage: run_tests.py [OPTION of bazel test, or TARGET]...

The numbers come from Bazel's own event stream. A target that does not build counts as failed, and
so does a build that breaks without naming a target.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile


class Results:
    """What became of each target, by label."""

    def __init__(self):
        self.passed = set()
        self.failed = {}
        self.skipped = set()
        self.tests = set()

    def read(self, event):
        for kind, identity in event["id"].items():
            label = identity.get("label") if isinstance(identity, dict) else None
            if "aborted" in event:
                self._read_aborted(kind, identity, event["aborted"])
            elif kind == "targetConfigured" and "testSize" in event.get("configured", {}):
                self.tests.add(label)
            elif kind == "targetCompleted" and not event.get("completed", {}).get("success"):
                self.failed[label] = "does not build"
            elif kind == "testSummary":
                self._read_summary(label, event["testSummary"].get("overallStatus", "NO_STATUS"))

    def _read_aborted(self, kind, identity, aborted):
        label = identity.get("label") if isinstance(identity, dict) else None
        if aborted.get("reason") == "SKIPPED":
            self.skipped.add(label)
        else:
            name = label or f"{kind} {json.dumps(identity)}"
            self.failed[name] = aborted.get("reason", "aborted").lower().replace("_", " ")

    def _read_summary(self, label, status):
        self.tests.add(label)
        if status == "PASSED":
            self.passed.add(label)
        else:
            self.failed.setdefault(label, status.lower().replace("_", " "))

    def finish(self, bazel_status):
        # Only tests can be skipped as far as the count goes: a kernel library is no loss on the host.
        self.skipped &= self.tests
        self.passed -= self.failed.keys()
        if bazel_status != 0 and not self.failed:
            self.failed["the build"] = f"bazel ended with status {bazel_status}"
        if not self.passed and not self.failed:
            self.failed["the selection"] = "no test ran"

    def closing_line(self):
        line = f"{len(self.passed)} passed, {len(self.failed)} failed"
        return line + (f", {len(self.skipped)} skipped" if self.skipped else "")


def read_events(path):
    results = Results()
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                results.read(json.loads(line))
    return results


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    arguments = sys.argv[1:]
    if not any(not argument.startswith("-") for argument in arguments):
        arguments.append("//...")
    with tempfile.TemporaryDirectory() as folder:
        events = os.path.join(folder, "events.json")
        command = ["bazel", "test", "--keep_going", f"--build_event_json_file={events}", *arguments]
        status = subprocess.run(command, cwd=root, check=False).returncode
        results = read_events(events) if os.path.exists(events) else Results()
    results.finish(status)
    for label, reason in sorted(results.failed.items()):
        print(f"FAILED: {label}: {reason}")
    for label in sorted(results.skipped):
        print(f"skipped: {label}")
    print(results.closing_line(), flush=True)
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
