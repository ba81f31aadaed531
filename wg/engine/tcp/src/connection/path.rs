//! What the path takes: packets too big for it, paths that swallow them silently, and hosts that cannot be reached.

use super::*;
use crate::icmp::Verdict;
use crate::seq::position;

/// Packets that every path has to carry: those of RFC 8200 section 5, and for IPv4 what RFC 1191 section 3 takes for the least
/// that is worth believing (RFC 5927 section 7.3).
const FLOOR_V4: usize = 576;
const FLOOR_V6: usize = 1280;
/// After this long a larger size is tried again: one that a router has named (RFC 8201 section 4, RFC 1191 section 6.3), and one
/// that was guessed, since silence is more often an outage than a black hole.
const RETRY: Time = 600 * SEC;
const GUESS_RETRY: Time = 60 * SEC;
/// Timeouts in a row of full segments that mean a path which swallows them (RFC 4821 section 7.7), and the size then tried; below
/// that, twice as many and the floor.
const BLACK_HOLE_TIMEOUTS: u32 = 3;
const BLACK_HOLE_MTU: usize = 1280;
/// What routers that name no size may mean (RFC 1191 section 7.1), without those above what we send.
const PLATEAUS: [usize; 5] = [17_914, 8_166, 4_352, 2_002, 1_492];

impl Connection {
    fn headers(&self) -> usize {
        let ip_and_tcp = if self.local.is_ipv4() { 40 } else { 60 };
        ip_and_tcp + if self.timestamps { 12 } else { 0 }
    }

    fn floor(&self) -> usize {
        if self.local.is_ipv4() {
            FLOOR_V4
        } else {
            FLOOR_V6
        }
    }

    /// The path carries packets of this size, as far as is known: not above what the connection was set up with. What is in flight in
    /// larger ones counts as lost, without being taken for congestion, and goes again in smaller ones.
    pub fn set_mtu(&mut self, now: Time, mtu: usize) {
        let now = self.clock(now);
        self.told_mtu = mtu.clamp(MIN_MTU, self.config.mtu);
        self.path_mtu = self.told_mtu;
        self.path_mtu_until = None;
        self.resize(now);
    }

    /// The path carries packets again after an outage: whatever waits for its time to be sent once more is sent now. False when
    /// nothing waits.
    pub fn resume(&mut self, now: Time) -> bool {
        let now = self.clock(now);
        if self.opening.at.is_some() && self.opening.retries > 0 {
            self.opening.at = Some(now);
            return true;
        }
        self.is_established() && self.snd.resume(now)
    }

    /// A lower size, to be forgotten after a while.
    fn lower_mtu(&mut self, now: Time, mtu: usize, retry: Time) -> bool {
        let mtu = mtu.max(self.floor());
        if mtu >= self.path_mtu {
            return false;
        }
        self.path_mtu = mtu;
        self.path_mtu_until = Some(now + retry);
        self.resize(now);
        true
    }

    /// Segments follow the size of the path, within what the peer takes.
    pub(super) fn resize(&mut self, now: Time) {
        let mss = self.path_mtu.saturating_sub(self.headers()).max(MIN_MSS).min(self.agreed_mss);
        self.snd.resize(now, mss as u64);
    }

    pub(super) fn forget_mtu(&mut self, now: Time) {
        if self.path_mtu_until.is_some_and(|t| t <= now) {
            self.path_mtu_until = None;
            self.path_mtu = self.told_mtu;
            self.resize(now);
        }
    }

    /// Full segments time out again and again while nothing comes back: the path may swallow them (RFC 8899 section 4.2).
    pub(super) fn check_black_hole(&mut self, now: Time) {
        let large = self.path_mtu > BLACK_HOLE_MTU;
        let (needed, next) = if large { (1, BLACK_HOLE_MTU) } else { (2, self.floor()) };
        if self.snd.full_timeouts >= needed * BLACK_HOLE_TIMEOUTS {
            self.snd.full_timeouts = 0;
            if self.lower_mtu(now, next, GUESS_RETRY) {
                self.snd.try_again(now);
            }
        }
    }

    /// An ICMP error about a segment with this sequence number. False when no such segment can be on its way (RFC 5927 section
    /// 4.1), or it says nothing new.
    pub fn handle_icmp(&mut self, now: Time, seq: u32, verdict: Verdict) -> bool {
        let now = self.clock(now);
        if matches!(self.state, State::SynSent | State::SynReceived) {
            if seq != self.iss {
                return false;
            }
            // A hard error ends an attempt; a soft one does not, since it may pass (RFC 1122 section 4.2.3.9).
            let error = match verdict {
                Verdict::Refused => Error::Refused,
                Verdict::Prohibited => Error::Prohibited,
                _ => return false,
            };
            let opening = self.state == State::SynSent;
            if opening {
                self.fail(error);
            }
            return opening;
        }
        let at = position(self.iss, self.snd.una, seq);
        if !self.is_established() || at < self.snd.una || at >= self.snd.next {
            return false;
        }
        match verdict {
            Verdict::TooBig(mtu) => {
                let below = |p: &&usize| **p < self.path_mtu;
                let named = if mtu > 0 { mtu } else { PLATEAUS.iter().find(below).copied().unwrap_or(0) };
                self.lower_mtu(now, named, RETRY)
            }
            // An open connection outlives hard errors too: anyone can send one (RFC 5927 section 5.2).
            Verdict::Refused | Verdict::Prohibited | Verdict::Unreachable => false,
        }
    }
}
