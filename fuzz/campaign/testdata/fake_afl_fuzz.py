#!/usr/bin/python3
"""Stands in for afl-fuzz, as far as the campaign can tell. FAKE_AFL chooses what it does."""

import os
import signal
import socket
import sys
import time
from pathlib import Path


def send(executions: int) -> None:
    text = (f"fuzzing.execs_done:{executions}|g\nfuzzing.corpus_count:5|g\n"
            "fuzzing.edges_found:77|g\n")
    address = (os.environ["AFL_STATSD_HOST"], int(os.environ["AFL_STATSD_PORT"]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), address)


def finish(home: Path, executions: int) -> int:
    stability = os.environ.get("FAKE_STABILITY", "100.00")
    (home / "fuzzer_stats").write_text(f"execs_done        : {executions}\ncorpus_count : 6\n"
                                       f"edges_found : 78\nstability : {stability}%\n")
    return 0


def main() -> int:
    arguments = sys.argv[1:sys.argv.index("--")]
    value = dict(zip(arguments[::2], arguments[1::2]))
    mode = os.environ.get("FAKE_AFL", "quiet")
    seeds = sorted(Path(value["-i"]).iterdir())
    home = Path(value["-o"]) / value["-S"]
    for folder in ("queue", "crashes", "hangs"):
        (home / folder).mkdir(parents=True)
    if mode == "abort":
        print("\x1b[1;91m[-] PROGRAM ABORT : \x1b[0mTarget binary has no instrumentation")
        return 1
    if mode == "seeds":
        print("[-] PROGRAM ABORT : We need at least one valid input seed that does not crash!")
        return 1
    for seed in seeds:
        (home / "queue" / f"id:000000,time:0,execs:0,orig:{seed.name}").write_bytes(
            seed.read_bytes())
    (home / "crashes" / "README.txt").write_text("not a crash")
    stop = []
    signal.signal(signal.SIGINT, lambda *_: stop.append(True))
    executions = 0
    while not stop and executions < int(value.get("-E", 10**9)):
        time.sleep(0.05)
        executions += 500
        send(executions)
        if mode == "crash" and executions == 2000:
            (home / "queue" / "id:000001,src:000000,time:99,execs:1000,op:havoc").write_text("new")
            name = "id:000000,sig:06,src:000000,time:200,execs:1987,op:havoc,rep:2"
            (home / "crashes" / name).write_text("FAIL:O7 cpu1 lost its bit")
            if "AFL_BENCH_UNTIL_CRASH" in os.environ:
                break
    return finish(home, executions)


if __name__ == "__main__":
    sys.exit(main())
