//! Many connections: demultiplexing, listening with a bounded backlog and SYN cookies, ports, timers.
//! Everything it keeps is bounded by [`Limits`].

mod bounds;
mod cookie;
mod filter;
mod path;
mod table;

use crate::budget::Budget;
use crate::connection::{Connection, Identity};
use crate::segment::{Burst, Options, Segment, ACK, FIN, NOT_ECT, RST, SYN};
use crate::siphash::{keyed, Purpose};
use crate::{Config, Error, State, Time, TIME_MAX};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use table::Table;

pub use bounds::{Counters, Limits};

/// Ephemeral ports (RFC 6335 section 6): the first, and how many, where the caller does not choose others.
const FIRST_PORT: u16 = 49_152;
const PORTS: u16 = 16_384;
/// Microseconds per tick of the ISN clock (RFC 6528 section 3: 4 microseconds).
const ISN_TICK: Time = 4;
/// Resets and cookies waiting to be sent, at most.
const MAX_REPLIES: usize = 512;
/// Stale handles in a queue before it is swept, beside one for each connection.
const STALE_MAX: usize = 64;

/// A connection inside a stack; a stale handle finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle {
    index: u32,
    generation: u32,
}

#[derive(Default)]
struct Listener {
    half_open: usize,
    ready: VecDeque<Handle>,
    /// The port is in `Stack::ready_ports`.
    announced: bool,
}

struct Entry {
    connection: Connection,
    /// Port of the listener while the application has not accepted it.
    pending: Option<u16>,
    /// The other end opened it.
    passive: bool,
    timer: Option<Time>,
    queued: bool,
    /// In `Stack::activity`.
    noticed: bool,
    /// The application has let go.
    orphan: bool,
    /// In `Stack::waiting`: an orphan in TIME-WAIT.
    waiting: bool,
}

/// Why a connection could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// No place or no memory for another connection.
    Full,
    /// Every ephemeral port is in use towards this address.
    NoPort,
    /// There is a connection between these two already.
    InUse,
}

/// A reply that belongs to no connection.
struct Reply {
    src: SocketAddr,
    dst: SocketAddr,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    options: Options,
}

/// Appends to a queue that holds each live connection at most once. A caller that never empties it must not make it grow by the
/// connections that have gone.
fn enqueue(queue: &mut VecDeque<Handle>, h: Handle, table: &Table<Entry>) {
    queue.push_back(h);
    if queue.len() > 2 * table.len() + STALE_MAX {
        queue.retain(|h| table.get(*h).is_some());
    }
}

/// Many connections behind one set of addresses.
pub struct Stack {
    config: Config,
    limits: Limits,
    secret: (u64, u64),
    table: Table<Entry>,
    listeners: BTreeMap<u16, Listener>,
    timers: BTreeSet<(Time, Handle)>,
    dirty: VecDeque<Handle>,
    replies: VecDeque<Reply>,
    /// What [`Stack::poll_activity`] has still to report; holds stale handles until it is swept.
    activity: VecDeque<Handle>,
    /// Orphans in TIME-WAIT, about in the order in which they came to it; holds stale handles until it is swept.
    waiting: VecDeque<Handle>,
    /// Of these, how many are not stale.
    waiting_count: usize,
    /// Ports with established connections that wait to be accepted, in turn.
    ready_ports: VecDeque<u16>,
    counters: Counters,
    budget: Budget,
    /// The latest time heard of; an earlier one counts as this.
    now: Time,
    last_cookie_at: Option<Time>,
    /// What connections to come start with.
    path_mtu: usize,
    next_port: u16,
    /// The first ephemeral port, and how many there are.
    ports: (u16, u16),
}

impl Stack {
    /// `secret` keys sequence numbers, ports and cookies (RFC 6528, RFC 6056, RFC 4987).
    pub fn new(config: Config, limits: Limits, secret: (u64, u64)) -> Self {
        Stack {
            config: config.bounded(),
            limits,
            secret,
            table: Table::new(secret),
            listeners: BTreeMap::new(),
            timers: BTreeSet::new(),
            dirty: VecDeque::new(),
            replies: VecDeque::new(),
            activity: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_count: 0,
            ready_ports: VecDeque::new(),
            counters: Counters::default(),
            budget: Budget::new(limits.buffer_bytes),
            now: 0,
            last_cookie_at: None,
            path_mtu: usize::MAX,
            next_port: 0,
            ports: (FIRST_PORT, PORTS),
        }
    }

    /// Connections in any state.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// There is no connection.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        Counters { buffer_growth_refused: self.budget.refused(), ..self.counters }
    }

    /// Bytes of all buffers now.
    pub fn buffer_bytes(&self) -> usize {
        self.budget.used()
    }

    /// Time does not go back: callers with an unsteady clock do no harm.
    fn clock(&mut self, now: Time) -> Time {
        self.counters.clock_went_back += u64::from(now < self.now);
        self.now = now.min(TIME_MAX).max(self.now);
        self.now
    }

    /// RFC 6528: a clock plus a keyed hash of the addresses; the timestamp offset likewise (RFC 7323 section 7.1).
    fn identity(&self, now: Time, local: SocketAddr, remote: SocketAddr) -> Identity {
        let h = keyed(self.secret, Purpose::Identity, &(local, remote));
        Identity { iss: (h as u32).wrapping_add((now / ISN_TICK) as u32), stamp_offset: (h >> 32) as u32 }
    }

    /// Connects from `count` ports from `first` on, cut at the last port there is; at least one.
    pub fn set_ephemeral_ports(&mut self, first: u16, count: u16) {
        let first = first.max(1);
        self.ports = (first, count.clamp(1, (u16::MAX - first).max(1)));
    }

    /// Whether there is a connection between these two.
    pub fn has_connection(&mut self, local: SocketAddr, remote: SocketAddr) -> bool {
        !self.is_empty() && self.table.find(local, remote).is_some()
    }

    /// Whether a segment from `remote` to `local` with these flags is for this stack, where there may be another: it belongs to a
    /// connection, or it opens one at a listener's port. Once cookies were sent, whatever else comes to such a port may bring one back.
    pub fn claims(&mut self, local: SocketAddr, remote: SocketAddr, flags: u8) -> bool {
        let opens = flags & (SYN | ACK | RST) == SYN || flags & SYN == 0 && self.last_cookie_at.is_some();
        opens && self.listeners.contains_key(&local.port()) || self.has_connection(local, remote)
    }

    /// Takes connections on a port; false when there are too many listeners or the port is taken.
    pub fn listen(&mut self, port: u16) -> bool {
        let room = self.listeners.len() < self.limits.listeners;
        room && self.listeners.insert(port, Listener::default()).is_none()
    }

    /// Stops listening and resets what nobody has accepted.
    pub fn unlisten(&mut self, port: u16) {
        if self.listeners.remove(&port).is_none() {
            return;
        }
        self.ready_ports.retain(|p| *p != port);
        for h in self.table.handles() {
            if let Some(e) = self.table.get_mut(h).filter(|e| e.pending == Some(port)) {
                // Another listener may have the port before this connection is gone.
                e.pending = None;
                self.abort(h);
            }
        }
    }

    /// The next established connection of a listener.
    pub fn accept(&mut self, port: u16) -> Option<Handle> {
        let listener = self.listeners.get_mut(&port)?;
        while let Some(h) = listener.ready.pop_front() {
            if let Some(e) = self.table.get_mut(h) {
                e.pending = None;
                self.counters.accepted += 1;
                // Whatever arrived before belongs to the application from now on.
                self.notice(h);
                return Some(h);
            }
        }
        None
    }

    /// The next established connection of any listener with its port; listeners take turns.
    pub fn accept_any(&mut self) -> Option<(u16, Handle)> {
        while let Some(port) = self.ready_ports.pop_front() {
            let accepted = self.accept(port);
            let Some(listener) = self.listeners.get_mut(&port) else { continue };
            listener.announced = !listener.ready.is_empty();
            if listener.announced {
                self.ready_ports.push_back(port);
            }
            if let Some(h) = accepted {
                return Some((port, h));
            }
        }
        None
    }

    /// A connection that an arrival, a timer or a transmission touched since it was last returned: its readable bytes, its room to
    /// send or its state may have changed. Each is returned once until it is touched again. Connections that nobody has accepted
    /// yet, or that the application has let go, are left out; an accepted one is reported at once.
    pub fn poll_activity(&mut self) -> Option<Handle> {
        while let Some(h) = self.activity.pop_front() {
            let Some(e) = self.table.get_mut(h) else { continue };
            e.noticed = false;
            if e.pending.is_none() && !e.orphan {
                return Some(h);
            }
        }
        None
    }

    /// Length of the queue behind [`poll_activity`](Self::poll_activity), stale handles included.
    pub fn activity_queued(&self) -> usize {
        self.activity.len()
    }

    /// The connection is reported by [`poll_activity`](Self::poll_activity).
    fn notice(&mut self, h: Handle) {
        let Some(e) = self.table.get_mut(h).filter(|e| !e.noticed) else { return };
        e.noticed = true;
        enqueue(&mut self.activity, h, &self.table);
    }

    /// Opens a connection from an ephemeral port (RFC 6056 section 3.3.3).
    pub fn connect(&mut self, now: Time, local: IpAddr, remote: SocketAddr) -> Result<Handle, OpenError> {
        let offset = keyed(self.secret, Purpose::Port, &(local, remote)) as u16;
        let (first, count) = self.ports;
        for _ in 0..count {
            let port = first + offset.wrapping_add(self.next_port) % count;
            self.next_port = self.next_port.wrapping_add(1);
            match self.connect_from(now, SocketAddr::new(local, port), remote) {
                Err(OpenError::InUse) => {}
                other => return other,
            }
        }
        Err(OpenError::NoPort)
    }

    /// Opens a connection from a chosen port.
    pub fn connect_from(&mut self, now: Time, local: SocketAddr, remote: SocketAddr) -> Result<Handle, OpenError> {
        if self.table.find(local, remote).is_some() {
            return Err(OpenError::InUse);
        }
        if self.full() {
            return Err(OpenError::Full);
        }
        let now = self.clock(now);
        let id = self.identity(now, local, remote);
        self.counters.opened += 1;
        Ok(self.insert(Connection::connect(self.config, local, remote, id), None))
    }

    /// Neither a place nor memory for another connection. A connection in TIME-WAIT that nobody holds gives up its place: at a
    /// minute each they would otherwise bound how many connections can begin in a second.
    fn full(&self) -> bool {
        self.table.len() - self.waiting_count >= self.limits.connections || self.budget.exhausted()
    }

    /// Ends the TIME-WAIT that began first.
    fn cut_time_wait(&mut self) {
        while let Some(h) = self.waiting.pop_front() {
            if self.table.get(h).is_some() {
                self.counters.time_wait_cut += 1;
                return self.remove(h);
            }
        }
    }

    fn insert(&mut self, mut connection: Connection, pending: Option<u16>) -> Handle {
        if self.table.len() >= self.limits.connections {
            self.cut_time_wait();
        }
        connection.charge_to(&self.budget);
        connection.set_mtu(self.now, self.path_mtu);
        let key = (connection.local, connection.remote);
        let entry = Entry {
            connection,
            pending,
            passive: pending.is_some(),
            timer: None,
            queued: false,
            noticed: false,
            orphan: false,
            waiting: false,
        };
        let h = self.table.insert(key, entry);
        self.touch(h);
        h
    }

    /// The connection is looked at again by [`poll_transmit`](Self::poll_transmit).
    fn touch(&mut self, h: Handle) {
        if let Some(e) = self.table.get_mut(h) {
            if !e.queued {
                e.queued = true;
                enqueue(&mut self.dirty, h, &self.table);
            }
        }
    }

    /// A connection; none for a stale handle.
    pub fn get(&self, h: Handle) -> Option<&Connection> {
        self.table.get(h).map(|e| &e.connection)
    }

    /// Mutable access; the connection is polled afterwards.
    pub fn get_mut(&mut self, h: Handle) -> Option<&mut Connection> {
        self.touch(h);
        self.table.get_mut(h).map(|e| &mut e.connection)
    }

    /// Lets go of a connection: it closes in order and disappears by itself.
    pub fn release(&mut self, now: Time, h: Handle) {
        let now = self.clock(now);
        if let Some(e) = self.table.get_mut(h) {
            e.orphan = true;
            e.connection.close(now);
            self.touch(h);
        }
    }

    /// Resets a connection and lets go of it.
    pub fn abort(&mut self, h: Handle) {
        if let Some(e) = self.table.get_mut(h) {
            e.orphan = true;
            e.connection.abort();
            self.touch(h);
        }
    }

    /// Takes an IP packet; the connection it touched, if any. Listeners take any local address: packets for other hosts are the
    /// caller's to hold back.
    pub fn handle_packet(&mut self, now: Time, packet: &[u8]) -> Option<Handle> {
        let now = self.clock(now);
        self.counters.packets_in += 1;
        let Ok(s) = Segment::parse(packet, self.config.verify_checksums) else {
            self.counters.malformed += 1;
            return None;
        };
        let Some(h) = self.table.find(s.dst, s.src) else { return self.handle_unknown(now, &s) };
        self.deliver(now, h, &s);
        Some(h)
    }

    fn deliver(&mut self, now: Time, h: Handle, s: &Segment) {
        let Some(e) = self.table.get_mut(h) else { return };
        let was_opening = e.connection.state() == State::SynReceived;
        // A new SYN may reuse a connection in TIME-WAIT (RFC 6191, RFC 9293 section 3.10.7.4).
        let reuse =
            e.connection.state() == State::TimeWait && s.flags & (SYN | ACK | RST) == SYN && e.connection.is_newer(s);
        // What the application has not read yet is not thrown away for it.
        let reuse = reuse && e.connection.receive_ready() == 0;
        if reuse {
            self.remove(h);
            self.handle_unknown(now, s);
            return;
        }
        e.connection.handle_segment(now, s);
        let open = was_opening && e.connection.is_established();
        if let (true, Some(port)) = (open, e.pending) {
            if let Some(l) = self.listeners.get_mut(&port) {
                l.half_open = l.half_open.saturating_sub(1);
                l.ready.push_back(h);
                if !std::mem::replace(&mut l.announced, true) {
                    self.ready_ports.push_back(port);
                }
                self.counters.established += 1;
            }
        }
        self.touch(h);
        self.notice(h);
    }

    fn handle_unknown(&mut self, now: Time, s: &Segment) -> Option<Handle> {
        let port = s.dst.port();
        // No stack sends SYN with FIN.
        if s.has(RST) || s.has(SYN) && s.has(FIN) {
            return None;
        }
        let full = self.full();
        let Some(l) = self.listeners.get_mut(&port) else {
            self.refuse(s);
            return None;
        };
        let full = full || l.half_open + l.ready.len() >= self.limits.backlog;
        if s.flags & (SYN | ACK) == SYN {
            if full {
                self.counters.syn_dropped_backlog += 1;
                return None;
            }
            if l.half_open >= self.limits.half_open {
                self.offer_cookie(now, s);
                return None;
            }
            l.half_open += 1;
            let id = self.identity(now, s.dst, s.src);
            return Some(self.insert(Connection::accept(now, self.config, s, id), Some(port)));
        }
        if s.has(ACK) && !s.has(SYN) && !full {
            if let Some(h) = self.redeem_cookie(now, s) {
                self.counters.cookies_redeemed += 1;
                return Some(h);
            }
        }
        self.refuse(s);
        None
    }

    /// RFC 9293 section 3.10.7.1.
    fn refuse(&mut self, s: &Segment) {
        let (seq, ack, flags) =
            if s.has(ACK) { (s.ack, 0, RST) } else { (0, s.seq.wrapping_add(s.length() as u32), RST | ACK) };
        self.reply(Reply { src: s.dst, dst: s.src, seq, ack, flags, window: 0, options: Options::default() });
    }

    fn reply(&mut self, r: Reply) {
        if self.replies.len() >= MAX_REPLIES {
            self.counters.refused_replies_dropped += 1;
            return;
        }
        if r.flags & RST != 0 {
            self.counters.resets_sent += 1;
        } else {
            self.counters.cookies_sent += 1;
        }
        self.replies.push_back(r);
    }

    fn remove(&mut self, h: Handle) {
        let Some(e) = self.table.remove(h) else { return };
        self.waiting_count -= usize::from(e.waiting);
        if let Some(t) = e.timer {
            self.timers.remove(&(t, h));
        }
        if let Some(l) = e.pending.and_then(|p| self.listeners.get_mut(&p)) {
            let before = l.ready.len();
            l.ready.retain(|x| *x != h);
            if l.ready.len() == before {
                l.half_open = l.half_open.saturating_sub(1);
            }
        }
    }

    /// Hands every packet that is due to `out`, round-robin, until nothing is left or `out` returns false. What `out` was given
    /// counts as sent, also when it returns false.
    pub fn poll_transmit(&mut self, now: Time, mut out: impl FnMut(&Burst) -> bool) {
        let now = self.clock(now);
        while let Some(r) = self.replies.pop_front() {
            let b = Burst {
                src: r.src,
                dst: r.dst,
                seq: r.seq,
                ack: r.ack,
                flags: r.flags,
                window: r.window,
                options: r.options,
                ecn: NOT_ECT,
                segment_size: 1,
                head: &[],
                tail: &[],
            };
            if !out(&b) {
                return;
            }
        }
        while let Some(&(t, h)) = self.timers.first().filter(|x| x.0 <= now) {
            self.timers.remove(&(t, h));
            if let Some(e) = self.table.get_mut(h) {
                e.timer = None;
            }
            self.touch(h);
            self.notice(h);
        }
        while let Some(h) = self.dirty.pop_front() {
            let Some(e) = self.table.get_mut(h) else { continue };
            e.queued = false;
            if let Some(b) = e.connection.poll_transmit(now) {
                let more = out(&b);
                self.touch(h);
                self.notice(h);
                if !more {
                    return;
                }
                continue;
            }
            self.settle(h);
        }
    }

    /// A connection has nothing more to send now: notes its timer, or removes it.
    fn settle(&mut self, h: Handle) {
        let Some(e) = self.table.get_mut(h) else { return };
        let next = e.connection.poll_timeout();
        if matches!(e.connection.state(), State::TimeWait | State::Closed) || self.budget.scarce() {
            e.connection.trim();
        }
        if e.connection.is_done() && (e.orphan || e.pending.is_some()) {
            self.remove(h);
            return;
        }
        if e.orphan && !e.waiting && e.connection.state() == State::TimeWait {
            e.waiting = true;
            self.waiting_count += 1;
            enqueue(&mut self.waiting, h, &self.table);
        }
        let Some(e) = self.table.get_mut(h) else { return };
        if next != e.timer {
            let old = std::mem::replace(&mut e.timer, next);
            if let Some(t) = old {
                self.timers.remove(&(t, h));
            }
            if let Some(t) = next {
                self.timers.insert((t, h));
            }
        }
    }

    /// When [`poll_transmit`](Self::poll_transmit) wants to be called again.
    pub fn poll_timeout(&self) -> Option<Time> {
        if !self.dirty.is_empty() || !self.replies.is_empty() {
            return Some(0);
        }
        self.timers.first().map(|x| x.0)
    }

    /// Why a connection ended, once it has.
    pub fn error(&self, h: Handle) -> Option<Error> {
        self.get(h)?.error()
    }
}
