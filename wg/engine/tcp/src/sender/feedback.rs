//! What acknowledgments and timers do to the sending half: delivery, loss, recovery and its undoing.

use super::*;
use crate::congestion::Ack;
use crate::seq::before;
use crate::SEC;

/// RFC 8985 section 7.2: the tail probe waits two round trips, and longer when one segment may see a delayed acknowledgment.
const PROBE_ROUND_TRIPS: Time = 2;
/// A timer that comes later than this tells that this end did not run: its process was stopped, or its machine paused. What is
/// acknowledged then may have waited in its socket as long.
const OVERDUE: Time = SEC;

impl Sender {
    /// Nothing is in flight, and an acknowledgment of this says nothing new: the most common one at an end that only receives.
    pub fn unmoved(&self, position: u64, window: u64) -> bool {
        let quiet = self.board.is_empty() && self.persist_at.is_none() && self.tail.is_none();
        quiet && position == self.una && window > 0 && position + window == self.edge
    }

    pub fn on_ack(&mut self, now: Time, f: &Feedback) {
        if f.position < self.una || f.position > self.next {
            return;
        }
        self.notice_sleep(now);
        let waiting = self.persist_at.is_some();
        if f.window_valid {
            let edge = f.position + f.window;
            if edge > self.edge && self.persist_at.is_some() {
                self.persist_at = None;
                self.rtt.reset_backoff();
            }
            self.edge = edge;
            self.max_window = self.max_window.max(f.window);
        }
        let prior_pipe = self.board.pipe;
        let advanced = f.position > self.una;
        let (duplicate, blocks) = self.split_duplicate(f);
        let mut rtt = None;
        let minimum = self.rtt.minimum();
        let (offset, slept_until) = (self.stamp_offset, self.slept_until);
        let before_delivered = self.delivery.delivered;
        let repaired = advanced && self.board.first().is_some_and(|r| r.retransmitted && r.sent_at >= self.undo.since);
        {
            let Sender { board, rack, delivery, .. } = self;
            let mut each = |r: &Record| {
                delivery.delivered(now, r);
                let sent = ((r.sent_at / MS) as u32).wrapping_add(offset);
                rack.delivered(now, r, minimum, f.echo.is_some_and(|e| before(e, sent)));
                if !r.retransmitted && r.sent_at >= slept_until {
                    let sample = now.saturating_sub(r.sent_at);
                    rtt = Some(rtt.map_or(sample, |x: Time| x.min(sample)));
                }
            };
            board.acknowledge(f.position, &mut each);
            for &(start, end) in blocks {
                if start >= f.position && start < end && end <= self.next {
                    board.sack(start, end, &mut each);
                }
            }
        }
        let delivered = self.delivery.delivered - before_delivered;
        if let (None, true, Some(echo)) = (rtt, advanced, f.echo) {
            let ticks = self.stamp(now).wrapping_sub(echo);
            let sample = Time::from(ticks.max(1)) * MS;
            let awake = now >= slept_until + sample || slept_until == 0;
            rtt = (ticks < 1 << 16 && delivered > 0 && awake).then_some(sample);
        }
        if let Some(r) = rtt {
            self.rtt.sample(now, r);
        }
        if advanced {
            self.full_timeouts = 0;
            self.una = f.position;
            self.ring.advance(f.position);
            self.rack.acknowledged(f.position);
            self.rtt.reset_backoff();
        }
        // A peer that answers while its window is shut is alive (RFC 9293 section 3.8.6.1).
        let alive = !self.abandoned && (waiting || (f.window_valid && f.window == 0));
        if advanced || alive {
            self.stalled_since = (!self.board.is_empty() || self.persist_at.is_some()).then_some(now);
        }
        self.check_tail(now, f.position, duplicate);
        if duplicate {
            self.rack.duplicate_reported(self.next);
        }
        self.check_spurious(now, f, repaired, duplicate);
        self.finish_recovery(now);
        let found = self.detect(now);
        self.report(now, delivered, prior_pipe, rtt, found);
        if advanced || delivered > 0 {
            self.arm(now);
        }
    }

    fn report(&mut self, now: Time, delivered: u64, prior_pipe: u64, rtt: Option<Time>, found: (u64, u32)) {
        let ack = Ack {
            now,
            delivered,
            total_delivered: self.delivery.delivered,
            lost: found.0,
            losses: found.1,
            prior_pipe,
            pipe: self.board.pipe,
            rtt,
            smoothed: self.rtt.smoothed,
            rate: self.delivery.sample(),
            una: self.una,
            next: self.next,
            window_limited: prior_pipe * 2 >= self.control.window(),
        };
        if delivered > 0 || found.0 > 0 {
            self.control.on_ack(&ack);
        }
    }

    /// The first block may report a duplicate (RFC 2883 section 4).
    fn split_duplicate<'a>(&self, f: &Feedback<'a>) -> (bool, &'a [(u64, u64)]) {
        match f.sack {
            [first, rest @ ..] if first.1 <= f.position => (true, rest),
            [first, second, ..] if first.0 >= second.0 && first.1 <= second.1 => (true, &f.sack[1..]),
            all => (false, all),
        }
    }

    /// RACK over the flying records; enters recovery on loss.
    fn detect(&mut self, now: Time) -> (u64, u32) {
        let found =
            self.rack.detect(now, &mut self.board, self.recovery.is_some(), self.rtt.minimum(), self.rtt.smoothed);
        self.reorder_at = found.again_at;
        if found.lost > 0 {
            self.enter_recovery(now);
        }
        (found.lost, found.losses)
    }

    /// The network has marked what we sent, instead of dropping it: once a window, the answer is that to a loss (RFC 3168 section
    /// 6.1.2), unless loss is being answered already.
    pub fn marked(&mut self, now: Time) {
        if self.recovery.is_none() {
            self.control.on_marked(now, self.board.pipe);
        }
    }

    fn enter_recovery(&mut self, now: Time) {
        if self.recovery.is_none() {
            self.recovery = Some(Recovery { point: self.next, timeout: false });
            self.undo = Undo { armed: true, since: now, ..Undo::default() };
            self.control.on_recovery(now, self.board.pipe);
        }
    }

    fn finish_recovery(&mut self, now: Time) {
        if self.recovery.as_ref().is_some_and(|r| self.una >= r.point) {
            self.recovery = None;
            self.rack.recovery_ended();
            self.control.on_recovered(now);
        }
    }

    /// Eifel (RFC 3522) by timestamps, and counting DSACKs (RFC 3708). `repaired` when what was missing first has come, and was sent again
    /// since the reduction: what was sent again before it echoes an earlier time as well, and its coming says nothing.
    fn check_spurious(&mut self, now: Time, f: &Feedback, repaired: bool, duplicate: bool) {
        if !self.undo.armed {
            return;
        }
        let earlier_echo = match (self.undo.first_stamp, f.echo) {
            (Some(first), Some(echo)) => repaired && self.recovery.is_some() && before(echo, first),
            _ => false,
        };
        let mut all_duplicates = false;
        if duplicate && self.undo.retransmissions > 0 {
            self.undo.retransmissions -= 1;
            all_duplicates = self.undo.retransmissions == 0;
        }
        if earlier_echo || all_duplicates {
            self.undo.armed = false;
            self.control.on_spurious(now);
            if self.recovery.take().is_some_and(|r| r.timeout) {
                self.board.forgive();
            }
        }
    }

    /// RFC 8985 section 7.4: a probe that repaired a loss counts as one.
    fn check_tail(&mut self, now: Time, position: u64, duplicate: bool) {
        let Some((end, retransmission)) = self.tail else { return };
        if !retransmission || duplicate {
            if position >= end {
                self.tail = None;
            }
        } else if position > end || (position == end && self.board.is_empty()) {
            self.tail = None;
            if position > end && self.recovery.is_none() {
                self.control.on_recovery(now, self.board.pipe);
                self.control.on_recovered(now);
            }
        }
    }

    /// Restarts the retransmission and tail-probe timers (RFC 6298 section 5.3, RFC 8985 section 7.2).
    pub(super) fn arm(&mut self, now: Time) {
        if self.board.is_empty() {
            self.rto_at = None;
            self.probe_at = None;
            return;
        }
        let rto = now + self.rtt.rto();
        self.rto_at = Some(rto);
        self.probe_at = None;
        if self.recovery.is_none() && self.board.sacked_records() == 0 && self.tail.is_none() && self.rtt.smoothed > 0 {
            let one = self.board.len() == 1;
            let wait = PROBE_ROUND_TRIPS * self.rtt.smoothed + if one { DELAYED_ACK } else { 2 * MS };
            self.probe_at = (now + wait < rto).then_some(now + wait);
        }
    }

    /// Returns whether this end has just found that it did not run.
    fn notice_sleep(&mut self, now: Time) -> bool {
        let slept = self.rto_at.is_some_and(|t| now > t + OVERDUE);
        if slept {
            self.slept_until = now;
            // The peer was given no chance to make progress.
            self.stalled_since = self.stalled_since.map(|_| now);
        }
        slept
    }

    /// Handles what is due. False when the peer has been silent too long.
    pub fn on_timers(&mut self, now: Time, user_timeout: Time) -> bool {
        if self.notice_sleep(now) {
            // The acknowledgment may be here already, and only has not been read.
            self.arm(now);
        }
        let due = |t: Option<Time>| t.is_some_and(|t| t <= now);
        if due(self.reorder_at) {
            let prior = self.board.pipe;
            let found = self.detect(now);
            self.report(now, 0, prior, None, found);
        }
        if due(self.probe_at) {
            self.probe_at = None;
            self.send_tail = true;
        }
        if due(self.rto_at) {
            self.on_timeout(now);
        }
        if due(self.persist_at) {
            self.window_probe = true;
            self.overridden = true;
            self.rtt.back_off();
            self.persist_at = Some(now + self.rtt.rto());
        }
        self.stalled_since.is_none_or(|s| now < s + user_timeout)
    }

    fn on_timeout(&mut self, now: Time) {
        self.rto_at = None;
        if self.board.is_empty() {
            return;
        }
        if self.board.first().is_some_and(|r| r.fate == Fate::Sacked) {
            self.board.renege();
        }
        self.full_timeouts += u32::from(self.board.first().is_some_and(|r| r.length() >= self.mss));
        self.rack.mark_on_timeout(now, &mut self.board, self.una);
        if self.recovery.is_none() {
            self.undo = Undo { armed: true, since: now, ..Undo::default() };
        }
        self.recovery = Some(Recovery { point: self.next, timeout: true });
        self.control.on_timeout(now, self.board.pipe);
        self.rtt.back_off();
        self.tail = None;
        self.probe_at = None;
        self.pace_at = now;
        self.rto_at = Some(now + self.rtt.rto());
    }
}
