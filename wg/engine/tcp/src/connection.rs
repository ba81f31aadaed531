//! One connection (RFC 9293): its state and what the application may do.
//! What comes in is in `arrival`, what goes out in `departure`.

use crate::budget::Budget;
use crate::config::*;
use crate::receiver::Receiver;
use crate::segment::Segment;
use crate::sender::Sender;
use crate::seq::{wire, ORIGIN};
use crate::{earlier, Time, SEC, TIME_MAX};
use std::net::SocketAddr;

mod arrival;
mod departure;
mod ecn;
mod path;

/// Unanswered keepalive probes before the peer is given up, and the time between them.
const KEEPALIVE_PROBES: u32 = 6;
const KEEPALIVE_INTERVAL: Time = 10 * SEC;

/// RFC 9293 section 3.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Our SYN is out.
    SynSent,
    /// Their SYN came, our SYN-ACK is out.
    SynReceived,
    /// Both directions are open.
    Established,
    /// We have ended our direction; not yet acknowledged.
    FinWait1,
    /// We have ended our direction; theirs is open.
    FinWait2,
    /// They have ended their direction; ours is open.
    CloseWait,
    /// Both have ended; ours is not yet acknowledged.
    Closing,
    /// Both have ended, they first; ours is not yet acknowledged.
    LastAck,
    /// Both have ended; waits for what may still be in the network.
    TimeWait,
    /// Over.
    Closed,
}

/// Why a connection ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Nobody listens there.
    Refused,
    /// The peer reset it.
    Reset,
    /// The peer was silent too long.
    TimedOut,
    /// We reset it, or gave up opening it.
    Aborted,
    /// Somebody in charge does not allow it: the other end's administrator, or ours.
    Prohibited,
}

/// How a connection goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Congestion window, in bytes.
    pub window: u64,
    /// What is believed in the network, in bytes.
    pub in_flight: u64,
    /// Bytes a second; zero for no pacing.
    pub pacing_rate: u64,
    /// Smoothed round trip; zero before the first sample.
    pub round_trip: Time,
    /// Segments sent again.
    pub retransmissions: u64,
    /// What the peer may send, in bytes.
    pub receive_window: u64,
}

/// Retransmission of SYN or SYN-ACK.
struct Opening {
    due: bool,
    sent_at: Time,
    retries: u32,
    at: Option<Time>,
}

/// One connection. It is told the time, segments and what the application does; it says what to send and when to come back.
pub struct Connection {
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    state: State,
    error: Option<Error>,
    config: Config,
    /// The latest time heard of; an earlier one counts as this.
    now: Time,
    iss: u32,
    irs: u32,
    snd: Sender,
    rcv: Receiver,
    snd_shift: u8,
    rcv_shift: u8,
    timestamps: bool,
    sack: bool,
    /// Largest segment that both ends take, without options.
    agreed_mss: usize,
    /// Largest packet that the path takes, and until when a lower one is believed.
    path_mtu: usize,
    /// What the caller has said of the path.
    told_mtu: usize,
    path_mtu_until: Option<Time>,
    ecn: ecn::Ecn,
    /// TS.Recent and Last.ACK.sent (RFC 7323 section 4.3).
    recent: u32,
    recent_at: Time,
    last_ack: u64,
    /// SND.WL1: where the segment began that the peer's window was taken from.
    window_from: u64,
    opening: Opening,
    /// A reset to send, at this sequence number.
    reset: Option<(u32, bool)>,
    challenge_at: Time,
    heard_at: Time,
    /// Keepalive probes without an answer, and when the last of them was sent.
    probes: u32,
    probed_at: Time,
    keepalive_due: bool,
    /// End of TIME-WAIT or of an orphaned FIN-WAIT-2.
    close_at: Option<Time>,
}

/// Smallest shift that can express the largest window (RFC 7323 section 2).
fn shift_for(window: usize) -> u8 {
    (0..14).find(|s| window >> s <= 0xffff).unwrap_or(14)
}

/// Secrets and clocks of a new connection.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Initial sequence number (RFC 6528).
    pub iss: u32,
    /// Timestamp offset (RFC 7323 section 7.1).
    pub stamp_offset: u32,
}

impl Connection {
    fn new(config: Config, local: SocketAddr, remote: SocketAddr, id: Identity, state: State) -> Self {
        let config = config.bounded();
        let mss = config.mtu - if local.is_ipv4() { 40 } else { 60 };
        Connection {
            local,
            remote,
            state,
            error: None,
            config,
            now: 0,
            iss: id.iss,
            irs: 0,
            snd: Sender::new(&config, mss, id.iss, id.stamp_offset),
            rcv: Receiver::new(&config, mss),
            snd_shift: 0,
            rcv_shift: shift_for(config.receive_buffer_max),
            timestamps: true,
            sack: true,
            agreed_mss: mss,
            path_mtu: config.mtu,
            told_mtu: config.mtu,
            path_mtu_until: None,
            ecn: ecn::Ecn::default(),
            recent: 0,
            recent_at: 0,
            last_ack: ORIGIN,
            window_from: ORIGIN,
            opening: Opening { due: true, sent_at: 0, retries: 0, at: None },
            reset: None,
            challenge_at: 0,
            heard_at: 0,
            probes: 0,
            probed_at: 0,
            keepalive_due: false,
            close_at: None,
        }
    }

    /// An active open: the first transmission is a SYN.
    pub fn connect(config: Config, local: SocketAddr, remote: SocketAddr, id: Identity) -> Self {
        Connection::new(config, local, remote, id, State::SynSent)
    }

    /// A passive open: answers a SYN.
    pub fn accept(now: Time, config: Config, syn: &Segment, id: Identity) -> Self {
        let mut c = Connection::new(config, syn.dst, syn.src, id, State::SynReceived);
        let now = c.clock(now);
        c.take_syn(now, syn);
        c
    }

    /// Time does not go back: callers with an unsteady clock do no harm.
    fn clock(&mut self, now: Time) -> Time {
        self.now = now.min(TIME_MAX).max(self.now);
        self.now
    }

    /// Its buffers count against this budget.
    pub(crate) fn charge_to(&mut self, budget: &Budget) {
        self.snd.charge_to(budget);
        self.rcv.charge_to(budget);
    }

    /// The shift that a connection with this configuration announces.
    pub(crate) fn shift_of(config: &Config) -> u8 {
        shift_for(config.bounded().receive_buffer_max)
    }

    /// The SYN-ACK went out before this connection existed, as a cookie; its age is unknown.
    pub(crate) fn assume_answered(&mut self, now: Time) {
        let now = self.clock(now);
        self.rcv.advertise(0);
        self.opening = Opening { due: false, sent_at: now, retries: 1, at: Some(now + INITIAL_RTO) };
    }

    /// A SYN that may follow this connection out of TIME-WAIT: its timestamp or sequence number has moved on.
    pub(crate) fn is_newer(&self, s: &Segment) -> bool {
        match s.options.timestamps.filter(|_| self.timestamps) {
            Some((value, _)) => crate::seq::before(self.recent, value),
            None => crate::seq::before(wire(self.irs, self.rcv.next), s.seq),
        }
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it ended early, once it has.
    pub fn error(&self) -> Option<Error> {
        self.error
    }

    /// Nothing is left to do or say.
    pub fn is_done(&self) -> bool {
        self.state == State::Closed && self.reset.is_none()
    }

    /// The handshake is done and the end not reached.
    pub fn is_established(&self) -> bool {
        !matches!(self.state, State::SynSent | State::SynReceived | State::Closed)
    }

    /// Bytes that [`send`](Self::send) takes now.
    pub fn send_room(&self) -> usize {
        if self.can_send() {
            self.snd.room()
        } else {
            0
        }
    }

    fn can_send(&self) -> bool {
        matches!(self.state, State::SynSent | State::SynReceived | State::Established | State::CloseWait)
    }

    /// Queues data and says how much was taken.
    pub fn send(&mut self, data: &[u8]) -> usize {
        if self.can_send() {
            self.snd.write(data)
        } else {
            0
        }
    }

    /// The first contiguous free part of the send buffer, grown as [`send`](Self::send) would grow it; empty when nothing can be
    /// taken now. What is written there counts only after [`send_commit`](Self::send_commit).
    pub fn send_space(&mut self) -> &mut [u8] {
        if self.can_send() {
            self.snd.space()
        } else {
            &mut []
        }
    }

    /// Queues the first `n` bytes of [`send_space`](Self::send_space), at most all of it.
    pub fn send_commit(&mut self, n: usize) {
        if self.can_send() {
            self.snd.commit(n);
        }
    }

    /// Bytes that can be read now.
    pub fn receive_ready(&self) -> usize {
        self.rcv.ready()
    }

    /// Nothing more will come.
    pub fn receive_finished(&self) -> bool {
        self.rcv.ready() == 0 && (self.rcv.finished() || self.state == State::Closed)
    }

    /// What can be read in place; [`consume`](Self::consume) takes it.
    pub fn peek(&self) -> (&[u8], &[u8]) {
        self.rcv.peek(usize::MAX)
    }

    /// Takes `n` bytes, at most what is ready, off what can be read.
    pub fn consume(&mut self, now: Time, n: usize) {
        let now = self.clock(now);
        self.rcv.consume(now, n);
    }

    /// Reads what is ready and fits, and says how much that was.
    pub fn recv(&mut self, now: Time, out: &mut [u8]) -> usize {
        let (a, b) = self.rcv.peek(out.len());
        out[..a.len()].copy_from_slice(a);
        out[a.len()..a.len() + b.len()].copy_from_slice(b);
        let n = a.len() + b.len();
        if n > 0 {
            self.consume(now, n);
        }
        n
    }

    /// Ends our direction (RFC 9293 section 3.10.4).
    pub fn shutdown(&mut self) {
        match self.state {
            State::Established => self.state = State::FinWait1,
            State::SynReceived => {}
            State::CloseWait => self.state = State::LastAck,
            State::SynSent => self.fail(Error::Aborted),
            _ => return,
        }
        self.snd.finish();
    }

    /// Ends our direction and drops whatever still arrives.
    pub fn close(&mut self, now: Time) {
        let now = self.clock(now);
        self.rcv.discard = true;
        self.rcv.consume(now, self.rcv.ready());
        self.snd.abandoned = true;
        self.shutdown();
        if self.state == State::FinWait2 {
            self.close_at = Some(now + FIN_WAIT_2);
        }
    }

    /// Resets the connection (RFC 9293 section 3.10.5).
    pub fn abort(&mut self) {
        self.reset_by(Error::Aborted);
    }

    /// Resets the connection because it may no longer be.
    pub fn prohibit(&mut self) {
        self.reset_by(Error::Prohibited);
    }

    fn reset_by(&mut self, error: Error) {
        if !matches!(self.state, State::Closed | State::SynSent | State::TimeWait) {
            self.reset = Some((wire(self.iss, self.snd.next), true));
        }
        self.fail(error);
    }

    fn fail(&mut self, error: Error) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.error = Some(error);
        }
    }

    /// Gives buffers back while nothing is stored; for idle connections.
    pub fn trim(&mut self) {
        if self.state == State::Closed {
            self.snd.clear();
        }
        self.snd.trim();
        self.rcv.trim();
    }

    /// How it goes.
    pub fn figures(&self) -> Figures {
        let s = &self.snd;
        Figures {
            window: s.window(),
            in_flight: s.pipe(),
            pacing_rate: s.pacing_rate(),
            round_trip: s.rtt.smoothed,
            retransmissions: s.retransmissions,
            receive_window: self.rcv.window(),
        }
    }

    /// When [`poll_transmit`](Self::poll_transmit) wants to be called even if nothing arrives.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.reset.is_some() {
            return Some(0);
        }
        match self.state {
            State::Closed => return None,
            State::TimeWait => return if self.rcv.ack_now { Some(0) } else { self.close_at },
            State::SynSent | State::SynReceived if self.opening.due => return Some(0),
            State::SynSent | State::SynReceived => return self.opening.at,
            _ => {}
        }
        if self.rcv.ack_now || self.keepalive_due {
            return Some(0);
        }
        let stalled = self.snd.stalled_since.map(|s| s + self.config.user_timeout);
        let quiet = earlier(earlier(self.close_at, stalled), self.keepalive_at());
        earlier(quiet, earlier(self.rcv.ack_at, self.snd.deadline()))
    }

    fn keepalive_at(&self) -> Option<Time> {
        let idle = self.config.keepalive.filter(|_| self.snd.idle())?;
        Some(if self.probes == 0 { self.heard_at + idle } else { self.probed_at + KEEPALIVE_INTERVAL })
    }

    fn on_timers(&mut self, now: Time) {
        if self.close_at.is_some_and(|t| t <= now) {
            self.state = State::Closed;
            return;
        }
        if self.opening.at.is_some_and(|t| t <= now) {
            let limit = if self.state == State::SynSent { SYN_RETRIES } else { SYN_ACK_RETRIES };
            self.opening.at = None;
            self.opening.retries += 1;
            self.opening.due = true;
            if self.opening.retries > limit {
                self.opening.due = false;
                self.fail(Error::TimedOut);
            }
            return;
        }
        if !self.is_established() {
            return;
        }
        self.forget_mtu(now);
        let alive = self.snd.on_timers(now, self.config.user_timeout);
        self.check_black_hole(now);
        if !alive {
            self.reset = Some((wire(self.iss, self.snd.next), true));
            self.fail(Error::TimedOut);
            return;
        }
        if self.rcv.ack_at.is_some_and(|t| t <= now) {
            self.rcv.ack_now = true;
        }
        if self.keepalive_at().is_some_and(|t| t <= now) {
            self.probes += 1;
            self.probed_at = now;
            self.keepalive_due = true;
            if self.probes > KEEPALIVE_PROBES {
                self.fail(Error::TimedOut);
            }
        }
    }
}
