//! One peer: boringtun's tunnel and what the protocol leaves to the device around it.

use crate::event::Path;
use crate::filter::{ports::Ports, REFUSALS};
use crate::probe::{self, Allowance};
use boringtun::noise::Tunn;

/// A path is reported as heard from at most this often.
pub const HEARD_INTERVAL_US: u64 = 500_000;
/// Paths of which it is remembered; one more takes the place of the one that was new longest ago. Traffic that takes turns between
/// so many is not reported packet by packet.
const HEARD_PATHS: usize = 4;
/// Sessions that wait for their first packet: as many as boringtun keeps.
const UNCONFIRMED_MAX: usize = 8;
/// How soon an initiation that opens a session is repeated, since boringtun alone waits 5 s (REKEY_TIMEOUT).
const RETRY_AFTER_US: [u64; 3] = [300_000, 700_000, 1_500_000];

/// How a peer's endpoint moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roaming {
    /// As in the WireGuard paper, section 2.1: to wherever the last authenticated packet came from.
    Stock,
    /// The host decides, except where there is none yet.
    Host,
}

/// A peer of the device.
pub struct Peer {
    /// The protocol.
    pub tunnel: Tunn,
    /// The peer's static public key.
    pub public_key: [u8; 32],
    /// Upper 24 bits of the receiver indices that we hand out.
    pub index: u32,
    /// Where encrypted packets go; family 0 when unknown.
    pub endpoint: Path,
    /// How `endpoint` moves.
    pub roaming: Roaming,
    /// Seconds; 0 for none.
    pub keepalive_seconds: u16,
    /// The peer's address for probes.
    pub link_local: [u8; 16],
    /// How many of its probes are answered.
    pub answers: Allowance,
    /// Whether it has sent one in this session.
    pub probed: bool,
    /// What the policy lets it reach here.
    pub ports: Ports,
    /// How many of its packets did not pass, by [`crate::filter::Refusal`].
    pub refused: [f64; REFUSALS],
    /// How many of them are answered by an error.
    pub refusals: Allowance,
    /// When the host was told of one; 0 for never.
    pub refusal_told_at: u64,
    /// Largest inner packet for the path to the peer.
    pub mtu: usize,
    /// Largest packet that the kernel's interface may send to the peer.
    pub tun_mtu: usize,
    /// Receiver indices of sessions that we answered an initiation for, in which the peer's first packet is still to come.
    unconfirmed: Vec<u32>,
    /// Which paths were reported as heard from, and when.
    heard: [(Path, u64); HEARD_PATHS],
    /// When the session was last confirmed by both sides; 0 before the first.
    pub handshake_at: u64,
    /// Next repetition of an initiation, and how many there were.
    retry: Option<(u64, usize)>,
    /// When an expired tunnel with a keepalive tries again.
    pub revive_at: u64,
}

impl Peer {
    /// A peer that has not been heard from.
    pub fn new(tunnel: Tunn, public_key: [u8; 32], index: u32, roaming: Roaming, keepalive_seconds: u16) -> Self {
        Peer {
            tunnel,
            public_key,
            index,
            endpoint: Path::default(),
            roaming,
            keepalive_seconds,
            link_local: probe::link_local(&public_key),
            answers: Allowance::default(),
            probed: false,
            ports: Ports::all(),
            refused: [0.0; REFUSALS],
            refusals: Allowance::default(),
            refusal_told_at: 0,
            mtu: usize::MAX,
            tun_mtu: usize::MAX,
            unconfirmed: Vec::new(),
            heard: Default::default(),
            handshake_at: 0,
            retry: None,
            revive_at: 0,
        }
    }

    /// The peer was authenticated along a path.
    pub fn seen_at(&mut self, from: Path) {
        if self.roaming == Roaming::Stock || self.endpoint.remote.family == 0 {
            self.endpoint = from;
        }
    }

    /// An initiation has left: the first ones are repeated soon, where the host does not do that itself.
    pub fn initiation_sent(&mut self, now: u64) {
        if self.roaming == Roaming::Stock {
            self.retry = match self.retry {
                None => Some((now + RETRY_AFTER_US[0], 1)),
                Some((_, n)) if n < RETRY_AFTER_US.len() => Some((now + RETRY_AFTER_US[n], n + 1)),
                Some(_) => Some((u64::MAX, RETRY_AFTER_US.len())),
            };
        }
    }

    /// Whether an initiation is to be repeated now.
    pub fn retry_due(&self, now: u64) -> bool {
        self.retry.is_some_and(|(at, _)| at <= now)
    }

    /// An initiation was answered; the peer's first packet will come to the receiver index `index`.
    pub fn answered(&mut self, index: u32) {
        if self.unconfirmed.len() == UNCONFIRMED_MAX {
            self.unconfirmed.remove(0);
        }
        self.unconfirmed.push(index);
    }

    /// Whether a packet to the receiver index `index` is the first one in a session that we answered.
    pub fn confirms(&self, index: u32) -> bool {
        self.unconfirmed.contains(&index)
    }

    /// The handshake ended, and the peer is heard along a path.
    pub fn handshake_done(&mut self, now: u64, from: Path) {
        self.retry = None;
        self.revive_at = 0;
        self.unconfirmed.clear();
        self.probed = false;
        self.handshake_at = now;
        self.heard_along(now, from);
    }

    /// A packet came along a path: whether that is worth reporting.
    pub fn heard_along(&mut self, now: u64, from: Path) -> bool {
        match self.heard.iter_mut().find(|(path, _)| *path == from) {
            Some((_, at)) if now < *at + HEARD_INTERVAL_US => false,
            Some((_, at)) => {
                *at = now;
                true
            }
            None => {
                self.heard.rotate_right(1);
                self.heard[0] = (from, now);
                true
            }
        }
    }

    /// boringtun gave up: the next initiation begins a new series of repetitions.
    pub fn gave_up(&mut self, now: u64) {
        self.retry = None;
        self.unconfirmed.clear();
        self.revive_at = now + u64::from(self.keepalive_seconds) * 1_000_000;
    }
}
