//! One peer: boringtun's tunnel and what the protocol leaves to the device around it.

use crate::event::Address;
use boringtun::noise::Tunn;

/// An address is reported as heard from at most this often.
pub const HEARD_INTERVAL_US: u64 = 500_000;
/// How soon an initiation that opens a session is repeated, since boringtun alone waits 5 s (REKEY_TIMEOUT).
const RETRY_AFTER_US: [u64; 3] = [300_000, 700_000, 1_500_000];

/// How a peer's endpoint moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roaming {
    /// As in the WireGuard paper, section 2.1: to wherever the last authenticated packet came from.
    Stock,
    /// On handshakes only; otherwise the host decides.
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
    pub endpoint: Address,
    /// How `endpoint` moves.
    pub roaming: Roaming,
    /// Seconds; 0 for none.
    pub keepalive_seconds: u16,
    /// We answered an initiation and wait for the first packet in the new session.
    pub unconfirmed: bool,
    /// What was last reported as heard from, and when.
    pub heard: (Address, u64),
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
            endpoint: Address::default(),
            roaming,
            keepalive_seconds,
            unconfirmed: false,
            heard: (Address::default(), 0),
            handshake_at: 0,
            retry: None,
            revive_at: 0,
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

    /// The handshake ended.
    pub fn handshake_done(&mut self, now: u64) {
        self.retry = None;
        self.unconfirmed = false;
        self.handshake_at = now;
    }

    /// boringtun gave up: the next initiation begins a new series of repetitions.
    pub fn gave_up(&mut self, now: u64) {
        self.retry = None;
        self.unconfirmed = false;
        self.revive_at = now + u64::from(self.keepalive_seconds) * 1_000_000;
    }
}
