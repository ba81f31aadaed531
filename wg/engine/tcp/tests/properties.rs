//! Whatever the link does, all bytes arrive in order, once, and both ends finish after it heals.
mod common;
use common::World;
use tcp::sim::{Impairment, Random};
use tcp::{Algorithm, Config, MS, SEC};

fn random_impairment(r: &mut Random) -> Impairment {
    Impairment {
        delay: r.below(80) * MS,
        jitter: [0, 0, r.below(5 * MS), r.below(50 * MS)][r.below(4) as usize],
        loss: [0, 1_000, 10_000, 50_000, 200_000][r.below(5) as usize],
        burst: [(0, 0), (2_000, 200_000), (10_000, 50_000)][r.below(3) as usize],
        reorder: [0, 10_000, 200_000][r.below(3) as usize],
        reorder_by: 1 + r.below(40 * MS),
        duplicate: [0, 10_000, 300_000][r.below(3) as usize],
        rate: [0, 100_000, 1_000_000, 20_000_000][r.below(4) as usize],
        queue: 3_000 + r.below(300_000),
        mtu: 0,
        mark: 0,
    }
}

fn one(seed: u64) {
    let mut r = Random(seed.wrapping_mul(31) + 1);
    let config = |r: &mut Random| Config {
        algorithm: if r.chance(500_000) { Algorithm::Cubic } else { Algorithm::Bbr },
        mtu: [576, 1280, 1420, 9000][r.below(4) as usize],
        nagle: r.chance(200_000),
        receive_buffer_initial: [2_000, 16_384, 131_072][r.below(3) as usize],
        receive_buffer_max: [20_000, 1 << 20][r.below(2) as usize],
        send_buffer_max: [20_000, 1 << 20][r.below(2) as usize],
        ..Config::default()
    };
    let configs = [config(&mut r), config(&mut r)];
    let imps = [random_impairment(&mut r), random_impairment(&mut r)];
    let mut w = World::new(configs, imps, seed);
    w.ends[0].to_send = r.below(300_000);
    w.ends[1].to_send = [0, r.below(300_000)][r.below(2) as usize];
    if r.chance(300_000) {
        w.ends[1].read_limit = 1 + r.below(3000) as usize;
    }
    w.trace = std::env::var("TRACE").is_ok();
    w.until(20 * SEC, |w| w.complete());
    // Heal, and let it finish.
    for l in &mut w.links {
        let delay = l.impairment.delay;
        l.impairment = Impairment { delay, ..Impairment::default() };
    }
    let done = w.until(600 * SEC, |w| w.complete());
    let broken = w.ends.iter().any(|e| e.c.as_ref().is_none_or(|c| c.error().is_some()));
    assert!(
        done && !broken,
        "seed {seed}: {:?} {:?} errors {:?} {:?} sent {:?} got {:?} to send {:?} at {}\n{:?}\n{:?}",
        w.state(0),
        w.state(1),
        w.ends[0].c.as_ref().map(|c| c.error()),
        w.ends[1].c.as_ref().map(|c| c.error()),
        [w.ends[0].sent, w.ends[1].sent],
        [w.ends[0].got, w.ends[1].got],
        [w.ends[0].to_send, w.ends[1].to_send],
        w.now,
        configs,
        imps
    );
}

#[test]
fn everything_arrives_once_and_in_order() {
    let from: u64 = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let count: u64 = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3000);
    for seed in from..from + count {
        one(seed);
    }
}
