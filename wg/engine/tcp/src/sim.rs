//! A deterministic link for tests and measurements: delay, jitter, loss, reordering, duplication, rate and queue.

use crate::segment::{decapsulate_ecn, ecn, CE, NOT_ECT};
use crate::{Time, MS};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// SplitMix64: enough for tests, never for secrets.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; zero for zero.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            0
        } else {
            self.bits() % n
        }
    }

    /// True with a probability in parts per million.
    pub fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }
}

/// What a link does to packets; probabilities in parts per million.
#[derive(Clone, Copy, Debug, Default)]
pub struct Impairment {
    /// One way.
    pub delay: Time,
    /// Random delay on top, at most.
    pub jitter: Time,
    /// Chance to be lost.
    pub loss: u32,
    /// Chance to fall into, and to leave, a state where everything is lost.
    pub burst: (u32, u32),
    /// Chance to be delayed by up to `reorder_by` more.
    pub reorder: u32,
    /// Extra delay of a reordered packet, at most.
    pub reorder_by: Time,
    /// Chance to arrive twice.
    pub duplicate: u32,
    /// Bytes a second, zero for unlimited, and bytes that wait for it.
    pub rate: u64,
    /// Bytes that may wait for the rate.
    pub queue: u64,
    /// Packets that find more bytes than this waiting are marked if they may be; zero for never.
    pub mark: u64,
    /// Larger packets vanish; zero for no limit.
    pub mtu: usize,
}

impl Impairment {
    /// One direction of a path with this round trip.
    pub fn round_trip(milliseconds: u64) -> Self {
        Impairment { delay: milliseconds * MS / 2, reorder_by: 10 * MS, ..Impairment::default() }
    }
}

/// One direction of a path.
pub struct Link {
    /// What it does from now on.
    pub impairment: Impairment,
    random: Random,
    flying: BinaryHeap<Reverse<(Time, u64, Vec<u8>)>>,
    serial: u64,
    busy_until: Time,
    bursting: bool,
    pool: Vec<Vec<u8>>,
    /// Packets lost.
    pub dropped: u64,
    /// Packets marked.
    pub marked: u64,
    /// Packets given to it.
    pub carried: u64,
}

impl Link {
    /// A link; the seed decides everything random.
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Link {
            impairment,
            random: Random(seed),
            flying: BinaryHeap::new(),
            serial: 0,
            busy_until: 0,
            bursting: false,
            pool: Vec::new(),
            dropped: 0,
            marked: 0,
            carried: 0,
        }
    }

    fn lost(&mut self) -> bool {
        let i = self.impairment;
        self.bursting =
            if self.bursting { i.burst.1 > 0 && !self.random.chance(i.burst.1) } else { self.random.chance(i.burst.0) };
        self.bursting || self.random.chance(i.loss)
    }

    /// Takes a packet.
    pub fn send(&mut self, now: Time, packet: &[u8]) {
        let i = self.impairment;
        self.carried += 1;
        if self.lost() || (i.mtu > 0 && packet.len() > i.mtu) {
            self.dropped += 1;
            return;
        }
        let mut at = now;
        let mut marked = false;
        if i.rate > 0 {
            let backlog = crate::congestion::carried(i.rate, self.busy_until.saturating_sub(now));
            if backlog + packet.len() as u64 > i.queue {
                self.dropped += 1;
                return;
            }
            marked = i.mark > 0 && backlog > i.mark && ecn(packet) != NOT_ECT;
            let nanos = packet.len() as u64 * 1_000_000_000 / i.rate;
            self.busy_until =
                self.busy_until.max(now) + nanos / 1000 + u64::from(self.random.below(1000) < nanos % 1000);
            at = self.busy_until;
        }
        at += i.delay + self.random.below(i.jitter + 1);
        if self.random.chance(i.reorder) {
            at += 1 + self.random.below(i.reorder_by);
        }
        let copies = 1 + u32::from(self.random.chance(i.duplicate));
        for _ in 0..copies {
            let mut p = self.pool.pop().unwrap_or_default();
            p.clear();
            p.extend_from_slice(packet);
            if marked {
                self.marked += 1;
                decapsulate_ecn(&mut p, CE);
            }
            self.serial += 1;
            self.flying.push(Reverse((at, self.serial, p)));
        }
    }

    /// When the next packet arrives.
    pub fn next_at(&self) -> Option<Time> {
        self.flying.peek().map(|p| p.0 .0)
    }

    /// A packet that has arrived.
    pub fn receive(&mut self, now: Time) -> Option<Vec<u8>> {
        if self.next_at()? > now {
            return None;
        }
        self.flying.pop().map(|p| p.0 .2)
    }

    /// Takes a buffer back for later packets.
    pub fn recycle(&mut self, p: Vec<u8>) {
        if self.pool.len() < 1024 {
            self.pool.push(p);
        }
    }
}
