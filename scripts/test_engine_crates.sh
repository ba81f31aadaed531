#!/bin/bash
# Checks the engine's own crates (wg/engine/ring, native, aead-lab, tcp, tcp-interop): format, clippy, tests, the same tests in wasm
# where the toolchain for it is there, and the Linux kernel as the other end of the TCP core where root and TUN are there.
# Prints one line a part, and last "N passed, N failed". Exit code 1 when a part failed.
# SEEDS sets how many random cases the tests of tcp run (default 1000); --no-wasm leaves out the slow first build.
set -uo pipefail
cd "$(dirname "$0")/../wg/engine"
export SEEDS=${SEEDS:-1000}
passed=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# part NAME COMMAND...: runs the command and counts it; its output is shown when it fails.
part() {
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
    echo "ok      $name ($((SECONDS - start)) s)"
  else
    failed=$((failed + 1))
    echo "FAILED  $name ($((SECONDS - start)) s)"
    sed 's/^/        /' "$log" | tail -60
  fi
}

skip() { echo "skipped $1: $2"; }

in_crate() { (cd "$1" && shift && nice -n 5 "$@"); }

# Builds a crate's tests for wasm and runs them there.
wasm_tests() {
  local modules
  modules=$(aead-lab/build.sh "$1") || return 1
  # shellcheck disable=SC2086 # one word a module
  deno run --no-config --allow-read --allow-env=SEEDS aead-lab/selftest.ts $modules
}

# Exchanges with the kernel, in network namespaces that tcp-interop makes for itself. About 25 s, 90 s at most.
interop() {
  local deadline=$((SECONDS + 90)) words
  while read -r -a words; do
    timeout $((deadline > SECONDS ? deadline - SECONDS : 1)) tcp-interop/target/interop/release/tcp-interop "${words[@]}" || return 1
  done <<'LIST'
many 400 128
many 400 0
many 100 128 rtt=2 loss=2 reorder=5
check up bbr 64
check down bbr 64
check up bbr 16 rtt=20 loss=1 reorder=1
check down bbr 16 rtt=20 loss=1 reorder=1
check up cubic 64
check up cubic 4 rtt=20 loss=1 reorder=1
check up cubic 4 rtt=20 rate=100 mark=5
check down cubic 4 rtt=20 rate=100 mark=5
share core:bbr,core:cubic,kernel:bbr,kernel:cubic 0 2 5 5 rtt=20 rate=50 queue=60
LIST
}

if ! command -v cargo >/dev/null; then
  skip "everything" "there is no cargo"
  echo "0 passed, 0 failed"
  exit 0
fi
for crate in ring native aead-lab tcp tcp-interop; do
  part "$crate: fmt" in_crate "$crate" cargo fmt --check
  part "$crate: clippy" in_crate "$crate" cargo clippy --locked --all-targets -- -D warnings
done
for crate in ring native aead-lab tcp; do
  part "$crate: tests" in_crate "$crate" cargo test --locked
done

if [ "${1:-}" = --no-wasm ]; then
  skip "tests in wasm" "asked for"
elif ! command -v deno >/dev/null; then
  skip "tests in wasm" "there is no deno"
elif reason=$(aead-lab/build.sh --probe 2>&1); then
  part "aead-lab in wasm (SIMD)" wasm_tests aead-lab
  part "tcp in wasm (32 bits)" wasm_tests tcp
else
  skip "tests in wasm" "$reason"
fi

if [ "$(id -u)" != 0 ]; then
  skip "tcp-interop with the kernel" "not root"
elif ! [ -c /dev/net/tun ]; then
  skip "tcp-interop with the kernel" "no /dev/net/tun"
elif ! command -v ip >/dev/null || ! unshare --net true 2>/dev/null; then
  skip "tcp-interop with the kernel" "no network namespaces, or no ip command"
else
  part "tcp-interop: build" in_crate tcp-interop cargo build --locked --release --target-dir target/interop
  part "tcp-interop with the kernel" interop
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
