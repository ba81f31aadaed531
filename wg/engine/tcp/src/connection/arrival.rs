//! Arriving segments (RFC 9293 section 3.10.7, with RFC 5961 and RFC 7323).

use super::*;
use crate::segment::{ACK, FIN, MAX_SACK, RST, SYN};
use crate::sender::Feedback;
use crate::seq::{before, position};

/// TS.Recent is not trusted after this long (RFC 7323 section 5.5).
const RECENT_LIFETIME: Time = 24 * 24 * 3600 * SEC;

impl Connection {
    /// Takes a segment whose addresses and ports belong to this connection.
    pub fn handle_segment(&mut self, now: Time, s: &Segment) {
        let now = self.clock(now);
        match self.state {
            State::Closed => {}
            State::SynSent => self.arrive_syn_sent(now, s),
            _ => self.arrive(now, s),
        }
    }

    /// Options of a SYN: what both sides have is used.
    pub(super) fn take_syn(&mut self, now: Time, s: &Segment) {
        let o = &s.options;
        self.irs = s.seq;
        self.ecn_take_syn(s.flags);
        self.timestamps = o.timestamps.is_some();
        self.sack = o.sack_permitted;
        match o.window_shift {
            Some(shift) => self.snd_shift = shift,
            None => {
                self.snd_shift = u8::MAX;
                self.rcv_shift = 0;
            }
        }
        if let Some((value, _)) = o.timestamps {
            self.recent = value;
            self.recent_at = now;
        }
        let v4 = self.local.is_ipv4();
        let default = if v4 { DEFAULT_MSS_V4 } else { DEFAULT_MSS_V6 };
        let ours = self.config.mtu - if v4 { 40 } else { 60 };
        let mss = o.mss.map_or(default, usize::from).max(MIN_MSS).min(ours) - if self.timestamps { 12 } else { 0 };
        self.agreed_mss = mss;
        let path = self.path_mtu.saturating_sub(if v4 { 40 } else { 60 } + if self.timestamps { 12 } else { 0 });
        self.snd.set_mss(&self.config, mss.min(path.max(MIN_MSS)), self.iss);
        self.snd.set_window(u64::from(s.window));
        self.heard_at = now;
    }

    fn shift(&self) -> u8 {
        if self.snd_shift == u8::MAX {
            0
        } else {
            self.snd_shift
        }
    }

    fn established(&mut self, now: Time) {
        self.state = if self.snd.finishing() { State::FinWait1 } else { State::Established };
        self.opening.at = None;
        self.opening.due = false;
        if self.opening.retries == 0 {
            let rtt = now.saturating_sub(self.opening.sent_at);
            self.snd.rtt.sample(now, rtt);
            self.rcv.sample(rtt);
        }
    }

    /// Section 3.10.7.3.
    fn arrive_syn_sent(&mut self, now: Time, s: &Segment) {
        let acceptable = s.has(ACK) && s.ack == self.iss.wrapping_add(1);
        if s.has(ACK) && !acceptable {
            if !s.has(RST) {
                self.reset = Some((s.ack, false));
            }
            return;
        }
        if s.has(RST) {
            if acceptable {
                self.fail(Error::Refused);
            }
            return;
        }
        if !s.has(SYN) {
            return;
        }
        self.take_syn(now, s);
        if acceptable {
            self.established(now);
            self.rcv.ack_now = true;
        } else {
            // Simultaneous open.
            self.state = State::SynReceived;
            self.opening.due = true;
            self.opening.retries = self.opening.retries.max(1);
        }
    }

    /// One challenge in a while (RFC 5961 section 7).
    fn challenge(&mut self, now: Time) {
        if now >= self.challenge_at {
            self.challenge_at = now + CHALLENGE_INTERVAL;
            self.rcv.ack_now = true;
        }
    }

    fn acceptable(&self, seq: u64, length: u64) -> bool {
        let (next, window) = (self.rcv.next, self.rcv.window());
        match (length, window) {
            (0, 0) => seq == next,
            (0, w) => seq >= next && seq < next + w || seq == next,
            (_, 0) => false,
            (l, w) => seq < next + w && seq + l > next,
        }
    }

    /// Section 3.10.7.4.
    fn arrive(&mut self, now: Time, s: &Segment) {
        let seq = position(self.irs, self.rcv.next, s.seq);
        if self.timestamps && !s.has(RST) {
            match s.options.timestamps {
                Some((value, _)) if before(value, self.recent) && now < self.recent_at + RECENT_LIFETIME => {
                    // PAWS. Bare acknowledgments are answered seldom: two ends that refuse each other's would never stop.
                    if s.length() == 0 {
                        self.challenge(now);
                    } else {
                        // Often the original of what came sooner when it was sent again: the sender wants to know.
                        self.rcv.repeated(seq, seq + s.length());
                    }
                    return;
                }
                None => return,
                _ => {}
            }
        }
        if self.state == State::SynReceived && s.has(SYN) && !s.has(RST) && seq == ORIGIN {
            if s.has(ACK) && s.ack == self.iss.wrapping_add(1) {
                // The other half of a simultaneous open.
                self.established(now);
                self.rcv.ack_now = true;
            } else {
                // Answered again, without a round-trip sample from it and without more time for the peer.
                self.opening.due = true;
                self.opening.retries = self.opening.retries.max(1);
            }
            return;
        }
        if !self.acceptable(seq, s.length()) {
            self.arrive_outside(now, s, seq);
            return;
        }
        if s.has(RST) {
            if seq == self.rcv.next {
                match self.state {
                    // Both directions had ended.
                    State::Closing | State::LastAck | State::TimeWait => self.state = State::Closed,
                    State::SynReceived => self.fail(Error::Refused),
                    _ => self.fail(Error::Reset),
                }
            } else {
                self.challenge(now);
            }
            return;
        }
        if s.has(SYN) {
            self.challenge(now);
            return;
        }
        if !s.has(ACK) {
            return;
        }
        self.heard_at = now;
        self.probes = 0;
        let ack = position(self.iss, self.snd.una, s.ack);
        if !self.opened(now, s, ack) {
            return;
        }
        if ack > self.snd.next || ack + self.snd.max_window() < self.snd.una {
            self.challenge(now);
            return;
        }
        self.take_stamp(now, s, seq);
        self.ecn_arrive(now, s, ack);
        self.take_ack(now, s, seq, ack);
        self.after_ack(now);
        if matches!(self.state, State::Closed) {
            return;
        }
        self.take_data(now, s, seq);
    }

    /// A segment outside the window: it is answered, and the ACK of an old one may still help. Nothing else of it is taken,
    /// since nobody has checked where it comes from (RFC 5961 section 5).
    fn arrive_outside(&mut self, now: Time, s: &Segment, seq: u64) {
        if s.has(RST) {
            return;
        }
        if s.has(SYN) {
            self.challenge(now);
            return;
        }
        self.heard_at = now;
        self.probes = 0;
        if s.length() == 0 {
            // Zero-window probe or keepalive.
            self.challenge(now);
        } else {
            self.rcv.repeated(seq, seq + s.length());
        }
        if self.state == State::TimeWait && s.has(FIN) {
            self.close_at = Some(now + self.config.time_wait);
        }
        let ack = position(self.iss, self.snd.una, s.ack);
        let adjoins = seq <= self.rcv.next && seq + s.length() + 1 >= self.rcv.next;
        if s.has(ACK) && self.is_established() && adjoins && ack <= self.snd.next {
            self.take_ack(now, s, seq, ack);
            self.after_ack(now);
        }
    }

    fn take_stamp(&mut self, now: Time, s: &Segment, seq: u64) {
        if let (true, Some((value, echo))) = (self.timestamps, s.options.timestamps) {
            if seq <= self.last_ack {
                self.recent = value;
                self.recent_at = now;
            }
            if !s.payload.is_empty() {
                let ticks = self.snd.stamp(now).wrapping_sub(echo);
                if ticks < 1 << 14 {
                    self.rcv.sample(Time::from(ticks.max(1)) * crate::MS);
                }
            }
        }
    }

    /// Leaves SYN-RECEIVED; false when the acknowledgment is not of our SYN.
    fn opened(&mut self, now: Time, s: &Segment, ack: u64) -> bool {
        if self.state != State::SynReceived {
            return true;
        }
        if ack != ORIGIN + 1 {
            self.reset = Some((s.ack, false));
            return false;
        }
        self.established(now);
        true
    }

    fn take_ack(&mut self, now: Time, s: &Segment, seq: u64, ack: u64) {
        let window = u64::from(s.window) << self.shift();
        // RFC 9293 section 3.10.7.4, and of two that say the same the one that opens the window, or closes it.
        let newer = ack > self.snd.una || seq > self.window_from;
        let same = ack == self.snd.una && seq == self.window_from;
        let window_valid = newer || same && (window == 0 || ack + window > self.snd.edge());
        if window_valid && ack >= self.snd.una {
            self.window_from = seq;
        }
        if s.options.sack_count == 0 && self.snd.unmoved(ack, window) {
            return;
        }
        let mut blocks = [(0, 0); MAX_SACK];
        let mut count = 0;
        if self.sack {
            for (slot, &(a, b)) in blocks.iter_mut().zip(s.options.sack_blocks()) {
                *slot = (position(self.iss, self.snd.una, a), position(self.iss, self.snd.una, b));
                count += 1;
            }
        }
        let feedback = Feedback {
            position: ack,
            window,
            window_valid,
            sack: &blocks[..count],
            echo: s.options.timestamps.filter(|_| self.timestamps).map(|t| t.1),
        };
        self.snd.on_ack(now, &feedback);
    }

    /// Our FIN may have been acknowledged.
    fn after_ack(&mut self, now: Time) {
        if !self.snd.finished() {
            return;
        }
        match self.state {
            State::FinWait1 => {
                self.state = State::FinWait2;
                if self.rcv.discard {
                    self.close_at = Some(now + FIN_WAIT_2);
                }
            }
            State::Closing => self.time_wait(now),
            State::LastAck => self.state = State::Closed,
            _ => {}
        }
    }

    fn time_wait(&mut self, now: Time) {
        self.state = State::TimeWait;
        self.close_at = Some(now + self.config.time_wait);
    }

    fn take_data(&mut self, now: Time, s: &Segment, seq: u64) {
        if !matches!(self.state, State::Established | State::FinWait1 | State::FinWait2) {
            if s.length() > 0 {
                self.rcv.ack_now = true;
            }
            return;
        }
        // RFC 1122 section 4.2.2.13: who has closed both directions will never read it, so the sender must know. Not before it has
        // acknowledged all that we had to say.
        let unread = self.rcv.discard && seq + s.payload.len() as u64 > self.rcv.next;
        if unread && self.state == State::FinWait2 && !s.payload.is_empty() {
            return self.abort();
        }
        if s.length() > 0 {
            self.rcv.accept(now, seq, s.payload, s.has(FIN));
        }
        if self.rcv.finished() {
            match self.state {
                State::Established => self.state = State::CloseWait,
                State::FinWait1 => self.state = State::Closing,
                State::FinWait2 => self.time_wait(now),
                _ => {}
            }
        }
    }
}
