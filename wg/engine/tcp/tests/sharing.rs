//! What streams get of simulated links: alone on links that lose and reorder, and beside others.
mod common;
use common::flows::{bottleneck, jain, Flows, Plan};
use tcp::sim::Impairment;
use tcp::{Algorithm, Config, Time, MS, SEC};

fn plan(algorithm: Algorithm, start: Time) -> Plan {
    let buffer = 8 << 20;
    let config = Config {
        algorithm,
        send_buffer_max: buffer,
        receive_buffer_max: buffer,
        verify_checksums: false,
        ..Config::default()
    };
    Plan { config, start }
}

/// The part of `mbit` that one stream gets of the link: in its first three seconds, and in the six that follow.
fn alone(link: Impairment, mbit: f64) -> (f64, f64) {
    let mut world = Flows::new(&[plan(Algorithm::Bbr, 0)], link, 7);
    (world.rates(0, 3 * SEC)[0] / mbit, world.rates(3 * SEC, 9 * SEC)[0] / mbit)
}

#[test]
fn loss_and_reordering_cost_little_more_than_themselves() {
    let at = bottleneck;
    for (name, mbit, link, first, later) in [
        ("clean", 200.0, at(200.0, 66.0, 1.0), 0.7, 0.9),
        ("1 % loss", 200.0, Impairment { loss: 10_000, ..at(200.0, 66.0, 1.0) }, 0.65, 0.9),
        ("3 % loss", 200.0, Impairment { loss: 30_000, ..at(200.0, 66.0, 1.0) }, 0.6, 0.88),
        ("5 % loss", 200.0, Impairment { loss: 50_000, ..at(200.0, 66.0, 1.0) }, 0.3, 0.8),
        ("10 % loss", 200.0, Impairment { loss: 100_000, ..at(200.0, 10.0, 1.0) }, 0.5, 0.75),
        ("1 % reordering", 200.0, Impairment { reorder: 10_000, ..at(200.0, 66.0, 1.0) }, 0.65, 0.88),
        ("bursts of loss", 50.0, Impairment { burst: (1_000, 50_000), ..at(50.0, 66.0, 1.0) }, 0.6, 0.85),
        ("jitter of 5 ms", 50.0, Impairment { jitter: 5 * MS, ..at(50.0, 66.0, 1.0) }, 0.6, 0.85),
        ("shallow queue", 50.0, at(50.0, 66.0, 0.1), 0.4, 0.85),
        ("deep queue", 50.0, at(50.0, 66.0, 4.0), 0.7, 0.9),
        ("3 % loss at 150 ms", 50.0, Impairment { loss: 30_000, ..at(50.0, 150.0, 1.0) }, 0.3, 0.85),
        ("3 % loss on a slow link", 5.0, Impairment { loss: 30_000, ..at(5.0, 150.0, 1.0) }, 0.5, 0.85),
        ("300 ms with a queue of 50 ms", 20.0, at(20.0, 300.0, 0.167), 0.15, 0.85),
        (
            "1 % loss at 300 ms with a queue of 50 ms",
            20.0,
            Impairment { loss: 10_000, ..at(20.0, 300.0, 0.167) },
            0.08,
            0.82,
        ),
        ("1 % loss at 300 ms", 50.0, Impairment { loss: 10_000, ..at(50.0, 300.0, 1.0) }, 0.05, 0.75),
    ] {
        let (early, late) = alone(link, mbit);
        assert!(early >= first && late >= later, "{name}: {early:.2} at first, then {late:.2}");
    }
}

/// What one world has is luck, too: shares are means of so many.
const SEEDS: std::ops::Range<u64> = 7..13;

fn mean(of: impl Fn(u64) -> f64) -> f64 {
    SEEDS.map(of).sum::<f64>() / SEEDS.count() as f64
}

/// The first stream's share while both run, from one second to another; the second begins `gap` later.
fn share([first, second]: [Algorithm; 2], gap: Time, link: Impairment, [from, to]: [u64; 2], seed: u64) -> f64 {
    let mut world = Flows::new(&[plan(first, 0), plan(second, gap)], link, seed);
    let rates = world.rates(from * SEC, to * SEC);
    rates[0] / (rates[0] + rates[1])
}

#[test]
fn two_streams_share_a_bottleneck_within_60_to_40() {
    for (mbit, round_trip) in [(20.0, 20.0), (10.0, 66.0)] {
        for queue in [0.5, 1.0, 2.0] {
            for gap in [3 * MS, 5 * SEC] {
                let (both, link) = ([Algorithm::Bbr; 2], bottleneck(mbit, round_trip, queue));
                // Who has more differs from seed to seed, and must not cancel out.
                let part = mean(|seed| {
                    let part = share(both, gap, link, [25, 65], seed);
                    part.max(1.0 - part)
                });
                assert!(part <= 0.6, "{mbit} Mbit/s {round_trip} ms, queue {queue}, {gap} us: {part:.2}");
            }
        }
    }
}

/// Segments that leave together meet a full queue together: a kernel's stream that sends one by one took 86 % of it beside pairs.
#[test]
fn segments_leave_one_by_one_where_the_rate_lets_them() {
    let mut world = Flows::new(&[plan(Algorithm::Bbr, 0)], bottleneck(25.0, 30.0, 1.0), 7);
    world.until(3 * SEC);
    world.sent = [0; 2];
    world.until(6 * SEC);
    let [one, several] = world.sent;
    assert!(several * 20 < one, "{one} times one, {several} times several");
}

/// CUBIC, which gives way to loss, is given way to: neither starves, whoever came first.
#[test]
fn bbr_and_cubic_share_a_bottleneck() {
    use Algorithm::{Bbr, Cubic};
    for (queue, least) in [(0.5, 0.3), (1.0, 0.25), (2.0, 0.4), (4.0, 0.35)] {
        let link = bottleneck(20.0, 66.0, queue);
        for (first, second) in [(Bbr, Cubic), (Cubic, Bbr)] {
            let part = mean(|seed| share([first, second], 5 * SEC, link, [25, 65], seed));
            assert!((least..=1.0 - least).contains(&part), "{first:?} before {second:?}, queue {queue}: {part:.2}");
        }
    }
}

/// CUBIC fills a queue of several round trips, where BBR may not follow: it is joined there, and soon.
#[test]
fn bbr_joins_cubic_in_a_deep_queue() {
    use Algorithm::{Bbr, Cubic};
    for (mbit, round_trip, queue) in [(50.0, 30.0, 3.3), (20.0, 20.0, 5.0), (100.0, 20.0, 4.0)] {
        for gap in [3 * MS, SEC] {
            let part = mean(|seed| share([Bbr, Cubic], gap, bottleneck(mbit, round_trip, queue), [5, 20], seed));
            assert!((0.33..=0.75).contains(&part), "{mbit} Mbit/s {round_trip} ms, queue {queue}, {gap} us: {part:.2}");
        }
    }
}

#[test]
fn many_streams_share_and_none_starves() {
    for (count, queue, fair) in [(8, 0.5, 0.9), (8, 1.0, 0.9), (8, 2.0, 0.8), (64, 1.0, 0.9)] {
        let plans: Vec<Plan> = (0..count).map(|i| plan(Algorithm::Bbr, i * 50 * MS)).collect();
        let worlds: Vec<Vec<f64>> = SEEDS
            .map(|seed| Flows::new(&plans, bottleneck(100.0, 40.0, queue), seed).rates(10 * SEC, 25 * SEC))
            .collect();
        let world = |seed: u64| &worlds[(seed - SEEDS.start) as usize];
        let index = mean(|seed| jain(world(seed)));
        let sum = mean(|seed| world(seed).iter().sum());
        let least = mean(|seed| {
            let rates = world(seed);
            rates.iter().fold(f64::MAX, |a, b| a.min(*b)) * count as f64 / rates.iter().sum::<f64>()
        });
        assert!(index >= fair && sum > 85.0 && least > 0.5, "{count}, queue {queue}: {index:.3} {sum:.0} {least:.2}");
    }
}
