//! Microseconds a packet, best and median of 15 (the machine may have other work): the stand-in, RustCrypto, and natively ring itself (assembly).
//! `cargo run --release --example figures`, or `selftest.ts $(RELEASE=1 ./build.sh .)` for the SIMD code.

use aead_lab::{bench, Backend};
use std::time::Instant;

const BACKENDS: &[(&str, Backend)] = &[
    ("own", Backend::Own),
    ("RustCrypto", Backend::Reference),
    #[cfg(not(target_arch = "wasm32"))]
    ("ring", Backend::Published),
    #[cfg(target_arch = "x86_64")]
    ("AVX2", Backend::Native(aead_lab::native::Form::Avx2)),
    #[cfg(target_arch = "x86_64")]
    ("AVX-512", Backend::Native(aead_lab::native::Form::Avx512)),
];

const RUNS: usize = 15;

fn best_and_median(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    format!("{:.3} / {:.3} us", times[0], times[times.len() / 2])
}

fn main() {
    for length in [64_usize, 256, 1420, 8192, 65535] {
        for opening in [false, true] {
            let count = (4_000_000 / (length + 300)) as u32;
            let mut times = vec![Vec::new(); BACKENDS.len()];
            for _ in 0..RUNS {
                for ((_, backend), times) in BACKENDS.iter().zip(&mut times) {
                    let start = Instant::now();
                    assert_eq!(bench(*backend, opening, length, count), count);
                    times.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(count));
                }
            }
            let figures: Vec<String> =
                BACKENDS.iter().zip(times).map(|((name, _), t)| format!("{name} {}", best_and_median(t))).collect();
            println!("{} {length}: {}", if opening { "open" } else { "seal" }, figures.join(" | "));
        }
    }
}
