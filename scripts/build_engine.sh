#!/usr/bin/env bash
# Builds wg/engine.wasm from wg/engine.   build_engine.sh [--check]
# --check builds into a temporary place and compares with the committed file.
# Needs a Rust with wasm32-wasip1: rustup's target, or Debian's packages rustc-web cargo-web rust-web-src lld.
# The file is the same wherever it is built with the same compiler: paths are remapped.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root/wg/engine"
target="${CARGO_TARGET_DIR:-$root/wg/engine/target}/wasm"
memory="-C link-arg=--initial-memory=50331648 -C link-arg=-zstack-size=1048576"
features="-C target-feature=+simd128,+bulk-memory,+relaxed-simd"
home="${CARGO_HOME:-$HOME/.cargo}"
remap="--remap-path-prefix=$root=/moray --remap-path-prefix=$home=/cargo"
if [ -x /usr/bin/wasm-ld ] && [ -d /usr/lib/rustlib/rustc-src ] || ls -d /usr/src/rustc-* >/dev/null 2>&1; then
  cargo=/usr/bin/cargo
  export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
  export RUSTFLAGS="$features $memory $remap -C link-self-contained=no -C linker=/usr/bin/wasm-ld -L native=/usr/lib/wasm32-wasi"
  std=(-Z build-std=std,panic_abort)
elif rustc --print target-libdir --target wasm32-wasip1 2>/dev/null | xargs -r test -d; then
  cargo=cargo
  export RUSTFLAGS="$features $memory $remap"
  std=()
else
  echo "build_engine: no Rust for wasm32-wasip1: install rustc-web cargo-web rust-web-src lld wasi-libc (Debian) or 'rustup target add wasm32-wasip1'" >&2
  exit 69
fi
"$cargo" build --release --locked --target wasm32-wasip1 --target-dir "$target" "${std[@]}"
built="$target/wasm32-wasip1/release/engine.wasm"
if [ "${1:-}" = --check ]; then
  if ! cmp -s "$built" "$root/wg/engine.wasm"; then
    echo "build_engine: wg/engine.wasm is not what wg/engine builds to with $("$RUSTC" --version 2>/dev/null || rustc --version): run 'deno task build:engine' and commit it" >&2
    exit 1
  fi
  echo "wg/engine.wasm is current"
else
  cp "$built" "$root/wg/engine.wasm"
  ls -l "$root/wg/engine.wasm"
fi
