//! Native timings, median of 15: the stand-in's portable path, ring (assembly) and RustCrypto (AVX2 where the CPU has it).
//! `cargo run --release --example native`

use aead_lab::{bench, Backend};
use std::time::Instant;

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let backends = [("portable", Backend::Own), ("ring", Backend::Published), ("RustCrypto", Backend::Reference)];
    for length in [64_usize, 256, 1420, 8192, 65535] {
        for opening in [false, true] {
            let count = (12_000_000 / (length + 300)) as u32;
            let mut times = [const { Vec::new() }; 3];
            for _ in 0..15 {
                for ((_, backend), times) in backends.iter().zip(&mut times) {
                    let start = Instant::now();
                    assert_eq!(bench(*backend, opening, length, count), count);
                    times.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(count));
                }
            }
            let figures: Vec<String> =
                backends.iter().zip(times).map(|((name, _), t)| format!("{name} {:.3} us", median(t))).collect();
            println!("{} {length}: {}", if opening { "open" } else { "seal" }, figures.join(" | "));
        }
    }
}
