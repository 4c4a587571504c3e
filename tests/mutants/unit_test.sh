#!/bin/bash
# usage: unit_test.sh CORE_TEST SUITE.NAME
# The unit test must fail, and by an expectation, on the mutated core that CORE_TEST was built with.
set -u
output=$("$1" --gtest_filter="$2")
status=$?
echo "$output"
if [ $status -eq 1 ] && grep -qF "[  FAILED  ] $2" <<<"$output"; then
  exit 0
fi
echo "FAIL: the mutant survives $2 (status $status)"
exit 1
