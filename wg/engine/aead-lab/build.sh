#!/bin/bash
# Builds the tests for wasm with SIMD128 and prints the path of the module. Wants the distribution's rustc with its
# library sources (Debian: rustc-web cargo-web rust-web-src lld wasi-libc) or a rustc that has the wasm32-wasip1 target.
# Options: RELAXED=1 for relaxed SIMD. Exit code 3 and one line on stderr when there is no such toolchain.
set -euo pipefail
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-$PWD/target}
features=+simd128,+bulk-memory${RELAXED:+,+relaxed-simd}
build=(build --release --lib --locked --target wasm32-wasip1 --target-dir "$target")
if rustc --print target-libdir --target wasm32-wasip1 2>/dev/null | xargs -I{} test -d {}; then
  export RUSTFLAGS="-C target-feature=$features --remap-path-prefix=$HOME=/"
  nice -n 5 cargo "${build[@]}" >&2
elif [ -x /usr/bin/rustc ] && [ -x /usr/bin/wasm-ld ] && [ -d /usr/lib/wasm32-wasi ] &&
  [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
  # The unstable build-std option makes the standard library from its sources.
  export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
  export RUSTFLAGS="-C link-self-contained=no -C linker=/usr/bin/wasm-ld -C target-feature=$features -L native=/usr/lib/wasm32-wasi --remap-path-prefix=$HOME=/"
  nice -n 5 /usr/bin/cargo "${build[@]}" -Z build-std=std,panic_abort >&2
else
  echo "no wasm toolchain: want rustc-web, cargo-web, rust-web-src, lld and wasi-libc, or rustup's wasm32-wasip1 target" >&2
  exit 3
fi
echo "$target/wasm32-wasip1/release/aead_lab.wasm"
