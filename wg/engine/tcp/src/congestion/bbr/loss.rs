//! Loss per round, judged against what the path loses anyway.
//!
//! Loss that comes from a queue that overflows depends on what is in flight; loss on the air does not. What is lost while the sender
//! does not probe is therefore taken for the path's own, forgotten over some tens of rounds, and only what is clearly beyond it
//! counts. Clearly: by two standard deviations of a count, so that one unlucky round of few segments says nothing.

use crate::congestion::Ack;
use crate::Time;

/// Loss beyond the usual that a probe tolerates, in parts per million (draft-ietf-ccwg-bbr section 2.7).
const THRESHOLD: u64 = 20_000;
/// The path's own loss is never taken for more than this.
const USUAL_MAX: u64 = 100_000;
/// A round weighs this part of the memory.
const MEMORY_ROUNDS: u64 = 32;
/// Segments without loss that are assumed to have gone before.
const PRIOR_SEGMENTS: u64 = 100;
/// Round trips within this many percent of the smallest mean that there is no queue.
const QUEUE_PERCENT: u64 = 110;

pub struct Losses {
    lost: u64,
    delivered: u64,
    events: u32,
    smallest_rtt: Time,
    usual_lost: u64,
    usual_delivered: u64,
}

impl Default for Losses {
    fn default() -> Self {
        Losses { lost: 0, delivered: 0, events: 0, smallest_rtt: Time::MAX, usual_lost: 0, usual_delivered: 0 }
    }
}

impl Losses {
    pub fn count(&mut self, ack: &Ack) {
        self.lost += ack.lost;
        self.delivered += ack.delivered;
        self.events += ack.losses.min(1);
        self.smallest_rtt = self.smallest_rtt.min(ack.rtt.unwrap_or(Time::MAX));
    }

    pub fn events(&self) -> u32 {
        self.events
    }

    /// Bytes of this round, whatever became of them.
    pub fn all(&self) -> u64 {
        self.lost + self.delivered
    }

    /// This round's smallest round trip; [`Time::MAX`] for none.
    pub fn smallest_rtt(&self) -> Time {
        self.smallest_rtt
    }

    /// This round's smallest round trip is above the path's own.
    pub fn queue_seen(&self, minimum: Time) -> bool {
        self.smallest_rtt != Time::MAX && self.smallest_rtt.saturating_mul(100) > minimum.saturating_mul(QUEUE_PERCENT)
    }

    /// Parts per million that the path loses anyway.
    fn usual(&self, mss: u64) -> u64 {
        let all = self.usual_lost + self.usual_delivered + PRIOR_SEGMENTS * mss;
        (u128::from(self.usual_lost) * 1_000_000 / u128::from(all)).min(u128::from(USUAL_MAX)) as u64
    }

    fn exceeds(&self, ppm: u64, flight: u64, mss: u64) -> bool {
        let flight = flight.max(self.lost + self.delivered) / mss;
        // In hundredths of segments.
        let expected = flight * ppm / 10_000;
        self.lost * 100 / mss > expected + 20 * expected.isqrt() + 100
    }

    /// This round lost more than the path does anyway, and more than a probe may cost. `flight` is what was in the network, where
    /// the round is not over.
    pub fn congested(&self, mss: u64, flight: u64) -> bool {
        self.exceeds(self.usual(mss) + THRESHOLD, flight, mss)
    }

    /// This round was like any other.
    pub fn learn(&mut self) {
        self.usual_lost += self.lost;
        self.usual_lost -= self.usual_lost / MEMORY_ROUNDS;
        self.usual_delivered += self.delivered;
        self.usual_delivered -= self.usual_delivered / MEMORY_ROUNDS;
    }

    pub fn end_round(&mut self) {
        self.forget_round();
        self.delivered = 0;
        self.smallest_rtt = Time::MAX;
    }

    /// What this round took for lost was not.
    pub fn forget_round(&mut self) {
        self.lost = 0;
        self.events = 0;
    }
}
