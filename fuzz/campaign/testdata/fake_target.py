#!/usr/bin/python3
"""Stands in for a fuzz program. Given a file it replays it; otherwise it is libFuzzer's main.

The variable FAKE chooses what it does as libFuzzer. A file that starts with "FAIL:" fails with the
rest of its text as the report.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def replay(file: Path) -> int:
    data = file.read_bytes().removeprefix(b"shootdown-bytes 1\n")
    if data.startswith(b"FAIL:"):
        print("SHOOTDOWN-FAILURE: " + data[5:].decode().strip("."), file=sys.stderr, flush=True)
        os.abort()
    if data.startswith(b"SLEEP"):
        time.sleep(1000)
    return 0


def fail(prefix: str, seed: int, executions: int, content: str) -> int:
    name = f"{prefix}crash-{seed}-{executions}"
    Path(name).write_text(content)
    if content.startswith("FAIL:"):
        print("SHOOTDOWN-FAILURE: " + content[5:].strip("."))
    print(f"artifact_prefix='{prefix}'; Test unit written to {name}")
    print(f"stat::number_of_executed_units: {executions}")
    return 77


def fuzz(mode: str, options: dict[str, str], corpus: Path) -> int:
    seed, prefix = int(options["seed"]), options["artifact_prefix"]
    interrupted = []
    signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    if mode == "dead":
        print("fake: error while loading shared libraries")
        return 127
    if mode in ("deaf", "leaver"):
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        file = Path(os.environ["FAKE_PIDS"])
        file.with_suffix(".new").write_text(f"{os.getpid()} {child.pid}")
        file.with_suffix(".new").rename(file)
    if mode == "always":
        return fail(prefix, seed, 1, "FAIL:O3 always")
    executions = 0
    while True:
        time.sleep(0.05)
        if mode == "slow":
            if interrupted:
                return 72
            continue
        executions += 1000
        if mode == "inputs":
            for i in range(20):
                (corpus / f"seen-{executions}-{i}").write_text("x" * 3000)
        print(f"#{executions}\tNEW    cov: 12 ft: {executions // 1000} corp: 3/9b lim: 4 "
              "exec/s: 20000 rss: 40Mb L: 3/3 MS: 1 ChangeBit-", flush=True)
        if interrupted and mode != "deaf":
            print("==1== libFuzzer: run interrupted; exiting")
            print(f"stat::number_of_executed_units: {executions}")
            return 72
        if mode == "quitter":
            return 0
        if "runs" in options and executions >= int(options["runs"]):
            print(f"stat::number_of_executed_units: {options['runs']}")
            return 0
        if mode == "crash" and executions == 3000:
            # Each start has a larger seed, so the first file is the longest.
            padding = "." * max(0, 5 - seed // 1000)
            return fail(prefix, seed, executions,
                        f"FAIL:O1 flush of mm{seed % 7} returned while cpu2 can still use page 3"
                        + padding)
        if mode == "kinds" and executions == 2000:
            # A kind of failure of its own for each seed; FAKE_LOG tells what has been written.
            content = f"FAIL:O1 {chr(97 + seed % 26)}{chr(97 + seed // 26 % 26)}{chr(97 + seed // 676 % 26)} is late"
            status = fail(prefix, seed, executions, content)
            (corpus / f"seen-{seed}").write_text(f"input {seed}")
            with open(os.environ["FAKE_LOG"], "a", encoding="utf-8") as log:
                log.write(f"{seed} {content[5:]}\n")
            return status
        if mode == "unstable" and executions == 3000:
            return fail(prefix, seed, executions, "passes when it is replayed")


def search(value: dict[str, str]) -> int:
    """The random search: FAKE_SEARCH is the run in which it finds something, FAKE_LIMIT a limit of the model."""
    seed, executions = int(value["--seed"]), int(value["--executions"])
    try:
        time.sleep(0.1)
    except KeyboardInterrupt:
        print(f"stopped after {executions // 3} executions, 4321 visible operations")
        return 2
    found = int(os.environ.get("FAKE_SEARCH", "0"))
    if count := os.environ.get("FAKE_COUNT"):
        profile = Path(os.environ["LLVM_PROFILE_FILE"].replace("%m", "1"))
        profile.parent.mkdir(parents=True, exist_ok=True)
        profile.write_text(count)
    if "--hashes" in value:
        # FAKE_SURVEY says of which focus runs differ, in the program that is not called clean.
        differs = value["--focus"] == os.environ.get("FAKE_SURVEY") and not Path(sys.argv[0]).name.startswith("clean")
        Path(value["--hashes"]).write_bytes((b"differs!" if differs else b"the same") * executions)
        found = 0
    if found == -1:
        print("fake: cannot allocate")
        return 2
    if found:
        Path(value["--out"]).write_text(f"scenario of seed {seed}")
        print(f"found O5 a table is released too early after {found} executions")
        return 1
    print(f"clean after {executions} executions, 12345 visible operations")
    if limit := os.environ.get("FAKE_LIMIT"):
        print(f"reached in {executions // 4} executions: {limit}")
    return 0


def main() -> int:
    if "--list-focuses" in sys.argv:
        print("one focus\nanother")
        return 0
    if "--replay" in sys.argv:
        return int(os.environ.get("FAKE_REPLAY", "0"))
    if "--executions" in sys.argv:
        return search(dict(zip(sys.argv[1::2], sys.argv[2::2])))
    options = dict(a[1:].split("=", 1) for a in sys.argv[1:] if a.startswith("-"))
    files = [Path(a) for a in sys.argv[1:] if not a.startswith("-")]
    if files and files[0].is_file():
        return replay(files[0])
    return fuzz(os.environ.get("FAKE", "quiet"), options, files[-1])


if __name__ == "__main__":
    sys.exit(main())
