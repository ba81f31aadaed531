//! Beside a stream that fills the queue and gives way to loss, as CUBIC does, this one does the same for as long as that pays.
//!
//! Who the other is shows only in what it does: one that gives way leaves the share that CUBIC would have beside it, one that does
//! not takes whatever is left to it, and loss on the air goes on whatever is in flight. So giving way is tried, judged by what is in
//! flight from loss to loss and by whether the queue shrinks after one, and given up for ever longer where it does not pay.
//!
//! One that fills a queue of several round trips takes what it wants without a loss of ours: what BBR may have in flight is less than lies
//! there already. Such a queue is joined first: the window grows through two losses, and from there on as above.

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
const KEPT: u64 = 30;
const KEPT_AT_FIRST: u64 = 35;
/// What giving way begins from, in percent of what was in flight: BBR holds more than its share beside a stream that gives way, and CUBIC,
/// which both are from then on, would take a minute to even that out.
const HANDED_OVER: u64 = 65;
/// Round trips in so many rounds after a loss that are at most so many percent of those before it, or of the smallest, mean that others
/// gave way as well. So many losses in a row without that, and they do not.
const YIELD_ROUNDS: u64 = 4;
const YIELDED: u64 = 90;
const DRAINED: u64 = 110;
const UNYIELDING_LOSSES: u32 = 3;
/// A window this many percent of the one of the last loss has found nobody to share with.
const ALONE_GROWTH: u64 = 150;
/// So many rounds in a row without a queue mean the same. Fewer do not: two that have just given way leave one empty for a while.
const ALONE_ROUNDS: u64 = 64;
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
/// Joining goes on through so many losses. CUBIC has most of the queue then, gives way once at each, and would take a minute to even out
/// what is left between us after the first.
const JOINING_LOSSES: u32 = 2;

struct Trial {
    cubic: Cubic,
    since: u64,
    reduced: u64,
    early: u32,
    losses: u64,
    /// Losses until the queue is joined, zero for a trial that began with one.
    joining: u32,
    /// Rounds in a row that found the queue empty.
    empty: u64,
    /// The smallest round trip of the round before the last loss, and whether others were seen to give way after it.
    before: Time,
    yielded: Option<bool>,
    /// Losses in a row without that.
    unyielding: u32,
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
    /// The smallest round trip of the last round.
    smallest: Time,
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
        self.smallest = smallest;
        self.filled = above(smallest, minimum, FILLED);
        self.overfull = if above(smallest, minimum, OVERFULL) { self.overfull + 1 } else { 0 };
    }

    /// Somebody keeps more in the queue than BBR may have in flight.
    pub fn crowded_out(&self, round: u64) -> bool {
        self.overfull >= OVERFULL_ROUNDS && round >= self.retry && round >= self.settled + OVERFULL_SETTLED_ROUNDS
    }

    /// Begins a trial without a loss.
    pub fn join(&mut self, at: &Loss) {
        self.begin(at, JOINING_LOSSES);
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
        self.smallest = smallest;
        if t.joining > 0 {
            t.cubic.take_room();
            return Outcome::Going;
        }
        if round > t.reduced && round <= t.reduced + YIELD_ROUNDS {
            let yielded = !above(smallest, t.before, YIELDED) || !above(smallest, minimum, DRAINED);
            t.yielded = Some(yielded || t.yielded == Some(true));
        }
        t.empty = if above(smallest, minimum, EMPTY) { 0 } else { t.empty + 1 };
        let alone = t.empty > ALONE_ROUNDS || t.cubic.window() * 100 > t.peak * ALONE_GROWTH;
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
                self.begin(loss, 0);
            }
            return Outcome::Going;
        };
        let window = t.cubic.window();
        if t.joining > 0 {
            t.joining -= 1;
            self.reference = window;
        }
        t.losses += 1;
        t.unyielding = match t.yielded.take() {
            Some(true) => 0,
            Some(false) => t.unyielding + 1,
            None => t.unyielding,
        };
        t.before = self.smallest;
        t.early = if loss.round - t.reduced < EARLY_ROUNDS { t.early + 1 } else { 0 };
        let shrunk = window * 100 < self.reference * (KEPT + KEPT_AT_FIRST / t.losses);
        if t.early >= EARLY_LOSSES || t.unyielding >= UNYIELDING_LOSSES || shrunk {
            return self.fail(loss.round);
        }
        t.reduced = loss.round;
        t.empty = 0;
        t.peak = window;
        t.cubic.on_recovery(loss.now, loss.pipe);
        Outcome::Going
    }

    fn begin(&mut self, loss: &Loss, joining: u32) {
        let peak = loss.window.min(loss.pipe).max(loss.mss);
        let handed = if joining > 0 { peak } else { (peak * HANDED_OVER / 100).max(loss.mss) };
        let mut cubic = Cubic::taking_over(loss.mss, handed);
        if self.reference == 0 {
            self.reference = peak;
        }
        if joining == 0 {
            cubic.on_recovery(loss.now, loss.pipe);
        }
        let (since, reduced, bandwidth) = (loss.round, loss.round, loss.bandwidth);
        self.trial = Some(Trial {
            cubic,
            since,
            reduced,
            early: 0,
            losses: 0,
            joining,
            empty: 0,
            before: self.smallest,
            yielded: None,
            unyielding: 0,
            peak,
            bandwidth,
        });
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

/// A round trip that is more than this many percent of another; false when there was none.
fn above(rtt: Time, other: Time, percent: u64) -> bool {
    rtt != Time::MAX && rtt.saturating_mul(100) > other.saturating_mul(percent)
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
    fn a_trial_hands_over_and_gives_way_as_cubic_does() {
        let mut rival = settled();
        lose(&mut rival, 100);
        assert_eq!(rival.trial().map(|cubic| cubic.window()), Some(WINDOW * HANDED_OVER / 100 * 7 / 10));
    }

    #[test]
    fn a_share_that_shrinks_ends_a_trial_and_gives_the_estimate_back() {
        let mut rival = settled();
        lose(&mut rival, 100);
        // Less than a half of what it was, where the first loss has to leave two thirds.
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
    fn a_queue_that_stays_empty_means_that_nobody_is_there() {
        let mut rival = settled();
        lose(&mut rival, 100);
        for round in 101..=100 + ALONE_ROUNDS {
            assert_eq!(rival.on_trial_round(round, MIN_RTT, MIN_RTT), Outcome::Going);
        }
        assert_eq!(rival.on_trial_round(101 + ALONE_ROUNDS, MIN_RTT, MIN_RTT), Outcome::Over);

        let mut shared = settled();
        lose(&mut shared, 100);
        for round in 101..=100 + 4 * ALONE_ROUNDS {
            let rtt = if round % ALONE_ROUNDS == 0 { QUEUED } else { MIN_RTT };
            assert_eq!(shared.on_trial_round(round, rtt, MIN_RTT), Outcome::Going);
        }
    }

    /// What becomes of a trial with several losses after which the smallest round trip is `left`, of [`QUEUED`] before.
    fn losses_that_leave(left: Time, minimum: Time) -> Vec<Outcome> {
        let mut rival = settled();
        lose(&mut rival, 100);
        let mut outcomes = Vec::new();
        for loss in 1..=3 {
            let round = 100 + 20 * loss;
            for round in round - 19..=round {
                let rtt = if round % 20 == 2 { left } else { QUEUED };
                assert_eq!(rival.on_trial_round(round, rtt, minimum), Outcome::Going);
            }
            while rival.trial().is_some_and(|cubic| cubic.window() < WINDOW) {
                rival.trial().expect("a trial").take_room();
            }
            outcomes.push(lose(&mut rival, round));
        }
        outcomes
    }

    #[test]
    fn who_does_not_give_way_after_our_losses_ends_a_trial() {
        use Outcome::{Failed, Going};
        assert_eq!(losses_that_leave(QUEUED * YIELDED / 100, MIN_RTT), [Going, Going, Going]);
        assert_eq!(losses_that_leave(QUEUED * YIELDED / 100 + 1, MIN_RTT), [Going, Going, Failed(BANDWIDTH)]);
        // In a queue so short that there is nothing to see.
        assert_eq!(losses_that_leave(QUEUED, QUEUED * 100 / DRAINED + 1), [Going, Going, Going]);
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

    /// Grows for six rounds from `window` after `round`, an eighth a round.
    fn grow(rival: &mut Rival, round: u64, window: u64) -> u64 {
        for round in round + 1..=round + 6 {
            assert_eq!(rival.on_trial_round(round, MIN_RTT * 3, MIN_RTT), Outcome::Going);
        }
        let grown = rival.trial().map_or(0, |cubic| cubic.window());
        assert!(grown > window * 2, "{grown} of {window}");
        grown
    }

    #[test]
    fn who_joins_a_queue_grows_through_two_losses_and_is_judged_from_there() {
        let mut rival = crowded(MIN_RTT * 3);
        rival.join(&loss(20, WINDOW));
        assert_eq!(rival.trial().map(|cubic| cubic.window()), Some(WINDOW));
        let (mut window, mut round) = (WINDOW, 20);
        for _ in 0..JOINING_LOSSES {
            let joined = grow(&mut rival, round, window);
            round += 7;
            assert_eq!(lose(&mut rival, round), Outcome::Going);
            window = rival.trial().map_or(0, |cubic| cubic.window());
            assert!((joined * 69 / 100..=joined * 7 / 10 + 1).contains(&window), "{window} of {joined}");
        }
        // Joined: no room is taken any more.
        assert_eq!(rival.on_trial_round(round + 1, MIN_RTT * 3, MIN_RTT), Outcome::Going);
        assert_eq!(rival.trial().map(|cubic| cubic.window()), Some(window));
        // Judged by what it had grown to: a half of that is enough after two losses more, a third is not after three.
        let outcomes = [1, 2, 3].map(|n| lose(&mut rival, round + n * EARLY_ROUNDS));
        assert_eq!(outcomes, [Outcome::Going, Outcome::Going, Outcome::Failed(BANDWIDTH)]);
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
