//! Damaged packets with checksums off: nothing panics, nothing grows without bound.
use tcp::sim::Random;
use tcp::stack::Limits;
use tcp::{Config, Handle, Stack, Time, SEC};

fn one(seed: u64) {
    let mut r = Random(seed);
    let config =
        Config { verify_checksums: false, receive_buffer_max: 1 << 18, send_buffer_max: 1 << 18, ..Config::default() };
    let limits = Limits { connections: 8, listeners: 2, backlog: 4, half_open: 2, buffer_bytes: 200_000 };
    let mut s = [Stack::new(config, limits, (seed, 1)), Stack::new(config, limits, (seed, 2))];
    s[1].listen(80);
    let v6 = r.chance(500_000);
    let (local, remote) = if v6 { ("fd00::1", "[fd00::2]:80") } else { ("10.0.0.1", "10.0.0.2:80") };
    let mut open: [Vec<Handle>; 2] = [vec![], vec![]];
    let mut now: Time = SEC;
    let mut old: Vec<Vec<u8>> = vec![];
    let mut buf = vec![0; 2000];
    let data = [9u8; 3000];
    for _ in 0..400 {
        now += [1, 100, 5_000, 300_000][r.below(4) as usize];
        let i = r.below(2) as usize;
        if r.chance(100_000) {
            if let Ok(h) = s[0].connect(now, local.parse().unwrap(), remote.parse().unwrap()) {
                open[0].push(h);
            }
        }
        if let Some(h) = s[1].accept(80) {
            open[1].push(h);
        }
        if let Some(&h) = open[i].get(r.below(open[i].len() as u64) as usize) {
            let n = r.below(3000) as usize;
            match r.below(12) {
                0..=5 => {
                    if let Some(c) = s[i].get_mut(h) {
                        c.send(&data[..n]);
                    }
                }
                6..=8 => {
                    if let Some(c) = s[i].get_mut(h) {
                        c.recv(now, &mut buf[..n / 2 + 1]);
                    }
                }
                9 => {
                    if let Some(c) = s[i].get_mut(h) {
                        c.shutdown();
                    }
                }
                10 if r.chance(200_000) => s[i].abort(h),
                11 if r.chance(300_000) => s[i].release(now, h),
                _ => {}
            }
        }
        let mut packets = vec![];
        s[i].poll_transmit(now, |b| {
            for k in 0..b.count() {
                let n = b.write(k, &mut buf);
                packets.push(buf[..n].to_vec());
            }
            packets.len() < 200
        });
        for mut p in packets {
            if r.chance(200_000) {
                // Mostly in the headers.
                for _ in 0..=r.below(4) {
                    let at = r.below(p.len().min(80) as u64) as usize;
                    p[at] = if r.chance(500_000) { r.bits() as u8 } else { p[at] ^ (1 << r.below(8)) };
                }
            }
            if r.chance(50_000) {
                p.truncate(r.below(p.len() as u64) as usize);
            }
            if r.chance(900_000) {
                s[1 - i].handle_packet(now, &p);
            }
            if r.chance(100_000) {
                old.push(p);
            }
        }
        if r.chance(100_000) && !old.is_empty() {
            let p = &old[r.below(old.len() as u64) as usize];
            s[1 - i].handle_packet(now, p);
            s[i].handle_packet(now, p);
        }
        assert!(s[0].len() <= 8 && s[1].len() <= 8);
    }
}

#[test]
fn damaged_packets_do_no_harm() {
    let from: u64 = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let count: u64 = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2000);
    for seed in from..from + count {
        one(seed);
    }
}
