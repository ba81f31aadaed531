#!/usr/bin/env bash
# Builds wg/engine.wasm from wg/engine, and on x86-64 wg/aead-x86_64.so from wg/engine/native.   build_engine.sh [--check]
# --check builds into a temporary place and compares with the committed files.
# Needs a Rust with wasm32-wasip1: rustup's target, or Debian's packages rustc-web cargo-web rust-web-src lld; and clang with lld.
# The files are the same wherever they are built with the same compiler: paths are remapped.
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
built=("$target/wasm32-wasip1/release/engine.wasm")
names=(engine.wasm)
if [ "$(uname -m)" = x86_64 ]; then
  # No libc: memcpy and memset are the process's own. Nothing in it says when or where it was made.
  link="-C linker=clang -C link-arg=-fuse-ld=lld -C link-arg=-nostdlib -C link-arg=-Wl,--build-id=none"
  cd native
  RUSTFLAGS="$link $remap -C strip=symbols" "$cargo" rustc --release --locked --features library --crate-type cdylib \
    --target x86_64-unknown-linux-gnu --target-dir "$target"
  cd ..
  built+=("$target/x86_64-unknown-linux-gnu/release/libaead_native.so")
  names+=(aead-x86_64.so)
fi
for i in "${!built[@]}"; do
  name="wg/${names[i]}"
  if [ "${1:-}" != --check ]; then
    install -m 644 "${built[i]}" "$root/$name"
    ls -l "$root/$name"
  elif cmp -s "${built[i]}" "$root/$name"; then
    echo "$name is current"
  else
    echo "build_engine: $name is not what wg/engine builds to with $("${RUSTC:-rustc}" --version): run 'deno task build:engine' and commit it" >&2
    exit 1
  fi
done
