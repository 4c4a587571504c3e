#!/bin/bash
# usage: scenario_test.sh CLEAN_REPRODUCE MUTANT_REPRODUCE SCENARIO
# The shortest scenario known for a mutant is harmless on the clean core and fires on the mutant, and its story
# is the same twice.
set -u
clean=$1 mutant=$2 scenario=$3

verdict=$("$clean" --title "$scenario")
if [ $? -ne 0 ] || [ "$verdict" != ok ]; then
  echo "FAIL: the clean core reports: $verdict"
  exit 1
fi
verdict=$("$mutant" --title "$scenario")
if [ $? -ne 1 ]; then
  echo "FAIL: the mutant is not reported any more: $verdict"
  echo "Find a new scenario as README.md describes, minimise it, and replace $scenario."
  exit 1
fi
echo "the mutant is reported: $verdict"
cmp <("$mutant" "$scenario") <("$mutant" "$scenario") || { echo "FAIL: two stories differ"; exit 1; }
