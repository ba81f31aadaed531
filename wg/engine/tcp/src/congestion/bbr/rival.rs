//! Beside a stream that fills the queue and gives way to loss, as CUBIC does, this one does the same for as long as that pays.
//!
//! Who the other is shows only in what it does: one that gives way leaves the share that CUBIC would have beside it, one that does
//! not takes whatever is left to it, and loss on the air goes on whatever is in flight. So giving way is tried, judged by what is in
//! flight from loss to loss, and given up for ever longer where it does not pay.
//!
//! One that fills a queue of several round trips takes what it wants without a loss of ours: what BBR may have in flight is less than lies
//! there already. Such a queue is joined first: the window grows until something is lost, and from there on as above.

use crate::congestion::{Ack, CongestionControl, Cubic};
use crate::Time;

/// Rounds without growth before a trial: a stream that is still finding its share has nothing to compare with.
const SETTLED_ROUNDS: u64 = 24;
/// Growth of the estimate that counts, in percent.
const SETTLED_GROWTH: u64 = 140;
/// Losses that come sooner than this many rounds after a reduction, so many in a row, are not answered by anybody.
const EARLY_ROUNDS: u64 = 6;
const EARLY_LOSSES: u32 = 3;
/// A trial has failed when the window is below this many percent of what it was when it began: the first part is for all losses, the
/// second is divided by their number. CUBIC beside us from nine tenths of a link to its half leaves more at each step.
const KEPT: u64 = 45;
const KEPT_AT_FIRST: u64 = 35;
/// A window this many percent of the one of the last loss has found nobody to share with.
const ALONE_GROWTH: u64 = 150;
/// Rounds of giving way after which it is asked again whether anybody is there.
const TERM: u64 = 1024;
/// Rounds until the next trial after one that failed, doubled each time, so many times at most.
const PATIENCE: u64 = 256;
const DOUBLINGS_MAX: u32 = 4;
/// Round trips above the smallest that mean that somebody keeps the queue filled, and up to which it is empty, in percent.
const FILLED: u64 = 125;
const EMPTY: u64 = 105;
/// And that no BBR, which keeps two round trips' worth at most, has filled it; so many steady rounds in a row, of an estimate that has not
/// grown for so many: two of us that just began fill more, until the first maxima are forgotten.
const OVERFULL: u64 = 280;
const OVERFULL_ROUNDS: u32 = 3;
const OVERFULL_SETTLED_ROUNDS: u64 = 16;

struct Trial {
    cubic: Cubic,
    since: u64,
    reduced: u64,
    early: u32,
    losses: u64,
    /// Nothing has been lost yet: the queue is being joined.
    joining: bool,
    /// The window of the last loss.
    peak: u64,
    /// The estimate of before, for when the trial fails.
    bandwidth: u64,
}

/// What has become of a trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// There is none, or it goes on.
    Going,
    /// It is over without a verdict: nobody is there, or it is time to look again.
    Over,
    /// It did not pay. The bandwidth was estimated at this before.
    Failed(u64),
}

#[derive(Default)]
pub struct Rival {
    /// The last round of steady sending found the queue filled.
    filled: bool,
    /// Steady rounds in a row that found more there than BBR leaves.
    overfull: u32,
    trial: Option<Trial>,
    /// No trial before this round, and how many have failed in a row.
    retry: u64,
    failures: u32,
    /// The window that trials are judged by; zero for none yet.
    reference: u64,
    settled: u64,
    settled_bandwidth: u64,
}

impl Rival {
    /// The controller that decides while giving way is tried.
    pub fn trial(&mut self) -> Option<&mut Cubic> {
        self.trial.as_mut().map(|t| &mut t.cubic)
    }

    pub fn trying(&self) -> bool {
        self.trial.is_some()
    }

    /// A round of steady sending, when what the last probe left has drained; the smallest round trips of it and of the path.
    pub fn on_steady_round(&mut self, smallest: Time, minimum: Time) {
        self.filled = above(smallest, minimum, FILLED);
        self.overfull = if above(smallest, minimum, OVERFULL) { self.overfull + 1 } else { 0 };
    }

    /// Somebody keeps more in the queue than BBR may have in flight.
    pub fn crowded_out(&self, round: u64) -> bool {
        self.overfull >= OVERFULL_ROUNDS && round >= self.retry && round >= self.settled + OVERFULL_SETTLED_ROUNDS
    }

    /// Begins a trial without a loss.
    pub fn join(&mut self, at: &Loss) {
        self.begin(at, true);
    }

    /// A round outside of trials, and the estimate.
    pub fn on_round(&mut self, round: u64, bandwidth: u64) {
        if bandwidth * 100 > self.settled_bandwidth * SETTLED_GROWTH {
            self.settled_bandwidth = bandwidth;
            self.settled = round;
        }
    }

    /// A round of a trial has ended.
    pub fn on_trial_round(&mut self, round: u64, smallest: Time, minimum: Time) -> Outcome {
        let Some(t) = &mut self.trial else { return Outcome::Going };
        if t.joining {
            t.cubic.take_room();
            return Outcome::Going;
        }
        if round > t.reduced + 1 && !above(smallest, minimum, EMPTY) {
            t.cubic.take_room();
        }
        let alone = t.cubic.window() * 100 > t.peak * ALONE_GROWTH;
        if !alone && round - t.since <= TERM {
            return Outcome::Going;
        }
        if !alone {
            self.failures = 0;
            self.reference = 0;
        }
        self.end(round);
        Outcome::Over
    }

    /// An acknowledgment during a trial.
    pub fn on_ack(&mut self, ack: &Ack) {
        if let Some(t) = &mut self.trial {
            t.cubic.on_ack(ack);
        }
    }

    /// A loss that ends a time without: begins a trial where one is due, and judges the one that there is.
    pub fn on_loss(&mut self, loss: &Loss) -> Outcome {
        let Some(t) = &mut self.trial else {
            if self.filled && loss.steady && loss.round >= self.retry && loss.round >= self.settled + SETTLED_ROUNDS {
                self.begin(loss, false);
            }
            return Outcome::Going;
        };
        let window = t.cubic.window();
        if std::mem::take(&mut t.joining) {
            self.reference = window;
        }
        t.losses += 1;
        t.early = if loss.round - t.reduced < EARLY_ROUNDS { t.early + 1 } else { 0 };
        let shrunk = window * 100 < self.reference * (KEPT + KEPT_AT_FIRST / t.losses);
        if t.early >= EARLY_LOSSES || shrunk {
            return self.fail(loss.round);
        }
        t.reduced = loss.round;
        t.peak = window;
        t.cubic.on_recovery(loss.now, loss.pipe);
        Outcome::Going
    }

    fn begin(&mut self, loss: &Loss, joining: bool) {
        let mut cubic = Cubic::taking_over(loss.mss, loss.window.min(loss.pipe).max(loss.mss));
        let peak = cubic.window();
        if self.reference == 0 {
            self.reference = peak;
        }
        if !joining {
            cubic.on_recovery(loss.now, loss.pipe);
        }
        let (since, reduced, bandwidth) = (loss.round, loss.round, loss.bandwidth);
        self.trial = Some(Trial { cubic, since, reduced, early: 0, losses: 0, joining, peak, bandwidth });
    }

    /// Ends a trial that does not pay.
    pub fn fail(&mut self, round: u64) -> Outcome {
        let Some(bandwidth) = self.trial.as_ref().map(|t| t.bandwidth) else { return Outcome::Going };
        self.end(round);
        self.reference = 0;
        self.retry = round + (PATIENCE << self.failures);
        self.failures = (self.failures + 1).min(DOUBLINGS_MAX);
        Outcome::Failed(bandwidth)
    }

    fn end(&mut self, round: u64) {
        self.trial = None;
        self.filled = false;
        self.overfull = 0;
        self.settled = round;
        self.settled_bandwidth = 0;
    }
}

/// The situation that a loss is found in.
pub struct Loss {
    pub now: Time,
    pub round: u64,
    pub mss: u64,
    pub window: u64,
    pub pipe: u64,
    pub bandwidth: u64,
    /// The window was that of the cycle, and not one of start-up or of a search for the smallest round trip.
    pub steady: bool,
}

/// A round trip that is more than this many percent of the smallest; false when there was none.
fn above(rtt: Time, minimum: Time, percent: u64) -> bool {
    rtt != Time::MAX && rtt.saturating_mul(100) > minimum.saturating_mul(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u64 = 1_000;
    const WINDOW: u64 = 100 * MSS;
    const MIN_RTT: Time = 50_000;
    const QUEUED: Time = MIN_RTT * 2;
    const BANDWIDTH: u64 = 1_000_000;

    fn loss(round: u64, window: u64) -> Loss {
        Loss { now: round * MIN_RTT, round, mss: MSS, window, pipe: window, bandwidth: BANDWIDTH, steady: true }
    }

    /// One that has found its share beside somebody who keeps the queue filled.
    fn settled() -> Rival {
        let mut rival = Rival::default();
        rival.on_round(1, BANDWIDTH);
        rival.on_steady_round(QUEUED, MIN_RTT);
        rival
    }

    /// Loses at `round`; a recovery later the window is what is left of it.
    fn lose(rival: &mut Rival, round: u64) -> Outcome {
        let outcome = rival.on_loss(&loss(round, WINDOW));
        if let Some(cubic) = rival.trial() {
            cubic.on_recovered(round * MIN_RTT);
        }
        outcome
    }

    #[test]
    fn a_trial_needs_a_filled_queue_and_an_estimate_that_stands() {
        let mut empty = Rival::default();
        empty.on_round(1, BANDWIDTH);
        empty.on_steady_round(MIN_RTT * FILLED / 100, MIN_RTT);
        lose(&mut empty, 100);
        assert!(!empty.trying());

        let mut unsteady = settled();
        unsteady.on_loss(&Loss { steady: false, ..loss(100, WINDOW) });
        assert!(!unsteady.trying());

        let mut growing = settled();
        growing.on_round(90, BANDWIDTH * 2);
        lose(&mut growing, 100);
        assert!(!growing.trying());
        lose(&mut growing, 90 + SETTLED_ROUNDS);
        assert!(growing.trying());
    }

    #[test]
    fn a_trial_gives_way_as_cubic_does() {
        let mut rival = settled();
        lose(&mut rival, 100);
        assert_eq!(rival.trial().map(|cubic| cubic.window()), Some(WINDOW * 7 / 10));
    }

    #[test]
    fn a_share_that_shrinks_ends_a_trial_and_gives_the_estimate_back() {
        let mut rival = settled();
        lose(&mut rival, 100);
        // Seven tenths of what it was, where the first loss has to leave eight.
        assert_eq!(lose(&mut rival, 100 + EARLY_ROUNDS), Outcome::Failed(BANDWIDTH));
        assert!(!rival.trying());
    }

    #[test]
    fn losses_that_come_whatever_is_in_flight_end_a_trial() {
        let mut rival = settled();
        lose(&mut rival, 100);
        let mut outcomes = Vec::new();
        for step in 1..=EARLY_LOSSES as u64 {
            let window = |rival: &mut Rival| rival.trial().map_or(WINDOW, |cubic| cubic.window());
            while window(&mut rival) < WINDOW {
                rival.trial().expect("a trial").take_room();
            }
            outcomes.push(lose(&mut rival, 100 + step * (EARLY_ROUNDS - 1)));
        }
        assert_eq!(outcomes, [Outcome::Going, Outcome::Going, Outcome::Failed(BANDWIDTH)]);
    }

    #[test]
    fn a_share_that_does_not_shrink_goes_on_and_is_looked_at_again_after_a_term() {
        let mut rival = settled();
        lose(&mut rival, 100);
        for round in 101..=100 + TERM {
            assert_eq!(rival.on_trial_round(round, QUEUED, MIN_RTT), Outcome::Going);
        }
        assert_eq!(rival.on_trial_round(101 + TERM, QUEUED, MIN_RTT), Outcome::Over);
        assert!(!rival.trying());
    }

    #[test]
    fn an_empty_queue_is_filled_until_nobody_is_found_there() {
        let mut rival = settled();
        lose(&mut rival, 100);
        let over = (101..150).find(|round| rival.on_trial_round(*round, MIN_RTT, MIN_RTT) == Outcome::Over);
        // From 0.7 of the window to 1.5 of it by an eighth a round, from the second round after the loss.
        assert_eq!(over, Some(108));
    }

    /// One beside somebody who keeps `rtt` of queue, at the first round that could see him for what he is.
    fn crowded(rtt: Time) -> Rival {
        let mut rival = Rival::default();
        rival.on_round(1, BANDWIDTH);
        for _ in 0..OVERFULL_ROUNDS {
            rival.on_steady_round(rtt, MIN_RTT);
        }
        rival
    }

    #[test]
    fn a_queue_is_joined_where_it_holds_more_than_bbr_leaves_and_the_estimate_stands() {
        let due = 1 + OVERFULL_SETTLED_ROUNDS;
        assert!(!crowded(MIN_RTT * OVERFULL / 100).crowded_out(due));
        let mut rival = crowded(MIN_RTT * 3);
        assert!(!rival.crowded_out(due - 1));
        assert!(rival.crowded_out(due));
        rival.on_steady_round(MIN_RTT * 2, MIN_RTT);
        assert!(!rival.crowded_out(due));
    }

    #[test]
    fn who_joins_a_queue_grows_until_the_first_loss_and_is_judged_from_there() {
        let mut rival = crowded(MIN_RTT * 3);
        rival.join(&loss(20, WINDOW));
        assert_eq!(rival.trial().map(|cubic| cubic.window()), Some(WINDOW));
        for round in 21..=26 {
            assert_eq!(rival.on_trial_round(round, MIN_RTT * 3, MIN_RTT), Outcome::Going);
        }
        let joined = rival.trial().map_or(0, |cubic| cubic.window());
        // An eighth a round.
        assert!(joined > WINDOW * 2, "{joined}");
        assert_eq!(lose(&mut rival, 27), Outcome::Going);
        let left = rival.trial().map_or(0, |cubic| cubic.window());
        assert!((joined * 69 / 100..=joined * 7 / 10 + 1).contains(&left), "{left} of {joined}");
        // Judged by what it had grown to: seven tenths of that is enough after one loss more, a half is not after two.
        let outcomes = [1, 2].map(|n| lose(&mut rival, 27 + n * EARLY_ROUNDS));
        assert_eq!(outcomes, [Outcome::Going, Outcome::Failed(BANDWIDTH)]);
    }

    #[test]
    fn each_failure_waits_for_longer_up_to_a_limit() {
        let mut rival = settled();
        let mut round = 100;
        for failures in 0..8 {
            lose(&mut rival, round);
            assert!(rival.trying(), "after {failures} failures");
            assert_eq!(rival.fail(round), Outcome::Failed(BANDWIDTH));
            let wait = PATIENCE << u32::min(failures, DOUBLINGS_MAX);
            rival.on_steady_round(QUEUED, MIN_RTT);
            lose(&mut rival, round + wait - 1);
            assert!(!rival.trying());
            round += wait;
        }
        assert_eq!(rival.fail(round), Outcome::Going);
    }

    #[test]
    fn no_round_trip_is_no_queue() {
        let mut rival = settled();
        rival.on_steady_round(Time::MAX, MIN_RTT);
        lose(&mut rival, 100);
        assert!(!rival.trying());
    }
}
