#!/bin/bash
# usage: proof_test.sh EXPLORE FILE [OPTION]...
# The exploration ends, clean; or, with --expect, finds what it names.
set -u
explore=$1 file=$2
shift 2
"$explore" "$@" "$file"
