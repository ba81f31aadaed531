//! Flows of packets: who began them is remembered while they are used. A table of fixed size with eight places for each hash: a new flow
//! takes the place of one that has ended, or else of the one used longest ago, which is counted. It takes no memory before the
//! first flow.

use super::packet::Packet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};

/// Places that a flow may have.
const WAYS: usize = 8;
/// A flow is not written to more often, so that most packets only read.
const REFRESH_US: u64 = 1_000_000;

/// The two ends and the protocol of a flow, and the peer that it is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    ours: [u8; 16],
    theirs: [u8; 16],
    /// Ports, or the number of a fragmented datagram.
    numbers: [u8; 4],
    protocol: u8,
    v4: bool,
    peer: u32,
}

fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}

impl Key {
    fn new(peer: u32, protocol: u8, ours: SocketAddr, theirs: SocketAddr) -> Self {
        let ([a, b], [c, d]) = (ours.port().to_be_bytes(), theirs.port().to_be_bytes());
        let (v4, numbers) = (ours.is_ipv4(), [a, b, c, d]);
        Key { ours: bytes(ours.ip()), theirs: bytes(theirs.ip()), numbers, protocol, v4, peer }
    }

    /// The flow of a packet that came from a peer.
    pub fn entering(peer: u32, p: &Packet) -> Self {
        Key::new(peer, p.protocol, p.to, p.from)
    }

    /// The flow of a packet for a peer.
    pub fn leaving(peer: u32, p: &Packet) -> Self {
        Key::new(peer, p.protocol, p.from, p.to)
    }

    /// The fragments of one datagram from a peer.
    pub fn fragments(peer: u32, p: &Packet, id: u32) -> Self {
        // What the others say of their protocol may be an extension header behind IPv6's.
        Key { numbers: id.to_be_bytes(), protocol: 0, ..Key::entering(peer, p) }
    }
}

/// One flow.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    key: Key,
    /// Microseconds; 0 for a place that was never used.
    expires_at: u64,
    used_at: u64,
    /// Which sides of a TCP connection have ended theirs: 1 ours, 2 the peer's.
    pub ended: u8,
    /// Whether the peer has sent anything in it.
    pub answered: bool,
}

/// What became of a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It was known.
    Known,
    /// It has a place.
    New,
    /// It has the place of another that was in use.
    Evicted,
}

/// A table of flows.
pub struct Flows {
    buckets: Vec<[Option<Flow>; WAYS]>,
    size: usize,
    hasher: Option<RandomState>,
    /// Where the flow lies that was found last, which is often the next one too.
    last: (usize, usize),
}

impl Flows {
    /// A table for `flows`, at least eight, rounded up to a power of two.
    pub fn new(flows: usize) -> Self {
        let size = flows.div_ceil(WAYS).next_power_of_two();
        Flows { buckets: Vec::new(), size, hasher: None, last: (0, 0) }
    }

    /// How many flows have a place, ended or not.
    pub fn len(&self) -> usize {
        self.buckets.iter().flatten().flatten().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty() || self.len() == 0
    }

    fn place(&mut self, key: &Key) -> Option<(usize, usize)> {
        let holds = |flow: &Option<Flow>| flow.as_ref().is_some_and(|f| f.key == *key);
        let (bucket, way) = self.last;
        if self.buckets.get(bucket).is_some_and(|b| holds(&b[way])) {
            return Some(self.last);
        }
        let bucket = self.bucket(key)?;
        let way = self.buckets[bucket].iter().position(holds)?;
        self.last = (bucket, way);
        Some(self.last)
    }

    fn bucket(&self, key: &Key) -> Option<usize> {
        Some(self.hasher.as_ref()?.hash_one(key) as usize & (self.size - 1))
    }

    /// A flow that has not ended at `now`.
    pub fn find(&mut self, now: u64, key: &Key) -> Option<&mut Flow> {
        let (bucket, way) = self.place(key)?;
        self.buckets[bucket][way].as_mut().filter(|flow| flow.expires_at > now)
    }

    /// The flow is used: it lasts `lifetime` microseconds from now on.
    pub fn note(&mut self, now: u64, key: Key, lifetime: u64) -> Noted {
        if let Some(flow) = self.find(now, &key) {
            flow.refresh(now, lifetime);
            return Noted::Known;
        }
        if self.buckets.is_empty() {
            self.buckets = vec![[None; WAYS]; self.size];
            self.hasher = Some(RandomState::new());
        }
        let Some(bucket) = self.bucket(&key) else { return Noted::New };
        let ways = &mut self.buckets[bucket];
        // Its own old place first, then one that is free, then the one used longest ago.
        let rank = |flow: &Option<Flow>| match flow {
            Some(flow) if flow.key == key => (0, 0),
            None => (1, 0),
            Some(flow) if flow.expires_at <= now => (2, flow.used_at),
            Some(flow) => (3, flow.used_at),
        };
        let Some(way) = (0..WAYS).min_by_key(|way| rank(&ways[*way])) else { return Noted::New };
        let evicted = rank(&ways[way]).0 == 3;
        ways[way] = Some(Flow { key, expires_at: now + lifetime, used_at: now, ended: 0, answered: false });
        if evicted {
            Noted::Evicted
        } else {
            Noted::New
        }
    }

    /// Forgets what a peer had.
    pub fn forget_peer(&mut self, peer: u32) {
        for place in self.buckets.iter_mut().flatten() {
            if place.is_some_and(|flow| flow.key.peer == peer) {
                *place = None;
            }
        }
    }
}

impl Flow {
    /// It is used: it lasts `lifetime` microseconds from now on.
    pub fn refresh(&mut self, now: u64, lifetime: u64) {
        if (now + lifetime).abs_diff(self.expires_at) >= REFRESH_US {
            self.used_at = now;
            self.expires_at = now + lifetime;
        }
    }
}
