#!/bin/bash
# usage: usage_test.sh EXPLORE PROOF
# Bad input gets an error that names the file and the fix, and status 2.
set -u
explore=$1 proof=$2
failures=0

# expect STATUS TEXT COMMAND...
expect() {
  local status=$1 text=$2 output
  shift 2
  output=$("$@" 2>&1)
  local got=$?
  if [ $got -ne "$status" ] || ! grep -qF -- "$text" <<<"$output"; then
    echo "FAIL: $* gave status $got, expected $status with '$text':"
    echo "$output"
    failures=1
  fi
}

cd "$TEST_TMPDIR/" || exit 1
sed 's/^# explore:.*//' "$OLDPWD/$proof" > unexplained.txt
sed 's/setup=/set=/' "$OLDPWD/$proof" > misspelt.txt
sed 's/tso=1/compiler_reordering=1/' "$OLDPWD/$proof" > reordered.txt
sed 's/fill=1/nmi=1/' "$OLDPWD/$proof" > without_nmis.txt
sed 's/fill=1/lose=1/' "$OLDPWD/$proof" > without_faults.txt
sed 's/fill=1/device=1:2/' "$OLDPWD/$proof" > without_device.txt
sed 's/fill=1/fill=1:5/' "$OLDPWD/$proof" > no_level.txt
sed 's/fill=1/evict=22/' "$OLDPWD/$proof" > no_page.txt
sed 's/fill=1/evict=1:2/' "$OLDPWD/$proof" > no_number.txt
sed 's/unmap/unmaap/' "$OLDPWD/$proof" > unknown.txt
sed 's/setup=[0-9]*/setup=16/' "$OLDPWD/$proof" > all_before.txt
sed '/^cpu /d' "$OLDPWD/$proof" > nothing.txt
explore=$OLDPWD/$explore
expect 2 "no file given" "$explore"
expect 2 "missing.txt: No such file" "$explore" missing.txt
expect 2 "unexplained.txt: no line says how to explore it" "$explore" unexplained.txt
expect 2 "misspelt.txt: line 2: unknown word 'set'" "$explore" misspelt.txt
expect 2 "reordered.txt: with compiler_reordering=1 the exploration needs a bound" "$explore" reordered.txt
expect 2 "with compiler_reordering=1 the exploration needs a bound" "$explore" --cxx "$OLDPWD/$proof"
expect 2 "only one of --sc, --tso and --cxx" "$explore" --cxx --tso "$OLDPWD/$proof"
expect 0 "at most 1 times" "$explore" --deviations 1 reordered.txt
expect 2 "without_nmis.txt: 'nmi' has no effect without 'config nmi=1'" "$explore" without_nmis.txt
expect 2 "'lose' has no effect without 'config faults=1'" "$explore" without_faults.txt
expect 2 "'device' has no effect without 'config device=1'" "$explore" without_device.txt
expect 2 "no_level.txt: line 2: there is no such level: 1:5" "$explore" no_level.txt
expect 2 "no_page.txt: line 2: there is no such page: 22" "$explore" no_page.txt
expect 2 "no_number.txt: line 2: '1:2' is no number" "$explore" no_number.txt
expect 2 "all_before.txt: with setup=16 all operations run before, so there is nothing to explore" \
  "$explore" all_before.txt
expect 2 "nothing.txt: no CPU has an operation, so there is nothing to explore" "$explore" nothing.txt
expect 2 "did you mean 'unmap'" "$explore" unknown.txt
expect 2 "--executions needs a number" "$explore" --executions many "$OLDPWD/$proof"
expect 1 "NOT PROVED" "$explore" --executions 10 "$OLDPWD/$proof"
expect 1 "NOT FOUND" "$explore" --expect O1 "$OLDPWD/$proof"
expect 0 "--deviations N" "$explore" --help
exit $failures
