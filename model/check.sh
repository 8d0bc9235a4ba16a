#!/usr/bin/env bash
# Verify the model, and that each fault put into it on purpose is found. Needs spin (Debian: apt-get install spin) and a C compiler.
set -euo pipefail
model="$(cd "$(dirname "$0")" && pwd)/governed_call.pml"
for tool in spin cc; do
  command -v "$tool" >/dev/null || { echo "model: $tool is missing. On Debian: apt-get install spin gcc"; exit 2; }
done
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
failed=0

# check WHAT EXPECTED(ok|found) [-DMUTANT]
check() {
  rm -f pan* ./*.trail
  spin ${3:+"$3"} -a "$model" >spin.txt || { cat spin.txt; exit 1; }
  cc -w -O2 -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -o pan pan.c
  ./pan -m200000 >pan.txt
  grep -q "search depth too small\|out of memory" pan.txt && { cat pan.txt; exit 1; }
  local errors states answer
  errors="$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.txt)"
  states="$(sed -n 's/ *\([0-9]*\) states, stored.*/\1/p' pan.txt)"
  if [ "$errors" = 0 ]; then answer=ok; else answer=found; fi
  printf '%-62s %9s states  %s\n' "$1" "$states" \
    "$([ "$answer" = ok ] && echo "no fault" || sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' pan.txt)"
  if [ "$answer" != "$2" ]; then
    failed=1
    if [ "$2" = found ]; then echo "  ERROR: this fault must be found"; else spin -t -p "$model" | tail -60; fi
  fi
}

check "the design" ok
check "mutant: claiming is not atomic" found -DCLAIM_NOT_ATOMIC
check "mutant: the killer does not look at the slots" found -DNO_BARRIER
check "mutant: the killer does not wait for the store buffers" found -DNO_WAIT
check "mutant: the killer does not revoke" found -DNO_REVOKE
exit "$failed"
