//! Explicit congestion notification (RFC 3168 section 6.1): both halves of one connection.

use super::*;
use crate::segment::{CWR, ECE, SYN};

/// What a connection knows of marks.
#[derive(Default)]
pub(super) struct Ecn {
    /// Our SYN asked for it.
    asked: bool,
    /// Both ends can.
    pub enabled: bool,
    /// A mark arrived and the peer has not said yet that it slowed down.
    echo: bool,
    /// We slowed down, and new data has to say so.
    answer: bool,
    /// One reduction a window: marks echoed below this are about data sent before the last one.
    reduced_at: u64,
}

impl Connection {
    /// Flags of our SYN or SYN-ACK. A SYN that was lost is repeated without: some devices drop what they do not know (section
    /// 6.1.1.1).
    pub(super) fn ecn_offer(&mut self, active: bool) -> u8 {
        if active {
            self.ecn.asked = self.config.ecn && self.opening.retries == 0;
            return if self.ecn.asked { ECE | CWR } else { 0 };
        }
        if self.ecn.enabled {
            ECE
        } else {
            0
        }
    }

    /// What the peer's SYN or SYN-ACK says.
    pub(super) fn ecn_take_syn(&mut self, flags: u8) {
        let both = flags & (ECE | CWR);
        self.ecn.enabled = self.config.ecn
            && match self.state {
                State::SynSent => self.ecn.asked && both == ECE,
                _ => both == ECE | CWR,
            };
    }

    /// A segment within the window.
    pub(super) fn ecn_arrive(&mut self, now: Time, s: &Segment, ack: u64) {
        if !self.ecn.enabled || s.has(SYN) {
            return;
        }
        if s.has(CWR) {
            self.ecn.echo = false;
        }
        if s.marked && !s.payload.is_empty() {
            self.ecn.echo = true;
            self.rcv.ack_now = true;
        }
        if s.has(ECE) && ack > self.ecn.reduced_at && self.snd.next > self.snd.una {
            self.ecn.reduced_at = self.snd.next;
            self.ecn.answer = true;
            self.snd.marked(now);
        }
    }

    /// Flags of every acknowledgment.
    pub(super) fn ecn_echo(&self) -> u8 {
        if self.ecn.echo {
            ECE
        } else {
            0
        }
    }

    /// New data says once that we slowed down.
    pub(super) fn ecn_answer(&mut self) -> u8 {
        if std::mem::take(&mut self.ecn.answer) {
            CWR
        } else {
            0
        }
    }
}
