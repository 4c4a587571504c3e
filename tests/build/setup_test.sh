#!/bin/bash
# Runs tools/setup on a pretended machine: dpkg-query, apt-get, sudo and id are stand-ins that read
# and write files of this folder, and nothing else is on the path.
set -u
setup=$PWD/$1 packages=$PWD/$2
cd "$TEST_TMPDIR" || exit 1
mkdir -p bin tools
cp -L "$setup" tools/setup
cp -L "$packages" tools/packages.txt
for tool in bash cat dirname env grep sed sort; do
  ln -sf "$(command -v $tool)" bin/$tool
done

cat >bin/dpkg-query <<'STANDIN'
#!/bin/bash
status=0
for word in "$@"; do
  case $word in -*) continue ;; esac
  if grep -qx "$word" state/installed; then echo "$word installed"
  elif grep -qx "$word" state/removed; then echo "$word config-files"
  else echo "no packages found matching $word" >&2; status=1
  fi
done
exit $status
STANDIN
cat >bin/apt-get <<'STANDIN'
#!/bin/bash
echo "apt-get $*" >>state/calls
seen=
for word in "$@"; do
  [ -e "state/broken-$word" ] && exit 100
  [ -n "$seen" ] && case $word in -*) ;; *) echo "$word" >>state/installed ;; esac
  [ "$word" = install ] && seen=1
done
exit 0
STANDIN
cat >bin/sudo <<'STANDIN'
#!/bin/bash
echo "sudo" >>state/calls
[ "$1" = --non-interactive ] && shift
exec "$@"
STANDIN
printf '#!/bin/bash\ncat state/uid\n' >bin/id
chmod +x bin/*

fail() {
  echo "FAILED: $case: $1"
  [ -f output ] && cat output
  exit 1
}
# Starts a case on a machine where everything is installed, run by root.
begin() {
  case=$1
  rm -rf state
  mkdir state
  sed 's/#.*//; /^$/d' tools/packages.txt >state/installed
  : >state/removed
  : >state/calls
  echo 0 >state/uid
}
without() { grep -vx "$1" state/installed >state/rest; cat state/rest >state/installed; }
run() { env -i PATH="$PWD/bin" TEST=1 bash tools/setup "$@" >output 2>&1 </dev/null; }

begin "nothing is missing"
[ "$(grep -c . state/installed)" -gt 10 ] || fail "the list of packages is nearly empty"
run || fail "exit status $?"
[ ! -s output ] || fail "it is not silent"
[ ! -s state/calls ] || fail "it called $(cat state/calls)"
run --check || fail "--check failed"

begin "one package is missing"
without lld-19
run --check && fail "--check succeeded"
[ "$(cat output)" = lld-19 ] || fail "--check does not list it"
[ ! -s state/calls ] || fail "--check changed the machine"
run || fail "exit status $?"
grep -q 'update' state/calls || fail "no apt-get update"
grep 'install' state/calls | grep -q ' lld-19$' || fail "did not install it alone: $(cat state/calls)"
: >state/calls
run || fail "the second time: exit status $?"
[ ! -s state/calls ] || fail "the second time it installed again"

begin "a package was removed but not purged"
without xorriso
echo xorriso >state/removed
run --check && fail "--check succeeded"
[ "$(cat output)" = xorriso ] || fail "--check does not list it"

begin "an ordinary user with sudo"
without xorriso
echo 1000 >state/uid
run || fail "exit status $?"
grep -q sudo state/calls || fail "it did not use sudo"

begin "an ordinary user without sudo"
without xorriso
echo 1000 >state/uid
mv bin/sudo sudo.away
run && fail "it succeeded"
grep -q 'no sudo.*xorriso' output || fail "the message does not say what is missing"
mv sudo.away bin/sudo

begin "apt-get update fails"
without xorriso
: >state/broken-update
run || fail "exit status $?"
grep -qx xorriso state/installed || fail "it did not install"

begin "apt-get install fails"
without xorriso
: >state/broken-install
run && fail "it succeeded"
grep -q "'apt-get install' failed.*xorriso" output || fail "the message does not say what failed"

begin "an unknown option"
run --nonsense && fail "it succeeded"

echo "All cases passed."
