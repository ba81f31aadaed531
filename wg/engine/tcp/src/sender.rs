//! The sending half: buffer, scoreboard, recovery, timers and pacing.

use crate::budget::Budget;
use crate::config::*;
use crate::congestion::{controller, CongestionControl};
use crate::delivery::Delivery;
use crate::rack::Rack;
use crate::ring::Ring;
use crate::rtt::Rtt;
use crate::scoreboard::{Fate, Record, Scoreboard};
use crate::seq::ORIGIN;
use crate::{earlier, Time, MS};

mod feedback;

/// Pacing credit that is kept when nothing was held back: the size of a burst after a pause.
const PACING_CREDIT: Time = 2 * MS;
/// The same while data waits for its time: a userspace timer comes 2 to 10 ms late on a busy machine, and what the sender was
/// kept from sending meanwhile is not lost.
const LATE_CREDIT: Time = 10 * MS;
/// What one pacing step sends: this much time's worth, and a segment at least. Two that leave together meet a full queue with one place:
/// with steps of a millisecond, two segments at least, a kernel's BBR that sends one by one left us 14 % of a link, with these 24.
const PACING_STEP: Time = MS / 4;

/// What an incoming acknowledgment says, in positions.
pub struct Feedback<'a> {
    pub position: u64,
    pub window: u64,
    /// The window may be taken from this segment (RFC 9293 section 3.10.7.4).
    pub window_valid: bool,
    pub sack: &'a [(u64, u64)],
    /// TSecr, and our own timestamp clock now (RFC 7323).
    pub echo: Option<u32>,
}

/// Something to transmit now.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    pub start: u64,
    pub end: u64,
    /// It was not sent before.
    pub fresh: bool,
}

struct Recovery {
    /// Ends when this is acknowledged.
    point: u64,
    timeout: bool,
}

/// What is needed to find out that a reduction was a mistake (RFC 3522, RFC 3708).
#[derive(Default)]
struct Undo {
    first_stamp: Option<u32>,
    retransmissions: u32,
    armed: bool,
    /// When the reduction was made.
    since: Time,
}

pub struct Sender {
    ring: Ring,
    pub una: u64,
    pub next: u64,
    fin: bool,
    /// Right edge of the peer's window, and the largest window seen.
    edge: u64,
    max_window: u64,
    pub mss: u64,
    nagle: bool,
    buffer_max: usize,
    board: Scoreboard,
    rack: Rack,
    pub rtt: Rtt,
    delivery: Delivery,
    control: Box<dyn CongestionControl>,
    recovery: Option<Recovery>,
    undo: Undo,
    /// Tail probe in flight: its end, and whether it was a retransmission (RFC 8985 section 7.4).
    tail: Option<(u64, bool)>,
    send_tail: bool,
    rto_at: Option<Time>,
    probe_at: Option<Time>,
    reorder_at: Option<Time>,
    /// When this end last found that it had not run: what was sent before tells no round trip.
    slept_until: Time,
    persist_at: Option<Time>,
    /// A zero-window probe is due, or a small window has been waited for long enough.
    pub window_probe: bool,
    overridden: bool,
    pace_at: Time,
    /// Pacing holds something back, or did until now.
    held_back: bool,
    last_sent: Time,
    /// Since when the oldest data has seen no progress.
    pub stalled_since: Option<Time>,
    stamp_offset: u32,
    pub retransmissions: u64,
    /// Timeouts of a full segment since anything was acknowledged.
    pub full_timeouts: u32,
    /// The application has let go: a peer that only keeps its window shut is not waited for without end.
    pub abandoned: bool,
}

impl Sender {
    pub fn new(config: &Config, mss: usize, seed: u32, stamp_offset: u32) -> Self {
        let start = ORIGIN + 1;
        Sender {
            ring: Ring::new(start),
            una: start,
            next: start,
            fin: false,
            edge: start,
            max_window: 0,
            mss: mss as u64,
            nagle: config.nagle,
            buffer_max: config.send_buffer_max,
            board: Scoreboard::default(),
            rack: Rack::default(),
            rtt: Rtt::default(),
            delivery: Delivery::default(),
            control: controller(config.algorithm, mss as u64, seed),
            recovery: None,
            undo: Undo::default(),
            tail: None,
            send_tail: false,
            rto_at: None,
            probe_at: None,
            reorder_at: None,
            slept_until: 0,
            persist_at: None,
            window_probe: false,
            overridden: false,
            pace_at: 0,
            held_back: false,
            last_sent: 0,
            stalled_since: None,
            stamp_offset,
            retransmissions: 0,
            full_timeouts: 0,
            abandoned: false,
        }
    }

    pub fn charge_to(&mut self, budget: &Budget) {
        self.ring.charge_to(budget);
    }

    /// Our timestamp clock (RFC 7323 section 5.4): one tick a millisecond.
    pub fn stamp(&self, now: Time) -> u32 {
        ((now / MS) as u32).wrapping_add(self.stamp_offset)
    }

    /// The segment size agreed on; nothing was sent before.
    pub fn set_mss(&mut self, config: &Config, mss: usize, seed: u32) {
        self.mss = mss as u64;
        self.control = controller(config.algorithm, mss as u64, seed);
    }

    /// Another segment size. What flies in larger ones is taken for lost, which says nothing about congestion.
    pub fn resize(&mut self, now: Time, mss: u64) {
        if mss == self.mss {
            return;
        }
        self.mss = mss;
        self.control.on_segment_size(mss);
        self.full_timeouts = 0;
        let mut lost = false;
        let mut next = self.board.oldest().map(|o| o.0);
        while let Some(id) = next {
            next = self.board.after(id).map(|o| o.0);
            if self.board.get(id).is_some_and(|r| r.length() > mss + 1) {
                self.board.mark_lost(id);
                lost = true;
            }
        }
        if lost {
            self.pace_at = self.pace_at.min(now);
        }
    }

    /// What has timed out may get through now: the timer starts afresh.
    pub fn try_again(&mut self, now: Time) {
        self.rtt.reset_backoff();
        if self.rto_at.is_some() {
            self.rto_at = Some(now + self.rtt.rto());
        }
    }

    /// The path carries packets again: what has timed out goes again now, and not when a timer that has backed off runs out. False
    /// when nothing has timed out.
    pub fn resume(&mut self, now: Time) -> bool {
        if !self.rtt.is_backed_off() {
            return false;
        }
        self.rtt.reset_backoff();
        self.rto_at = self.rto_at.map(|t| t.min(now));
        self.persist_at = self.persist_at.map(|t| t.min(now));
        true
    }

    /// Right edge of the peer's window.
    pub fn edge(&self) -> u64 {
        self.edge
    }

    pub fn max_window(&self) -> u64 {
        self.max_window
    }

    pub fn set_window(&mut self, window: u64) {
        self.edge = self.una + window;
        self.max_window = self.max_window.max(window);
    }

    pub fn window(&self) -> u64 {
        self.control.window()
    }

    pub fn pipe(&self) -> u64 {
        self.board.pipe
    }

    pub fn pacing_rate(&self) -> u64 {
        self.control.pacing_rate()
    }

    /// Queues data; the buffer follows the congestion window up to its cap.
    pub fn write(&mut self, data: &[u8]) -> usize {
        if self.fin {
            return 0;
        }
        if self.ring.free() < data.len() {
            self.ring.reserve(self.wanted_buffer());
        }
        self.ring.push(data)
    }

    /// The first contiguous part of the room, to be written in place; the buffer grows as for [`write`](Self::write).
    pub fn space(&mut self) -> &mut [u8] {
        if self.fin {
            return &mut [];
        }
        let wanted = self.wanted_buffer();
        if self.ring.free() < wanted / 2 {
            self.ring.reserve(wanted);
        }
        self.ring.space()
    }

    /// Queues the first `n` bytes of [`space`](Self::space) and says how many were taken.
    pub fn commit(&mut self, n: usize) -> usize {
        if self.fin {
            return 0;
        }
        self.ring.commit(n)
    }

    /// Room for two congestion windows beside what has arrived behind a hole, within the cap.
    fn wanted_buffer(&self) -> usize {
        let windows = self.control.window().saturating_mul(2).saturating_add(self.board.sacked_bytes);
        let wanted = windows.min(self.buffer_max as u64) as usize;
        wanted.max(MIN_BUFFER.min(self.buffer_max))
    }

    /// Bytes that [`write`](Self::write) takes now.
    pub fn room(&self) -> usize {
        if self.fin {
            return 0;
        }
        self.ring.grantable(self.wanted_buffer()) - self.ring.len()
    }

    pub fn unsent(&self) -> u64 {
        self.ring.end() + u64::from(self.fin) - self.next
    }

    pub fn finish(&mut self) {
        self.fin = true;
    }

    /// Our FIN is acknowledged.
    pub fn finished(&self) -> bool {
        self.fin && self.una > self.ring.end()
    }

    /// The application has ended our direction.
    pub fn finishing(&self) -> bool {
        self.fin
    }

    pub fn idle(&self) -> bool {
        self.board.is_empty() && self.unsent() == 0
    }

    pub fn trim(&mut self) {
        if self.ring.len() == 0 {
            self.ring.release();
        }
        self.board.shrink();
    }

    /// Nothing will be sent any more.
    pub fn clear(&mut self) {
        self.ring.clear();
        self.board = Scoreboard::default();
    }

    /// Payload of a chunk, and whether FIN and PSH belong on it.
    pub fn payload(&self, c: Chunk) -> (&[u8], &[u8], bool, bool) {
        let data_end = c.end.min(self.ring.end());
        let (a, b) = self.ring.slices(c.start, data_end.saturating_sub(c.start) as usize);
        (a, b, c.end > self.ring.end(), data_end == self.ring.end())
    }

    pub fn deadline(&self) -> Option<Time> {
        let mut t = earlier(earlier(self.rto_at, self.probe_at), earlier(self.reorder_at, self.persist_at));
        if self.has_work() {
            t = earlier(t, Some(self.pace_at));
        }
        t
    }

    /// Something could go out once pacing allows.
    fn has_work(&self) -> bool {
        if self.send_tail || self.window_probe {
            return true;
        }
        let window = self.control.window();
        if self.board.lost_bytes > 0 {
            return self.may_resend(window);
        }
        self.sendable(window) > 0
    }

    /// The window has room for a lost segment. Asked for a whole one, so that whoever waits and whoever sends agree whatever the
    /// length of the one that is next.
    fn may_resend(&self, window: u64) -> bool {
        self.board.pipe + self.mss <= window || self.board.pipe == 0
    }

    /// Bytes of new data that the windows allow now.
    fn sendable(&self, window: u64) -> u64 {
        let available = self.unsent();
        let usable = self.edge.saturating_sub(self.next);
        let mut budget = window.saturating_sub(self.board.pipe);
        if self.board.pipe == 0 {
            budget = budget.max(self.mss);
        }
        let n = available.min(usable).min(budget).min(MAX_BURST as u64);
        if n == 0 || self.board.len() >= MAX_RECORDS {
            return 0;
        }
        if n == available {
            let small = n % self.mss;
            let hold = self.nagle && small != 0 && !self.fin && !self.board.is_empty();
            return if hold { n - small } else { n };
        }
        if n >= self.mss {
            return n - n % self.mss;
        }
        // Sender's silly-window avoidance (RFC 9293 section 3.8.6.2.1).
        let half = n == usable && n * 2 >= self.max_window;
        if half || (self.board.is_empty() && (n < usable || self.overridden)) {
            n
        } else {
            0
        }
    }

    /// The next thing to send. It counts as sent.
    pub fn transmit(&mut self, now: Time) -> Option<Chunk> {
        if std::mem::take(&mut self.send_tail) {
            if let Some(c) = self.transmit_tail(now) {
                return Some(c);
            }
        }
        self.check_persist(now);
        if now < self.pace_at {
            self.held_back = self.has_work();
            return None;
        }
        let window = self.control.window();
        if let Some(id) = self.board.next_lost() {
            let r = *self.board.get(id)?;
            if !self.may_resend(window) {
                self.held_back = false;
                return None;
            }
            return Some(self.resend(now, id, r));
        }
        let pace = self.control.pacing_rate();
        let step = crate::congestion::carried(pace, PACING_STEP).max(self.mss);
        let mut n = self.sendable(window);
        if pace > 0 && n > step {
            n = step - step % self.mss;
        }
        if n == 0 {
            self.held_back = false;
            self.note_idle(window);
            return None;
        }
        if self.board.is_empty() && self.last_sent != 0 && now > self.last_sent + self.rtt.rto() {
            self.control.on_restart(now);
        }
        Some(self.send_new(now, n))
    }

    fn note_idle(&mut self, window: u64) {
        if self.unsent() == 0 && self.board.pipe < window {
            self.delivery.app_limited(self.board.pipe);
        }
    }

    /// Data waits for a window that is closed or too small (RFC 9293 section 3.8.6.1).
    fn check_persist(&mut self, now: Time) {
        if self.board.is_empty()
            && self.persist_at.is_none()
            && self.unsent() > 0
            && self.sendable(self.control.window()) == 0
        {
            self.persist_at = Some(now + self.rtt.rto());
            self.stalled_since.get_or_insert(now);
        }
    }

    fn send_new(&mut self, now: Time, n: u64) -> Chunk {
        let c = Chunk { start: self.next, end: self.next + n, fresh: true };
        if self.board.is_empty() {
            self.stalled_since = Some(now);
        }
        self.control.on_sent(now, n, self.board.pipe);
        // A FIN rides on the last segment of data, even a full one.
        let data_end = self.ring.end();
        let mut at = c.start;
        while at < c.end {
            let mut end = (at + self.mss).min(c.end);
            if end == data_end && c.end == data_end + 1 {
                end = c.end;
            }
            let snapshot = self.delivery.sent(now, self.board.pipe);
            self.board.push(at, end, now, snapshot);
            at = end;
        }
        self.next = c.end;
        self.persist_at = None;
        self.overridden = false;
        self.sent(now, n);
        c
    }

    fn resend(&mut self, now: Time, id: u64, r: Record) -> Chunk {
        self.control.on_sent(now, r.length(), self.board.pipe);
        let snapshot = self.delivery.sent(now, self.board.pipe);
        self.board.resend(id, now, snapshot);
        self.retransmissions += 1;
        self.undo.retransmissions += 1;
        let stamp = self.stamp(now);
        self.undo.first_stamp.get_or_insert(stamp);
        self.sent(now, r.length());
        Chunk { start: r.start, end: r.end, fresh: false }
    }

    /// RFC 8985 section 7.3: new data if possible, else the last segment again.
    fn transmit_tail(&mut self, now: Time) -> Option<Chunk> {
        let last = self.board.last_id()?;
        let fresh = self.unsent().min(self.edge.saturating_sub(self.next)).min(self.mss);
        let c = if fresh > 0 {
            self.tail = Some((self.next + fresh, false));
            self.send_new(now, fresh)
        } else {
            let r = *self.board.get(last).filter(|r| r.fate != Fate::Sacked)?;
            self.tail = Some((r.end, true));
            let undo = std::mem::take(&mut self.undo);
            let c = self.resend(now, last, r);
            self.undo = undo;
            c
        };
        self.probe_at = None;
        self.rto_at = Some(now + self.rtt.rto());
        Some(c)
    }

    fn sent(&mut self, now: Time, n: u64) {
        self.last_sent = now;
        let pace = self.control.pacing_rate();
        if pace > 0 {
            let credit = if self.held_back { LATE_CREDIT } else { PACING_CREDIT };
            let wait = (u128::from(n) * 1_000_000 / u128::from(pace)) as u64;
            self.pace_at = self.pace_at.max(now.saturating_sub(credit)) + wait;
        } else {
            self.pace_at = now;
        }
        if self.rto_at.is_none() {
            self.arm(now);
        } else if self.probe_at.is_some() {
            self.probe_at = None;
            let rto = self.rto_at;
            self.arm(now);
            self.rto_at = rto;
        }
    }
}
