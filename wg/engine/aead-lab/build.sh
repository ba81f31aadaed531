#!/bin/bash
# build.sh CRATE: builds a crate's tests for wasm with SIMD128 and prints the paths of the modules.
# RELEASE=1 builds its figures (examples/figures.rs) instead. --probe in place of the crate only finds out whether that is
# possible.
#
# Wants the distribution's rustc with its library sources (Debian: rustc-web cargo-web rust-web-src lld wasi-libc), or a
# rustc that has the wasm32-wasip1 target. Exit code 3 and one line on stderr when there is neither.
set -euo pipefail
lab=$(cd "$(dirname "$0")" && pwd)
features=+simd128,+bulk-memory,+relaxed-simd
flags="-C target-feature=$features --remap-path-prefix=$HOME=/"
libc=/usr/lib/wasm32-wasi
if [ -d "$(rustc --print target-libdir --target wasm32-wasip1 2>/dev/null)" ]; then
  cargo=(cargo)
  std=()
elif [ -x /usr/bin/rustc ] && [ -x /usr/bin/wasm-ld ] && [ -d $libc ] &&
  [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
  # build-std, which is unstable, makes the standard library from its sources; it names threads that wasi-libc lacks.
  export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
  flags+=" -C link-self-contained=no -C linker=/usr/bin/wasm-ld -L native=$libc"
  flags+=" -C link-arg=$libc/crt1-command.o -C link-arg=--allow-undefined"
  cargo=(/usr/bin/cargo)
  std=(-Z build-std=std,panic_abort,test -Z panic-abort-tests)
else
  echo "no wasm toolchain: want rustc-web, cargo-web, rust-web-src, lld and wasi-libc, or rustup's wasm32-wasip1 target" >&2
  exit 3
fi
[ "$1" != --probe ] || exit 0
cd "$1"
export RUSTFLAGS=$flags
# One target directory for all crates, so that the standard library is made once.
options=(--locked --target wasm32-wasip1 --target-dir "${CARGO_TARGET_DIR:-$lab/target}" "${std[@]}")
if [ -n "${RELEASE:-}" ]; then
  nice -n 5 "${cargo[@]}" build --release --example figures "${options[@]}" >&2
  echo "${CARGO_TARGET_DIR:-$lab/target}/wasm32-wasip1/release/examples/figures.wasm"
  exit
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
nice -n 5 "${cargo[@]}" test --no-run "${options[@]}" 2>"$log" || { cat "$log" >&2; exit 1; }
root=$PWD
sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$log" | while read -r module; do
  case $module in /*) echo "$module" ;; *) echo "$root/$module" ;; esac
done
