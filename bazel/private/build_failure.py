#!/usr/bin/python3
"""Runs the trials of one build_failure_test, each in a folder that holds only the declared headers.

The rule wrote the compiler commands of the real toolchain. What a trial may include is decided here:
the headers of its dependencies are copied into an empty folder, at the places where Bazel has them.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile


def compile_alone(trial):
    """Returns the compiler's exit status and what it said."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as tree:
        for runfile, path in trial["files"]:
            copy = os.path.join(tree, path)
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copyfile(runfile, copy)
        # The output goes nowhere, and a compiler that stops at 20 errors might hide the one we want.
        command = trial["command"] + ["-fsyntax-only", "-ferror-limit=0"]
        done = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def verdict(trials):
    """Returns None if the snippet fails as it should, else the reason why not."""
    status, output = compile_alone(trials["control"])
    if status != 0:
        return "The control must compile, but does not:\n" + output
    status, output = compile_alone(trials["failure"])
    if status == 0:
        return "The misuse compiles."
    # Which part of a concept is not satisfied is told in the notes of the error.
    messages = "\n".join(line for line in output.splitlines() if " error: " in line or " note: " in line)
    if trials["expect"] not in messages:
        return f"The misuse fails, but no error says {trials['expect']!r}:\n{output}"
    if trials["remedy"]:
        status, output = compile_alone(trials["remedy"])
        if status != 0:
            return "With the dependencies that are missing it must compile, but does not:\n" + output
    return None


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        reason = verdict(json.load(file))
    if reason:
        sys.exit(reason)
    print("Does not compile, for the reason expected.")


if __name__ == "__main__":
    main()
