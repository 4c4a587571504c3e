#!/bin/bash
# usage: afl_smoke.sh FUZZER SECONDS [INPUT FILE]...
# A short AFL++ campaign. It passes if the campaign ran, was stable, and found no crash and no hang.
set -u
fuzzer=$1 seconds=$2
shift 2
work=$TEST_TMPDIR/afl
mkdir -p "$work/in"
printf 'seed' >"$work/in/seed"
for file in "$@"; do
  cp -L "$file" "$work/in/" || exit 1
done
export AFL_NO_UI=1 AFL_NO_AFFINITY=1 AFL_SKIP_CPUFREQ=1 AFL_NO_COLOR=1
# A crash handler in the host's core_pattern delays crash reports, which this run does not need.
export AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1
afl-fuzz -i "$work/in" -o "$work/out" -s 1 -V "$seconds" -- "$fuzzer" >"$work/log" 2>&1
status=$?
stats=$work/out/default/fuzzer_stats
value() { sed -n "s/^$1 *: *//p" "$stats" | tr -d %; }
fail() {
  tail -n 40 "$work/log"
  echo "FAILED: $1"
  exit 1
}
[ $status -eq 0 ] && [ -f "$stats" ] || fail "afl-fuzz ended with status $status"
[ "$(value execs_done)" -ge 100 ] || fail "only $(value execs_done) executions"
[ "$(value saved_crashes)" = 0 ] || fail "$(value saved_crashes) crashes"
[ "$(value saved_hangs)" = 0 ] || fail "$(value saved_hangs) hangs"
[ "$(value stability)" = 100.00 ] || fail "stability is $(value stability)%: a run leaves state behind"
echo "$(value execs_done) executions, $(value edges_found) edges, stability $(value stability)%"
