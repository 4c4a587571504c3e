#!/bin/bash
# usage: libfuzzer_smoke.sh FUZZER RUNS [ARGUMENT or INPUT FILE]...
# A short libFuzzer run that is the same each time. It passes only if every execution took place.
set -u
fuzzer=$1 runs=$2
shift 2
work=$TEST_TMPDIR/smoke
mkdir -p "$work/found" "$work/seeds"
options=()
for word in "$@"; do
  case $word in
    -*) options+=("$word") ;;
    *) cp -L "$word" "$work/seeds/" || exit 1 ;;
  esac
done
"$fuzzer" -seed=1 -runs="$runs" -artifact_prefix="${TEST_UNDECLARED_OUTPUTS_DIR:-$work}/" \
  "${options[@]}" "$work/found" "$work/seeds" >"$work/log" 2>&1
status=$?
if [ $status -ne 0 ] || ! grep -q "^Done $runs runs" "$work/log"; then
  tail -n 60 "$work/log"
  echo "FAILED: exit status $status, wanted 'Done $runs runs'"
  exit 1
fi
tail -n 3 "$work/log"
