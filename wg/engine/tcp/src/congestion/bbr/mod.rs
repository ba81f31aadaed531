//! BBR after the IETF draft (draft-ietf-ccwg-bbr): the model and gain cycle of version 1, with version 3's start-up that ends on loss.
//! Loss is judged against what the path loses anyway (see `loss`): less than that is ridden out, more ends a probe.
//!
//! The cycle is that of version 1 because its probes, every eight round trips, make streams of ours meet at equal shares; with
//! version 3's, every two to three seconds, two of them stayed at 27 to 73 for as long as was simulated. A probe asks for some segments
//! beside its part, so that who has little asks for more of that: parts alone leave shares as they are where loss and not a standing queue
//! bounds everybody. Version 3's ceiling after a probe that lost is not taken over: a stream without one, as the kernel's, leaves a quarter to
//! one that has it. Beside streams that give way to loss it may give way itself (see `rival`).

mod loss;
mod rival;

use super::{carried, rate, Ack, CongestionControl};
use crate::config::INITIAL_WINDOW;
use crate::{Time, MS, SEC};
use loss::Losses;
use rival::{Loss, Outcome, Rival};

/// Gains in percent.
const STARTUP_GAIN: u64 = 277;
const DRAIN_GAIN: u64 = 36;
const STARTUP_WINDOW_GAIN: u64 = 200;
/// Initial windows that are delivered before the estimate bounds the window: it is a round trip old, and the third would bring half of a doubling.
const EARLY_WINDOWS: u64 = 4;
/// Of the rate at which a window leaves in a round trip, the least that start-up sends at: less would delay the doubling.
const STARTUP_WINDOW_PACE: u64 = 150;
const WINDOW_GAIN: u64 = 200;
const PROBE_RTT_WINDOW_GAIN: u64 = 50;
/// Rounds after which draining ends whatever is in flight: what start-up left is gone then. Where another keeps the queue filled, the flight at
/// the rate of draining is more than a queueless path holds of an estimate that falls with it, for ever.
const DRAIN_ROUNDS: u64 = 3;
const CYCLE: [u64; 8] = [125, 75, 100, 100, 100, 100, 100, 100];
const PROBE_UP: usize = 0;
/// Segments a round trip that a probe sends beside the cycle's part.
const PROBE_SEGMENTS: u64 = 6;
const PROBE_DOWN: usize = 1;
/// The first phase in which nothing of what the last probe sent is in the queue any more.
const STEADY: usize = 5;
/// Pace a little below the estimate so that queues drain.
const PACING_MARGIN: u64 = 99;
/// Rounds in the bandwidth maximum.
const BANDWIDTH_ROUNDS: usize = 10;
/// The pipe is full when this many rounds brought less than this growth.
const FULL_ROUNDS: u32 = 3;
const FULL_GROWTH: u64 = 125;
/// Of the estimate that a round has to bring to count among them, in percent.
const FULL_PERCENT: u64 = 75;
/// Version 3: needed loss events in a round, and the reduction.
const LOSS_EVENTS: u32 = 6;
const BETA: u64 = 70;
/// Each clean probe raises the ceiling to this many percent.
const CEILING_GROWTH: u64 = 200;
const MIN_RTT_WINDOW: Time = 10 * SEC;
/// The smallest round trip is looked for this often where others keep a queue filled: who came when it was full would take it for the
/// path's own, and more than a share.
const PROBE_RTT_INTERVAL: Time = 5 * SEC;
const PROBE_RTT_TIME: Time = 200 * MS;
const MIN_SEGMENTS: u64 = 4;
/// Round trip assumed for pacing before any sample.
const FIRST_RTT: Time = MS;
/// Rounds in the maximum of aggregated acknowledgments.
const EXTRA_ROUNDS: u64 = 5;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Startup,
    Drain,
    ProbeBandwidth,
    ProbeRtt,
}

pub struct Bbr {
    mss: u64,
    mode: Mode,
    window: u64,
    saved_window: u64,
    pacing: u64,
    /// The pacing rate still stands on [`FIRST_RTT`].
    paced_by_guess: bool,
    bandwidths: [u64; BANDWIDTH_ROUNDS],
    bandwidth: u64,
    /// Where this round's maximum goes, and whether the round has none yet.
    bandwidth_slot: usize,
    bandwidth_due: bool,
    round: u64,
    round_end: u64,
    min_rtt: Time,
    min_rtt_at: Time,
    probe_rtt_done: Option<Time>,
    full_bandwidth: u64,
    full_rounds: u32,
    full: bool,
    /// The round that ends draining at the latest.
    drain_end: u64,
    phase: usize,
    phase_at: Time,
    /// Most that may be in flight after losses, and what this round saw.
    ceiling: u64,
    losses: Losses,
    rival: Rival,
    /// A queue was seen in steady sending since the smallest round trip was last looked for.
    crowded: bool,
    conserve_until: Option<u64>,
    /// Acknowledged beyond the estimate in this epoch, and the windowed maximum.
    extra_at: Time,
    extra_delivered: u64,
    extra: [(u64, u64); 2],
    idle: bool,
    seed: u32,
}

impl Bbr {
    pub fn new(mss: u64, seed: u32) -> Self {
        let window = INITIAL_WINDOW * mss;
        Bbr {
            mss,
            mode: Mode::Startup,
            window,
            saved_window: 0,
            pacing: rate(window, FIRST_RTT) * STARTUP_GAIN / 100,
            paced_by_guess: true,
            bandwidths: [0; BANDWIDTH_ROUNDS],
            bandwidth: 0,
            bandwidth_slot: 0,
            bandwidth_due: false,
            round: 0,
            round_end: 0,
            min_rtt: Time::MAX,
            min_rtt_at: 0,
            probe_rtt_done: None,
            full_bandwidth: 0,
            full_rounds: 0,
            full: false,
            drain_end: 0,
            phase: 0,
            phase_at: 0,
            ceiling: u64::MAX,
            losses: Losses::default(),
            rival: Rival::default(),
            crowded: false,
            conserve_until: None,
            extra_at: 0,
            extra_delivered: 0,
            extra: [(0, 0); 2],
            idle: false,
            seed,
        }
    }

    fn pipe_size(&self, gain: u64) -> u64 {
        if self.min_rtt == Time::MAX {
            return INITIAL_WINDOW * self.mss;
        }
        carried(self.bandwidth, self.min_rtt) * gain / 100
    }

    /// Room for what segmentation offload and delayed acknowledgments hold back.
    fn quantum(&self) -> u64 {
        carried(self.pacing, MS).clamp(2 * self.mss, crate::config::MAX_BURST as u64)
    }

    fn target(&self, gain: u64) -> u64 {
        self.pipe_size(gain) + 3 * self.quantum()
    }

    fn update_round(&mut self, ack: &Ack) -> bool {
        let Some(sample) = ack.rate else { return false };
        if sample.prior_delivered < self.round_end {
            return false;
        }
        self.round_end = ack.total_delivered;
        self.round += 1;
        self.bandwidth_due = true;
        true
    }

    fn update_bandwidth(&mut self, ack: &Ack) {
        let Some(s) = ack.rate else { return };
        // A sample shorter than the path can be is compressed acknowledgments.
        if s.interval == 0 || (self.min_rtt != Time::MAX && s.interval < self.min_rtt) {
            return;
        }
        let measured = rate(s.delivered, s.interval);
        if !s.app_limited || measured >= self.bandwidth {
            // Only rounds that could show the bandwidth make older ones be forgotten: an application that trickles for a while
            // says nothing about the path.
            if std::mem::take(&mut self.bandwidth_due) {
                self.bandwidth_slot = (self.bandwidth_slot + 1) % BANDWIDTH_ROUNDS;
                self.bandwidths[self.bandwidth_slot] = 0;
            }
            let slot = &mut self.bandwidths[self.bandwidth_slot];
            *slot = measured.max(*slot);
        }
        self.bandwidth = self.bandwidths.iter().copied().max().unwrap_or(0);
    }

    /// Acknowledgments that arrive in clumps need a larger window.
    fn update_extra(&mut self, ack: &Ack) {
        let expected = carried(self.bandwidth, ack.now - self.extra_at);
        if self.extra_delivered <= expected {
            self.extra_delivered = 0;
            self.extra_at = ack.now;
        }
        self.extra_delivered += ack.delivered;
        let expected = carried(self.bandwidth, ack.now - self.extra_at);
        let extra = self.extra_delivered.saturating_sub(expected).min(self.window);
        let slot = (self.round / EXTRA_ROUNDS % 2) as usize;
        if self.extra[slot].1 != self.round / EXTRA_ROUNDS {
            self.extra[slot] = (0, self.round / EXTRA_ROUNDS);
        }
        self.extra[slot].0 = self.extra[slot].0.max(extra);
    }

    fn extra_acked(&self) -> u64 {
        if self.full {
            self.extra[0].0.max(self.extra[1].0).min(carried(self.bandwidth, 100 * MS))
        } else {
            0
        }
    }

    /// False when this round brought no growth.
    fn check_full(&mut self, app_limited: bool) -> bool {
        // A full pipe delivers what it holds in every round: one that brought less was held up by something else than the path.
        let held_up = self.losses.all() < self.pipe_size(FULL_PERCENT);
        if self.full || app_limited || held_up {
            return true;
        }
        if self.bandwidth * 100 >= self.full_bandwidth * FULL_GROWTH {
            self.full_bandwidth = self.bandwidth;
            self.full_rounds = 0;
            return true;
        }
        self.full_rounds += 1;
        self.full = self.full_rounds >= FULL_ROUNDS;
        false
    }

    /// Loss beyond what the path loses anyway ends start-up, as in version 3, and a probe; judged once a round.
    fn check_loss(&mut self, ack: &Ack, grew: bool) {
        let probing = self.probing();
        let heavy = self.losses.events() >= LOSS_EVENTS && self.losses.congested(self.mss, 0);
        let pipe = self.pipe_size(100);
        if heavy && self.mode == Mode::Startup && (!grew || self.losses.queue_seen(self.min_rtt)) {
            self.full = true;
            self.ceiling = pipe.max(ack.prior_pipe * BETA / 100);
        } else if heavy && probing {
            self.set_phase(PROBE_DOWN, ack.now);
        } else if probing && self.ceiling != u64::MAX {
            self.ceiling = self.ceiling.saturating_mul(CEILING_GROWTH) / 100;
        }
        if self.mode == Mode::ProbeBandwidth && self.phase >= STEADY {
            self.crowded |= self.losses.queue_seen(self.min_rtt);
            self.rival.on_steady_round(self.losses.smallest_rtt(), self.min_rtt);
            if self.rival.crowded_out(self.round) {
                let &mut Bbr { round, mss, window, bandwidth, .. } = self;
                let (now, pipe) = (ack.now, ack.pipe.max(window));
                self.rival.join(&Loss { now, round, mss, window, pipe, bandwidth, steady: true });
            }
        }
        let asking = self.mode == Mode::ProbeBandwidth && self.phase <= PROBE_DOWN;
        if !heavy && !asking {
            self.losses.learn();
        }
        self.losses.end_round();
    }

    fn probing(&self) -> bool {
        self.mode == Mode::ProbeBandwidth && self.phase == PROBE_UP
    }

    fn set_phase(&mut self, phase: usize, now: Time) {
        self.phase = phase;
        self.phase_at = now;
    }

    fn advance_cycle(&mut self, ack: &Ack) {
        let elapsed = ack.now - self.phase_at > self.min_rtt;
        let next = match self.phase {
            PROBE_UP => elapsed && (ack.lost > 0 || ack.prior_pipe >= self.pipe_size(125).min(self.ceiling)),
            PROBE_DOWN => elapsed || ack.prior_pipe <= self.pipe_size(100),
            _ => elapsed,
        };
        if next {
            self.set_phase((self.phase + 1) % CYCLE.len(), ack.now);
        }
    }

    fn enter_probe_bandwidth(&mut self, now: Time) {
        self.mode = Mode::ProbeBandwidth;
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Any phase but the draining one.
        let pick = (self.seed >> 16) as usize % (CYCLE.len() - 1);
        self.set_phase(if pick == 0 { PROBE_UP } else { pick + 1 }, now);
    }

    fn update_mode(&mut self, ack: &Ack) {
        if self.mode == Mode::Startup && self.full {
            self.mode = Mode::Drain;
            self.drain_end = self.round + DRAIN_ROUNDS;
        }
        if self.mode == Mode::Drain && (ack.pipe <= self.pipe_size(100) || self.round >= self.drain_end) {
            self.enter_probe_bandwidth(ack.now);
        }
        if self.mode == Mode::ProbeBandwidth {
            self.advance_cycle(ack);
        }
    }

    fn update_min_rtt(&mut self, ack: &Ack) {
        let window = if self.crowded { PROBE_RTT_INTERVAL } else { MIN_RTT_WINDOW };
        let expired = ack.now > self.min_rtt_at + window;
        if let Some(rtt) = ack.rtt {
            if rtt <= self.min_rtt || expired {
                self.min_rtt = rtt;
                self.min_rtt_at = ack.now;
            }
        }
        if expired && self.mode != Mode::ProbeRtt && !self.idle {
            self.saved_window = self.saved_window.max(self.window);
            self.mode = Mode::ProbeRtt;
            self.crowded = false;
            self.probe_rtt_done = None;
        }
        if self.mode == Mode::ProbeRtt {
            match self.probe_rtt_done {
                None if ack.pipe <= self.probe_rtt_window() => self.probe_rtt_done = Some(ack.now + PROBE_RTT_TIME),
                Some(at) if ack.now >= at => {
                    self.min_rtt_at = ack.now;
                    self.window = self.window.max(self.saved_window);
                    self.saved_window = 0;
                    if self.full {
                        self.enter_probe_bandwidth(ack.now);
                    } else {
                        self.mode = Mode::Startup;
                    }
                }
                _ => {}
            }
        }
        self.idle = false;
    }

    fn probe_rtt_window(&self) -> u64 {
        self.pipe_size(PROBE_RTT_WINDOW_GAIN).max(MIN_SEGMENTS * self.mss)
    }

    fn update_pacing(&mut self, ack: &Ack) {
        let gain = match self.mode {
            Mode::Startup => STARTUP_GAIN,
            Mode::Drain => DRAIN_GAIN,
            Mode::ProbeBandwidth => CYCLE[self.phase],
            Mode::ProbeRtt => 100,
        };
        let round_trip = ack.smoothed.max(1);
        let base = if self.bandwidth > 0 { self.bandwidth } else { rate(INITIAL_WINDOW * self.mss, round_trip) };
        let asked = if self.probing() { rate(PROBE_SEGMENTS * self.mss, round_trip) } else { 0 };
        let pacing = base * gain / 100 * PACING_MARGIN / 100 + asked;
        let window_rate = rate(self.window, round_trip);
        // The estimate is a round trip old: in start-up alone it would leave the window unused.
        let pacing = if self.full { pacing } else { pacing.max(window_rate * STARTUP_WINDOW_PACE / 100) };
        // What stood for the round trip before one was measured paces nothing any more.
        let first = std::mem::replace(&mut self.paced_by_guess, false);
        if self.full || pacing > self.pacing || self.bandwidth == 0 || first {
            self.pacing = pacing;
        }
    }

    /// Heavy loss outside of start-up: one round of sending what is delivered.
    fn conserve(&mut self, ack: &Ack) {
        let heavy = ack.lost > 0 && self.mode != Mode::Startup && self.losses.congested(self.mss, ack.prior_pipe);
        if heavy && self.conserve_until.is_none() {
            self.saved_window = self.saved_window.max(self.window);
            self.window = ack.pipe.max(MIN_SEGMENTS * self.mss);
            self.conserve_until = Some(self.round);
        } else if heavy {
            self.window = self.window.saturating_sub(ack.lost).max(self.mss);
        }
    }

    fn end_conservation(&mut self) {
        if self.conserve_until.take().is_some() && self.mode != Mode::ProbeRtt {
            self.window = self.window.max(self.saved_window);
            self.saved_window = 0;
        }
    }

    /// The other controller decides, and this one keeps its model of the path up to date.
    fn on_ack_in_trial(&mut self, ack: &Ack, round_start: bool) {
        self.rival.on_ack(ack);
        if let Some(rtt) = ack.rtt.filter(|rtt| *rtt <= self.min_rtt) {
            self.min_rtt = rtt;
            self.min_rtt_at = ack.now;
        }
        let mut outcome = Outcome::Going;
        if round_start {
            outcome = self.rival.on_trial_round(self.round, self.losses.smallest_rtt(), self.min_rtt);
            self.losses.end_round();
        }
        self.follow_trial(ack.now, outcome);
    }

    fn follow_trial(&mut self, now: Time, outcome: Outcome) {
        match outcome {
            Outcome::Going => {
                if let Some(cubic) = self.rival.trial() {
                    self.window = cubic.window();
                    // Until it has heard of a round trip it has no rate of its own.
                    if cubic.pacing_rate() > 0 {
                        self.pacing = cubic.pacing_rate();
                    }
                    self.saved_window = 0;
                    self.conserve_until = None;
                }
            }
            Outcome::Over => {
                self.ceiling = u64::MAX;
                self.enter_probe_bandwidth(now);
            }
            Outcome::Failed(bandwidth) => {
                let slot = &mut self.bandwidths[self.bandwidth_slot];
                *slot = bandwidth.max(*slot);
                self.bandwidth = self.bandwidth.max(*slot);
                self.enter_probe_bandwidth(now);
            }
        }
    }

    fn update_window(&mut self, ack: &Ack) {
        if self.conserve_until.is_some() {
            self.window = self.window.max(ack.pipe + ack.delivered);
        } else {
            let gain = if self.mode == Mode::Startup { STARTUP_WINDOW_GAIN } else { WINDOW_GAIN };
            let target = self.target(gain) + self.extra_acked();
            if self.full {
                self.window = (self.window + ack.delivered).min(target);
            } else if self.window < target || ack.total_delivered < EARLY_WINDOWS * INITIAL_WINDOW * self.mss {
                self.window += ack.delivered;
            }
        }
        self.window = self.window.max(MIN_SEGMENTS * self.mss);
        if self.mode == Mode::ProbeRtt {
            self.window = self.window.min(self.probe_rtt_window());
        }
        if self.mode != Mode::Startup {
            self.window = self.window.min(self.ceiling.max(MIN_SEGMENTS * self.mss));
        }
    }
}

impl CongestionControl for Bbr {
    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self) -> u64 {
        self.pacing
    }

    fn on_ack(&mut self, ack: &Ack) {
        self.losses.count(ack);
        let round_start = self.update_round(ack);
        self.update_bandwidth(ack);
        self.update_extra(ack);
        if self.rival.trying() {
            return self.on_ack_in_trial(ack, round_start);
        }
        self.conserve(ack);
        if round_start {
            let grew = self.check_full(ack.rate.is_some_and(|s| s.app_limited));
            self.check_loss(ack, grew);
            self.rival.on_round(self.round, self.bandwidth);
            if self.conserve_until.is_some_and(|r| self.round > r) {
                self.end_conservation();
            }
        }
        self.update_mode(ack);
        self.update_min_rtt(ack);
        self.update_pacing(ack);
        self.update_window(ack);
    }

    fn on_sent(&mut self, now: Time, bytes: u64, pipe: u64) {
        if let Some(cubic) = self.rival.trial() {
            cubic.on_sent(now, bytes, pipe);
        }
        if pipe == 0 {
            self.idle = true;
            self.extra_at = now;
            self.extra_delivered = 0;
        }
    }

    fn on_recovery(&mut self, now: Time, pipe: u64) {
        let &mut Bbr { round, mss, window, bandwidth, .. } = self;
        let steady = self.mode == Mode::ProbeBandwidth;
        let outcome = self.rival.on_loss(&Loss { now, round, mss, window, pipe, bandwidth, steady });
        self.follow_trial(now, outcome);
    }

    fn on_recovered(&mut self, now: Time) {
        if let Some(cubic) = self.rival.trial() {
            cubic.on_recovered(now);
            return self.follow_trial(now, Outcome::Going);
        }
        self.end_conservation();
    }

    fn on_timeout(&mut self, now: Time, pipe: u64) {
        let outcome = self.rival.fail(self.round);
        self.follow_trial(now, outcome);
        self.saved_window = self.saved_window.max(self.window);
        self.window = pipe + self.mss;
        self.full_bandwidth = 0;
        self.conserve_until = Some(self.round);
    }

    fn on_spurious(&mut self, now: Time) {
        self.losses.forget_round();
        if let Some(cubic) = self.rival.trial() {
            cubic.on_spurious(now);
            return self.follow_trial(now, Outcome::Going);
        }
        self.end_conservation();
    }

    fn on_restart(&mut self, _now: Time) {}

    /// As loss beyond the threshold: start-up and probes end, and the flight is bounded until a probe passes.
    fn on_marked(&mut self, now: Time, pipe: u64) {
        if let Some(cubic) = self.rival.trial() {
            cubic.on_marked(now, pipe);
            return self.follow_trial(now, Outcome::Going);
        }
        if self.mode == Mode::ProbeRtt {
            return;
        }
        self.full = true;
        self.ceiling = self.ceiling.min(pipe.max(self.pipe_size(100)) * BETA / 100);
        if self.probing() {
            self.set_phase(PROBE_DOWN, now);
        }
    }

    fn on_segment_size(&mut self, mss: u64) {
        self.mss = mss;
        if let Some(cubic) = self.rival.trial() {
            cubic.on_segment_size(mss);
        }
    }
}
