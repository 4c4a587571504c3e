#!/usr/bin/python3
"""Runs `bazel test`, by default on every target, and ends with a line that counts the test targets.

usage: ./test [OPTION of bazel test, or TARGET]...
       ./test --quick [OPTION of bazel test]...
       tools/run_tests.py, which does the same but installs nothing

An option and its value are one word, as in --test_filter=Mask*. Without a target all are tested, and
tools/lint looks at all C++ files, which counts as one test more.

--quick is for the time between two edits: unit tests, oracles, trace hashes, proofs, the rules of the tree
and names in documents, in the plain variant only. It leaves out the sanitizers, the fuzzers' engines,
coverage, the museum, litmus tests, misuse that must not compile, the boots, clang-tidy and what takes
long, and says so at the end. Only a run of everything shows that a change is good.

The numbers come from Bazel's own event stream. A target that does not build counts as failed, and
so does a build that breaks without naming a target.

exit status: 0 all passed, 2 Bazel does not know an option and nothing was run, 1 otherwise
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile


# Bazel's exit status after the user has stopped it.
INTERRUPTED = 8
REFUSED = 2  # an option or a target that Bazel does not know: nothing was run

# What --quick tests: these folders of tests/, but for what has one of the tags. A variant's tests have its name.
QUICK = ["core", "docs:names_test", "fuzz", "host", "mm", "oracles", "proofs", "tidy", "x86_64"]
NOT_QUICK = ["asan", "tsan", "libfuzzer", "afl", "cov", "museum", "must_not_compile", "slow"]


class Results:
    """What became of each target, by label. A test with the tag `optional` needs a package that may be absent: its log
    says "SKIPPED: " and the reason in a line, and then it is counted as skipped, which is no failure."""

    def __init__(self):
        self.passed = set()
        self.failed = {}
        self.skipped = set()
        self.tests = set()
        self.optional = set()
        self.absent = {}

    def read(self, event):
        for kind, identity in event["id"].items():
            if kind == "targetConfigured" and "testSize" in event.get("configured", {}):
                self.tests.add(identity["label"])
                if "optional" in event["configured"].get("tag", []):
                    self.optional.add(identity["label"])
            elif kind == "testResult" and identity["label"] in self.optional:
                self._read_log(identity["label"], event.get("testResult", {}))
            elif kind in ("pattern", "targetConfigured", "targetCompleted") and "aborted" in event:
                self._read_aborted(kind, identity, event["aborted"].get("reason", "aborted"))
            elif kind == "targetCompleted" and not event.get("completed", {}).get("success"):
                self.failed[identity["label"]] = "does not build"
            elif kind == "testSummary":
                # When the user stops the run, the summary is an "aborted" event without a status.
                status = event.get("testSummary", {}).get("overallStatus", "NO_STATUS")
                self._read_summary(identity["label"], status)

    def _read_log(self, label, result):
        for output in result.get("testActionOutput", []):
            path = output.get("uri", "").removeprefix("file://")
            if output.get("name") != "test.log" or not os.path.exists(path):
                continue
            with open(path, encoding="utf-8", errors="replace") as log:
                reasons = [line.strip().removeprefix("SKIPPED: ") for line in log if line.startswith("SKIPPED: ")]
            if reasons:
                self.absent[label] = reasons[0]

    def _read_aborted(self, kind, identity, reason):
        name = " ".join(identity["pattern"]) if kind == "pattern" else identity["label"]
        if reason == "SKIPPED":
            self.skipped.add(name)
        else:
            self.failed[name] = reason.lower().replace("_", " ")

    def _read_summary(self, label, status):
        self.tests.add(label)
        if status == "PASSED":
            self.passed.add(label)
        else:
            self.failed.setdefault(label, status.lower().replace("_", " "))

    def finish(self, bazel_status):
        """Settles what single events cannot say. Nothing is read afterwards."""
        # Only a test is missed when it is skipped. A kernel library is no loss on the host.
        self.skipped &= self.tests
        self.passed -= self.failed.keys()
        self.absent = {label: reason for label, reason in self.absent.items() if label in self.passed}
        self.passed -= self.absent.keys()
        if bazel_status != 0 and not self.failed:
            self.failed["the build"] = f"bazel ended with status {bazel_status}"
        if not self.passed and not self.failed and not self.absent:
            self.failed["the selection"] = "no test ran"

    def add_check(self, name, status):
        """Counts a check that is no target of Bazel's, by its exit status."""
        if status == 0:
            self.passed.add(name)
        else:
            self.failed[name] = "found something" if status == 1 else f"ended with status {status}"

    def is_good(self):
        # Bazel skips a test that fits none of the platforms it is asked for. Nothing here is meant to
        # be like that, so it is a mistake in a BUILD file, and Bazel is content with it.
        return not self.failed and not self.skipped

    def closing_line(self):
        line = f"{len(self.passed)} passed, {len(self.failed)} failed"
        skipped = len(self.skipped) + len(self.absent)
        return line + (f", {skipped} skipped" if skipped else "")


def read_events(path):
    results = Results()
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                results.read(json.loads(line))
    return results


def run(command, folder):
    """Runs Bazel and returns its exit status, also when the user stops it."""
    with subprocess.Popen(command, cwd=folder) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # Bazel has had the signal as well. It stops its tests and reports what it has.
                continue


def quick_arguments():
    """The options and targets of --quick."""
    targets = [f"//tests/{name}" + ("" if ":" in name else "/...") for name in QUICK]
    return ["--build_tests_only", "--test_tag_filters=" + ",".join(f"-{tag}" for tag in NOT_QUICK), *targets]


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    arguments = sys.argv[1:]
    if "--help" in arguments or "-h" in arguments:
        print(__doc__.strip())
        return 0
    targets = [argument for argument in arguments if not argument.startswith("-")]
    quick = "--quick" in arguments
    if quick and targets:
        print(f"./test: --quick chooses the targets itself, so {targets[0]} cannot be named with it", file=sys.stderr)
        return REFUSED
    everything = not quick and not targets
    if everything:
        arguments.append("//...")
    elif quick:
        arguments.remove("--quick")
        arguments += quick_arguments()
    with tempfile.TemporaryDirectory() as folder:
        events = os.path.join(folder, "events.json")
        command = ["bazel", "test", "--keep_going", f"--build_event_json_file={events}", *arguments]
        status = run(command, root)
        results = read_events(events) if os.path.exists(events) else Results()
    results.finish(status)
    # Bazel runs one command at a time, and the linter asks it for the compilers' command lines.
    if everything and status not in (INTERRUPTED, REFUSED):
        results.add_check("tools/lint", run([str(root / "tools/lint")], root))
    for label, reason in sorted(results.failed.items()):
        print(f"FAILED: {label}: {reason}")
    for label in sorted(results.skipped):
        print(f"SKIPPED: {label}: built for no platform that its BUILD file allows")
    for label, reason in sorted(results.absent.items()):
        print(f"SKIPPED: {label}: {reason}")
    if quick:
        print(f"Left out by --quick: of tests/ all but {', '.join(QUICK)}, clang-tidy, and tests with the "
              f"tags {', '.join(NOT_QUICK)}. ./test runs everything.")
    print(results.closing_line(), flush=True)
    if status == REFUSED:
        return 2
    return 0 if results.is_good() else 1


if __name__ == "__main__":
    sys.exit(main())
