//! Damaged packets, junk, a clock that leaps, and callers that do anything in any order: nothing panics (with overflow checks),
//! nothing grows without bound, and nobody is asked to be called at once for ever.

use tcp::icmp::Verdict;
use tcp::sim::Random;
use tcp::{Algorithm, Config, Handle, Limits, Stack, Time, SEC};

const BUFFER_BYTES: usize = 200_000;
const CONNECTIONS: usize = 8;
const STEPS: u32 = 400;

struct Fuzz {
    random: Random,
    now: Time,
    stacks: [Stack; 2],
    open: [Vec<Handle>; 2],
    old: Vec<Vec<u8>>,
    v6: bool,
    /// Bytes that applications read, so that a run that opens nothing does not pass for one.
    read: usize,
}

impl Fuzz {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let config = Config {
            algorithm: if random.chance(500_000) { Algorithm::Cubic } else { Algorithm::Bbr },
            mtu: [0, 576, 1420, 9000][random.below(4) as usize],
            verify_checksums: false,
            receive_buffer_max: 1 << 18,
            send_buffer_max: 1 << 18,
            nagle: random.chance(200_000),
            keepalive: random.chance(500_000).then_some(SEC),
            ..Config::default()
        };
        let limits =
            Limits { connections: CONNECTIONS, listeners: 2, backlog: 4, half_open: 2, buffer_bytes: BUFFER_BYTES };
        let mut stacks = [Stack::new(config, limits, (seed, 1)), Stack::new(config, limits, (seed, 2))];
        stacks[1].listen(80);
        let v6 = random.chance(500_000);
        Fuzz { random, now: SEC, stacks, open: Default::default(), old: vec![], v6, read: 0 }
    }

    fn step(&mut self) {
        self.now += [1, 100, 5_000, 300_000][self.random.below(4) as usize];
        if self.random.chance(5_000) {
            self.now += self.random.below(100_000 * SEC);
        }
        let i = self.random.below(2) as usize;
        self.application(i);
        for p in self.transmit(i) {
            self.carry(i, p);
        }
        if self.random.chance(100_000) && !self.old.is_empty() {
            let p = self.old[self.random.below(self.old.len() as u64) as usize].clone();
            self.stacks[1 - i].handle_packet(self.now, &p);
            self.stacks[i].handle_packet(self.now, &p);
        }
        if self.random.chance(100_000) {
            let junk: Vec<u8> = (0..self.random.below(200)).map(|_| self.random.bits() as u8).collect();
            self.stacks[i].handle_packet(self.now, &junk);
        }
        for s in &self.stacks {
            assert!(s.len() <= CONNECTIONS && s.activity_queued() <= 2 * CONNECTIONS + 64);
            assert!(s.buffer_bytes() <= BUFFER_BYTES + 2 * CONNECTIONS * tcp::config::MIN_BUFFER);
        }
    }

    fn application(&mut self, i: usize) {
        let r = &mut self.random;
        // Seldom from the past.
        let now = if r.chance(50_000) { r.below(self.now) } else { self.now };
        if r.chance(100_000) {
            let (local, remote) = if self.v6 { ("fd00::1", "[fd00::2]:80") } else { ("10.0.0.1", "10.0.0.2:80") };
            let opened = self.stacks[0].connect(now, local.parse().unwrap(), remote.parse().unwrap());
            self.open[0].extend(opened.ok());
        }
        let accepted =
            if r.chance(500_000) { self.stacks[1].accept(80) } else { self.stacks[1].accept_any().map(|a| a.1) };
        self.open[1].extend(accepted);
        if r.chance(5_000) {
            self.stacks[1].unlisten(80);
            self.stacks[1].listen(80);
        }
        if r.chance(300_000) {
            while let Some(h) = self.stacks[i].poll_activity() {
                assert!(self.stacks[i].get(h).is_some());
            }
        }
        let Some(&h) = self.open[i].get(r.below(self.open[i].len() as u64) as usize) else { return };
        let n = r.below(3000) as usize;
        let s = &mut self.stacks[i];
        match r.below(14) {
            8 if r.chance(200_000) => s.abort(h),
            9 if r.chance(300_000) => s.release(now, h),
            action => {
                let Some(c) = s.get_mut(h) else { return };
                match action {
                    0..=4 => {
                        let room = c.send_room();
                        assert_eq!(c.send(&[9; 3000][..n]), n.min(room));
                    }
                    5..=7 => {
                        let ready = c.receive_ready();
                        let out = n / 2 + 1;
                        assert_eq!(c.recv(now, &mut [0; 2000][..out]), ready.min(out));
                        self.read += ready.min(out);
                    }
                    10 if r.chance(300_000) => c.shutdown(),
                    11 => c.set_mtu(now, n),
                    12 => c.trim(),
                    13 => {
                        let verdict = [Verdict::TooBig(n), Verdict::Refused, Verdict::Unreachable][n % 3];
                        c.handle_icmp(now, r.bits() as u32, verdict);
                    }
                    _ => {}
                }
            }
        }
    }

    fn transmit(&mut self, i: usize) -> Vec<Vec<u8>> {
        let (mut packets, mut whole) = (vec![], true);
        let mut buf = vec![0; 10_000];
        self.stacks[i].poll_transmit(self.now, |b| {
            for k in 0..b.count() {
                let n = b.write(k, &mut buf);
                packets.push(buf[..n].to_vec());
            }
            whole = packets.len() < 200;
            whole
        });
        let next = self.stacks[i].poll_timeout();
        assert!(!whole || next.is_none_or(|t| t > self.now), "nothing to send, and yet wants to be called at once");
        packets
    }

    fn carry(&mut self, from: usize, mut p: Vec<u8>) {
        let r = &mut self.random;
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
            self.stacks[1 - from].handle_packet(self.now, &p);
        }
        if r.chance(100_000) {
            self.old.push(p);
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

#[test]
fn damaged_packets_do_no_harm() {
    let (from, count) = (number("SEED", 0), number("SEEDS", 2000));
    let mut read = 0;
    for seed in from..from + count {
        println!("seed {seed}");
        let mut fuzz = Fuzz::new(seed);
        for _ in 0..STEPS {
            fuzz.step();
        }
        read += fuzz.read;
    }
    assert!(read as u64 > 1000 * count || count < 50, "{read}");
}

/// Every packet of every length, cut and bent, is either refused or read without reaching outside.
#[test]
fn no_bytes_upset_the_parser() {
    let mut r = Random(number("SEED", 7));
    let whole = tcp::segment::Burst {
        src: "[fd00::1]:1".parse().unwrap(),
        dst: "[fd00::2]:2".parse().unwrap(),
        seq: 1,
        ack: 2,
        flags: 0xff,
        window: 3,
        options: tcp::segment::Options { timestamps: Some((1, 2)), sack_permitted: true, ..Default::default() },
        ecn: 0,
        segment_size: 100,
        head: &[7; 50],
        tail: &[],
    };
    let mut template = vec![0; 300];
    let n = whole.write(0, &mut template);
    for _ in 0..number("SEEDS", 2000) * 100 {
        let mut p = template[..n].to_vec();
        for _ in 0..r.below(8) {
            let at = r.below(n as u64) as usize;
            p[at] = r.bits() as u8;
        }
        if r.chance(300_000) {
            p[0] = 0x40 | r.below(16) as u8;
            p[9] = 6;
        }
        p.truncate(r.below(n as u64 + 1) as usize);
        if let Ok(s) = tcp::Segment::parse(&p, false) {
            assert!(s.payload.len() <= p.len() && s.options.sack_blocks().len() <= 4);
        }
    }
}
