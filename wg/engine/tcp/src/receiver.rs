//! The receiving half: reassembly, acknowledgment policy, SACK and DSACK, window autotuning.

use crate::budget::Budget;
use crate::config::*;
use crate::range::RangeSet;
use crate::ring::Ring;
use crate::segment::{Options, MAX_SACK};
use crate::seq::{wire, ORIGIN};
use crate::{Time, MS};

/// Ranges that changed since the last acknowledgment, and are remembered until one has told of them; beyond that the oldest are forgotten.
const UNTOLD_MAX: usize = 512;
/// Room for growth that the window keeps above what was read in a round trip, in segments.
const WINDOW_SLACK: u64 = 16;

pub struct Receiver {
    ring: Ring,
    /// RCV.NXT.
    pub next: u64,
    out_of_order: RangeSet,
    fin: Option<u64>,
    /// The application reads no more; data is acknowledged and dropped.
    pub discard: bool,
    target: u64,
    max: u64,
    /// Right edge last advertised.
    edge: u64,
    mss: u64,
    /// Positions inside the ranges that changed last, newest first (RFC 2018 section 4).
    recent: [u64; MAX_SACK],
    /// Positions inside the ranges that changed since the last acknowledgment, oldest first: a batch of segments makes more of them
    /// than one acknowledgment has room for.
    untold: Vec<u64>,
    duplicate: Option<(u64, u64)>,
    unacknowledged: u64,
    pub ack_now: bool,
    pub ack_at: Option<Time>,
    quick: u32,
    /// Dynamic right-sizing: round trip seen by the receiver, start of this round, bytes read in it and the one before.
    rtt: Time,
    round_at: Time,
    round_read: u64,
    previous_read: u64,
    /// Of what waits behind holes, the bytes that count as read already.
    counted: u64,
}

impl Receiver {
    pub fn new(config: &Config, mss: usize) -> Self {
        let start = ORIGIN + 1;
        Receiver {
            ring: Ring::new(start),
            next: start,
            out_of_order: RangeSet::default(),
            fin: None,
            discard: false,
            target: config.receive_buffer_initial as u64,
            max: config.receive_buffer_max as u64,
            edge: start,
            mss: mss as u64,
            recent: [0; MAX_SACK],
            untold: Vec::new(),
            duplicate: None,
            unacknowledged: 0,
            ack_now: false,
            ack_at: None,
            quick: QUICK_ACKS,
            rtt: 0,
            round_at: 0,
            round_read: 0,
            previous_read: 0,
            counted: 0,
        }
    }

    pub fn charge_to(&mut self, budget: &Budget) {
        self.ring.charge_to(budget);
    }

    /// Bytes ready to be read.
    pub fn ready(&self) -> usize {
        self.ring.len()
    }

    /// Everything up to the FIN has arrived.
    pub fn finished(&self) -> bool {
        self.fin.is_some_and(|f| self.next > f)
    }

    /// Right edge that may be advertised; it never moves back (RFC 9293 section 3.8.6).
    fn new_edge(&self) -> u64 {
        let edge = (self.ring.start() + self.target).max(self.edge);
        // Receiver's silly-window avoidance (RFC 9293 section 3.8.6.2.2).
        if edge - self.edge >= self.mss.min(self.target / 2)
            || edge == self.ring.start() + self.target && self.edge <= self.next
        {
            edge
        } else {
            self.edge
        }
    }

    /// Window to advertise now.
    pub fn advertise(&mut self, shift: u8) -> u64 {
        let window = (self.new_edge().saturating_sub(self.next)).min(0xffff << shift) >> shift << shift;
        self.edge = self.edge.max(self.next + window);
        window
    }

    pub fn window(&self) -> u64 {
        self.edge.saturating_sub(self.next)
    }

    /// Takes payload at a position; `fin` follows it. True when the in-order edge moved.
    pub fn accept(&mut self, now: Time, start: u64, data: &[u8], fin: bool) -> bool {
        let end = start + data.len() as u64;
        if end + u64::from(fin) <= self.next && (!data.is_empty() || fin) {
            self.repeated(start, end + u64::from(fin));
            return false;
        }
        let skip = self.next.saturating_sub(start).min(data.len() as u64);
        if skip > 0 {
            self.duplicate = Some((start, start + skip));
            self.ack_now = true;
        }
        let limit = self.limit(end);
        let keep = (limit.saturating_sub(start + skip)).min(data.len() as u64 - skip);
        let body = &data[skip as usize..(skip + keep) as usize];
        let start = start + skip;
        let stop = start + keep;
        if fin && stop == end && self.fin.is_none() && self.out_of_order.end().is_none_or(|e| e <= end) {
            self.fin = Some(end);
        }
        if start > self.next {
            self.store_ahead(now, start, stop, body);
            return false;
        }
        if keep < data.len() as u64 - skip {
            self.ack_now = true;
        }
        let before = self.next;
        self.store(start, body);
        self.next = stop.max(self.next);
        if !self.out_of_order.is_empty() {
            if let Some(r) = self.out_of_order.around(self.next) {
                self.next = self.next.max(r.1);
            }
            self.out_of_order.trim(self.next);
            self.ack_now = true;
        }
        self.ring.set_end(self.next);
        if self.discard {
            self.ring.advance(self.next);
        }
        if self.fin == Some(self.next) {
            self.next += 1;
            self.ack_now = true;
        }
        self.schedule_ack(now, self.next - before);
        self.next > before
    }

    /// A segment that brought nothing new is answered, with what was repeated (RFC 2883).
    pub fn repeated(&mut self, start: u64, end: u64) {
        let end = end.min(self.next);
        if start < end {
            self.duplicate = Some((start, end));
        }
        self.ack_now = true;
    }

    /// How far data that ends at `end` can be stored: within what was advertised or could be, nothing beyond the FIN, and what
    /// there is memory for.
    fn limit(&mut self, end: u64) -> u64 {
        let limit = self.edge.max(self.ring.start() + self.target).min(self.fin.unwrap_or(u64::MAX));
        let needed = end.min(limit).saturating_sub(self.ring.start()) as usize;
        if self.discard || needed <= self.ring.capacity() {
            return limit;
        }
        self.ring.reserve(needed.max(MIN_BUFFER));
        let capacity = self.ring.capacity() as u64;
        if capacity < needed as u64 {
            // No memory: the peer is not invited to send as much again.
            self.target = self.target.min(capacity);
        }
        limit.min(self.ring.start() + capacity)
    }

    fn store(&mut self, start: u64, body: &[u8]) {
        if !self.discard {
            self.ring.put(start, body);
        }
    }

    fn store_ahead(&mut self, now: Time, start: u64, stop: u64, body: &[u8]) {
        self.ack_now = true;
        if stop == start {
            return;
        }
        if self.out_of_order.contains(start, stop) {
            self.duplicate = Some((start, stop));
        } else if self.out_of_order.insert(start, stop, MAX_RANGES) {
            self.store(start, body);
            self.count_ahead(now, stop - start);
        } else {
            return;
        }
        let range = self.out_of_order.around(start).unwrap_or((start, stop));
        let mut kept = [0; MAX_SACK];
        kept[0] = start;
        let others = self.recent.iter().filter(|p| **p != 0 && !(range.0..range.1).contains(p));
        for (slot, p) in kept[1..].iter_mut().zip(others) {
            *slot = *p;
        }
        self.recent = kept;
        // A range is told of once: the same block twice is a DSACK (RFC 2883 section 4).
        self.untold.retain(|p| !(range.0..range.1).contains(p));
        if self.untold.len() == UNTOLD_MAX {
            self.untold.remove(0);
        }
        self.untold.push(start);
    }

    /// Every second full segment, at once in the beginning, else soon (RFC 9293 section 3.8.6.3, RFC 5681 section 4.2).
    fn schedule_ack(&mut self, now: Time, bytes: u64) {
        self.unacknowledged += bytes;
        if self.quick > 0 || self.unacknowledged >= 2 * self.mss {
            self.quick = self.quick.saturating_sub(1);
            self.ack_now = true;
        } else if bytes > 0 && self.ack_at.is_none() {
            self.ack_at = Some(now + DELAYED_ACK);
        }
    }

    /// An acknowledgment is on its way.
    pub fn acknowledged(&mut self) {
        self.unacknowledged = 0;
        self.ack_now = false;
        self.ack_at = None;
        self.duplicate = None;
    }

    /// Adds DSACK (RFC 2883) and SACK blocks; `room` of them fit. True when there is more to tell than that: another acknowledgment has
    /// to follow, or the sender takes for lost what has arrived.
    pub fn blocks(&mut self, irs: u32, room: usize, o: &mut Options) -> bool {
        let mut count = 0;
        let mut add = |(a, b): (u64, u64)| {
            if count < room {
                o.sack[count] = (wire(irs, a), wire(irs, b));
                count += 1;
            }
        };
        if let Some(range) = self.duplicate {
            add(range);
        }
        let ranges = &self.out_of_order;
        self.untold.retain(|p| ranges.around(*p).is_some());
        let rest = room - usize::from(self.duplicate.is_some());
        let more = self.untold.len() > rest;
        if more {
            self.untold.drain(..rest).filter_map(|p| ranges.around(p)).for_each(&mut add);
        } else {
            self.untold.clear();
            self.recent.iter().filter_map(|p| ranges.around(*p)).for_each(&mut add);
        }
        o.sack_count = count as u8;
        more
    }

    /// A round-trip sample from timestamps or the handshake.
    pub fn sample(&mut self, rtt: Time) {
        self.rtt = if self.rtt == 0 { rtt } else { (7 * self.rtt + rtt) / 8 };
    }

    pub fn peek(&self, length: usize) -> (&[u8], &[u8]) {
        self.ring.slices(self.ring.start(), length.min(self.ring.len()))
    }

    /// The application took `n` bytes.
    pub fn consume(&mut self, now: Time, n: usize) {
        self.ring.advance(self.ring.start() + n as u64);
        let counted = self.counted.min(n as u64);
        self.counted -= counted;
        self.right_size(now, n as u64 - counted);
        let edge = self.ring.start() + self.target;
        if !self.finished() && edge >= self.edge + (self.target / 4).max(2 * self.mss).min(self.target / 2) {
            self.ack_now = true;
        }
    }

    /// An application that keeps up, at most a round trip behind, would have read what waits behind a hole: a window that waited for
    /// it to do so would hold a sender back for as long as every round trip loses something.
    fn count_ahead(&mut self, now: Time, n: u64) {
        if !self.discard && self.ring.len() as u64 <= self.previous_read {
            self.counted += n;
            self.right_size(now, n);
        }
    }

    /// Dynamic right-sizing: the window follows what the application reads in a round trip, with room to double.
    fn right_size(&mut self, now: Time, n: u64) {
        self.round_read += n;
        if now < self.round_at + self.rtt.max(MS) {
            return;
        }
        if self.round_read > self.previous_read {
            let read = self.round_read.min(self.max);
            let mut wanted = 2 * read + WINDOW_SLACK * self.mss;
            let growth = read.saturating_sub(self.previous_read);
            wanted += (wanted * growth).checked_div(self.previous_read).map_or(0, |more| more.min(wanted));
            // What waits behind a hole has left the window without having been read.
            wanted += self.out_of_order.end().map_or(0, |end| end.saturating_sub(self.next));
            let wanted = wanted.min(self.max);
            if self.ring.affords(wanted.saturating_sub(self.ring.capacity() as u64) as usize) {
                self.target = self.target.max(wanted);
            }
            self.previous_read = read;
        }
        self.round_read = 0;
        self.round_at = now;
    }

    pub fn trim(&mut self) {
        if self.ring.len() == 0 && self.out_of_order.is_empty() {
            self.ring.release();
            self.out_of_order.shrink();
            self.untold = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 1_000;

    /// What acknowledgments with room for three blocks tell after segments with these numbers have come together, in segments.
    fn told(numbers: &[u64]) -> Vec<Vec<(u64, u64)>> {
        let mut receiver = Receiver::new(&Config::default(), SEGMENT as usize);
        let start = |number: u64| ORIGIN + 1 + number * SEGMENT;
        for number in numbers {
            receiver.accept(0, start(*number), &[0; SEGMENT as usize], false);
        }
        let number = |position: u32| u64::from(position.wrapping_sub(wire(0, start(0)))) / SEGMENT;
        let mut all = Vec::new();
        loop {
            let mut options = Options::default();
            let more = receiver.blocks(0, 3, &mut options);
            let blocks = &options.sack[..usize::from(options.sack_count)];
            all.push(blocks.iter().map(|(a, b)| (number(*a), number(*b))).collect());
            if !more {
                return all;
            }
        }
    }

    #[test]
    fn a_batch_is_told_of_whole_and_the_last_acknowledgment_begins_with_what_came_last() {
        assert_eq!(told(&[2, 4]), [[(4, 5), (2, 3)]]);
        assert_eq!(told(&[2, 4, 6, 8, 10])[0], [(2, 3), (4, 5), (6, 7)]);
        assert_eq!(told(&[2, 4, 6, 8, 10])[1][..2], [(10, 11), (8, 9)]);
        assert_eq!(told(&[2, 4, 6, 8, 10]).len(), 2);
    }

    #[test]
    fn ranges_that_grew_together_are_told_of_once() {
        assert_eq!(told(&[2, 4, 3]), [[(2, 5)]]);
        assert_eq!(told(&[2, 4, 6, 8, 10, 3, 9]), [[(8, 11), (2, 5), (6, 7)]]);
    }

    #[test]
    fn what_was_filled_since_is_not_told_of() {
        assert_eq!(told(&[1, 2, 3, 0]), [Vec::new()]);
    }
}
