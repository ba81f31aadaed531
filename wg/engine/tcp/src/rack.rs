//! RACK loss detection (RFC 8985 sections 5 and 6): the state and the reordering window.

use crate::scoreboard::{Record, Scoreboard};
use crate::{Time, MS};

/// Duplicate acknowledgments that mean loss while no reordering was seen (RFC 8985 section 6.2 step 4).
const DUP_THRESHOLD: usize = 3;
/// Round trips with recovery after which a widened window is forgotten (section 6.2 step 4).
const WINDOW_PERSISTENCE: u32 = 16;
/// The window never grows beyond this many quarters of the smallest round trip.
const MAX_WINDOW_QUARTERS: u64 = 255;
/// One wake-up serves all segments that fall due within this time.
const TIMER_SLACK: Time = MS;

#[derive(Default)]
pub struct Rack {
    /// Most recently sent record among those delivered.
    sent_at: Time,
    end: u64,
    rtt: Time,
    /// Highest position delivered.
    forward: u64,
    reordering_seen: bool,
    window_quarters: u64,
    persistence: u32,
    /// A DSACK counts once until this position is acknowledged.
    dsack_round: Option<u64>,
}

/// Outcome of a pass over the flying records.
#[derive(Default)]
pub struct Detection {
    pub lost: u64,
    pub losses: u32,
    /// When to look again.
    pub again_at: Option<Time>,
}

impl Rack {
    /// Steps 1 to 3 of section 6.2, for one record newly delivered. `echo_predates` says that the acknowledgment answers an earlier transmission.
    pub fn delivered(&mut self, now: Time, r: &Record, minimum: Option<Time>, echo_predates: bool) {
        let rtt = now.saturating_sub(r.sent_at);
        if r.retransmitted && (echo_predates || minimum.is_some_and(|m| rtt < m)) {
            return;
        }
        if r.end < self.forward && !r.retransmitted {
            self.reordering_seen = true;
        }
        self.forward = self.forward.max(r.end);
        if (r.sent_at, r.end) > (self.sent_at, self.end) {
            self.sent_at = r.sent_at;
            self.end = r.end;
        }
        self.rtt = if (r.sent_at, r.end) == (self.sent_at, self.end) { rtt } else { self.rtt };
    }

    /// A duplicate was reported: the window was too small (section 6.2 step 4).
    pub fn duplicate_reported(&mut self, next: u64) {
        if self.dsack_round.is_none() {
            self.dsack_round = Some(next);
            self.window_quarters = (self.window_quarters.max(1) + 1).min(MAX_WINDOW_QUARTERS);
            self.persistence = WINDOW_PERSISTENCE;
        }
    }

    pub fn acknowledged(&mut self, una: u64) {
        if self.dsack_round.is_some_and(|p| una >= p) {
            self.dsack_round = None;
        }
    }

    pub fn recovery_ended(&mut self) {
        self.persistence = self.persistence.saturating_sub(1);
        if self.persistence == 0 {
            self.window_quarters = 1;
        }
    }

    fn window(&self, board: &Scoreboard, recovering: bool, minimum: Option<Time>, smoothed: Time) -> Time {
        if !self.reordering_seen && (recovering || board.sacked_records() >= DUP_THRESHOLD) {
            return 0;
        }
        (self.window_quarters.max(1) * minimum.unwrap_or(0) / 4).min(smoothed)
    }

    /// Step 5: marks as lost what was sent long enough before something already delivered.
    pub fn detect(
        &self,
        now: Time,
        board: &mut Scoreboard,
        recovering: bool,
        minimum: Option<Time>,
        smoothed: Time,
    ) -> Detection {
        let mut found = Detection::default();
        let limit = self.rtt + self.window(board, recovering, minimum, smoothed);
        while let Some((id, r)) = board.oldest() {
            if (r.sent_at, r.end) >= (self.sent_at, self.end) {
                break;
            }
            let due = r.sent_at + limit;
            if due > now {
                found.again_at = Some(due + TIMER_SLACK);
                break;
            }
            found.lost += r.length();
            found.losses += 1;
            board.mark_lost(id);
        }
        found
    }

    /// What a retransmission timeout takes for lost (section 6.3): the first record, and all that are overdue.
    pub fn mark_on_timeout(&self, now: Time, board: &mut Scoreboard, una: u64) {
        let mut next = board.oldest().map(|o| o.0);
        while let Some(id) = next {
            next = board.after(id).map(|o| o.0);
            let Some(r) = board.get(id).copied() else { break };
            if r.start <= una || r.sent_at + self.rtt <= now {
                board.mark_lost(id);
            }
        }
    }
}
