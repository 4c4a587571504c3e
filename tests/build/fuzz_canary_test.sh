#!/bin/bash
# usage: fuzz_canary_test.sh LIBFUZZER_SCRIPT LIBFUZZER AFL_SCRIPT AFL REPLAY
# Demands that each smoke script reports the bug of the canary, and that the replay does.
set -u
libfuzzer_script=$1 libfuzzer=$2 afl_script=$3 afl=$4 replay=$5

rejects() {
  local what=$1 pattern=$2
  shift 2
  if "$@" >"$TEST_TMPDIR/log" 2>&1; then
    echo "FAILED: $what did not notice the bug"
    exit 1
  fi
  if ! grep -q "$pattern" "$TEST_TMPDIR/log"; then
    cat "$TEST_TMPDIR/log"
    echo "FAILED: $what failed, but not with '$pattern'"
    exit 1
  fi
}

rejects "the libFuzzer smoke test" "heap-buffer-overflow" "$libfuzzer_script" "$libfuzzer" 100000
rejects "the AFL++ smoke test" "^FAILED: .* crashes" "$afl_script" "$afl" 2

printf '\xff\x01' >"$TEST_TMPDIR/crash"
printf '\xff\xff' >"$TEST_TMPDIR/calm"
"$replay" "$TEST_TMPDIR/calm" || { echo "FAILED: the replay of a good input failed"; exit 1; }
rejects "the replay" "Running: .*crash" "$replay" "$TEST_TMPDIR/calm" "$TEST_TMPDIR/crash"
# The symbolizer is found without help from the environment.
rejects "the symbolizer" "LLVMFuzzerTestOneInput .*fuzz_canary.cc:" \
  env -i PATH=/nowhere "$replay" "$TEST_TMPDIR/crash"
rejects "a replay of nothing" "usage" "$replay"
rejects "a replay of a missing file" "cannot be read" "$replay" "$TEST_TMPDIR/missing"
echo "All of them noticed."
