//! What has been sent and not yet cumulatively acknowledged: one record per segment, with its state
//! (RFC 6675) and its place in the order of transmission (RFC 8985 section 5.2).

use crate::config::MAX_SACKED_RANGES;
use crate::range::RangeSet;
use crate::Time;
use std::collections::VecDeque;

const NIL: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// In the network, as far as we know.
    Flying,
    Sacked,
    /// Taken for lost and not sent again yet.
    Lost,
}

/// What the delivery-rate estimator noted when a record was sent (draft-cheng-iccrg-delivery-rate-estimation).
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    pub delivered: u64,
    pub delivered_at: Time,
    pub first_sent_at: Time,
    pub app_limited: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub start: u64,
    pub end: u64,
    pub sent_at: Time,
    pub snapshot: Snapshot,
    pub fate: Fate,
    pub retransmitted: bool,
    previous: u64,
    next: u64,
}

impl Record {
    pub fn length(&self) -> u64 {
        self.end - self.start
    }
}

pub struct Scoreboard {
    records: VecDeque<Record>,
    /// Identity of the first record.
    base: u64,
    /// Ends of the list of flying records, in order of transmission.
    head: u64,
    tail: u64,
    sacked: RangeSet,
    /// Bytes believed in the network: `pipe` of RFC 6675.
    pub pipe: u64,
    pub lost_bytes: u64,
    pub sacked_bytes: u64,
    sacked_records: usize,
    /// No lost record has a smaller identity.
    lost_hint: u64,
    /// Room for [`sack`](Self::sack) to work in.
    gaps: Vec<(u64, u64)>,
}

impl Default for Scoreboard {
    fn default() -> Self {
        Scoreboard {
            records: VecDeque::new(),
            base: 0,
            head: NIL,
            tail: NIL,
            sacked: RangeSet::default(),
            pipe: 0,
            lost_bytes: 0,
            sacked_bytes: 0,
            sacked_records: 0,
            lost_hint: 0,
            gaps: Vec::new(),
        }
    }
}

impl Scoreboard {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn sacked_records(&self) -> usize {
        self.sacked_records
    }

    pub fn get(&self, id: u64) -> Option<&Record> {
        self.records.get(id.checked_sub(self.base)? as usize)
    }

    fn at(&mut self, id: u64) -> &mut Record {
        let i = (id - self.base) as usize;
        &mut self.records[i]
    }

    pub fn last_id(&self) -> Option<u64> {
        (self.base + self.records.len() as u64).checked_sub(1).filter(|_| !self.records.is_empty())
    }

    pub fn first(&self) -> Option<&Record> {
        self.records.front()
    }

    /// The flying record sent longest ago.
    pub fn oldest(&self) -> Option<(u64, &Record)> {
        self.get(self.head).map(|r| (self.head, r))
    }

    /// The next flying record in order of transmission.
    pub fn after(&self, id: u64) -> Option<(u64, &Record)> {
        let next = self.get(id)?.next;
        self.get(next).map(|r| (next, r))
    }

    fn link(&mut self, id: u64) {
        let tail = self.tail;
        let r = self.at(id);
        r.fate = Fate::Flying;
        r.previous = tail;
        r.next = NIL;
        self.pipe += r.length();
        if tail == NIL {
            self.head = id;
        } else {
            self.at(tail).next = id;
        }
        self.tail = id;
    }

    fn link_first(&mut self, id: u64) {
        let head = self.head;
        let r = self.at(id);
        r.fate = Fate::Flying;
        r.previous = NIL;
        r.next = head;
        self.pipe += r.length();
        if head == NIL {
            self.tail = id;
        } else {
            self.at(head).previous = id;
        }
        self.head = id;
    }

    fn unlink(&mut self, id: u64) {
        let r = *self.at(id);
        self.pipe -= r.length();
        if r.previous == NIL {
            self.head = r.next;
        } else {
            self.at(r.previous).next = r.next;
        }
        if r.next == NIL {
            self.tail = r.previous;
        } else {
            self.at(r.next).previous = r.previous;
        }
    }

    /// Takes a record out of its present state, before it gets another.
    fn leave(&mut self, id: u64) {
        let r = *self.at(id);
        match r.fate {
            Fate::Flying => self.unlink(id),
            Fate::Lost => self.lost_bytes -= r.length(),
            Fate::Sacked => {
                self.sacked_bytes -= r.length();
                self.sacked_records -= 1;
            }
        }
    }

    /// Notes a first transmission.
    pub fn push(&mut self, start: u64, end: u64, now: Time, snapshot: Snapshot) {
        let id = self.base + self.records.len() as u64;
        let r = Record {
            start,
            end,
            sent_at: now,
            snapshot,
            fate: Fate::Flying,
            retransmitted: false,
            previous: NIL,
            next: NIL,
        };
        self.records.push_back(r);
        self.link(id);
    }

    /// Notes a retransmission.
    pub fn resend(&mut self, id: u64, now: Time, snapshot: Snapshot) {
        self.leave(id);
        let r = self.at(id);
        r.sent_at = now;
        r.snapshot = snapshot;
        r.retransmitted = true;
        self.link(id);
    }

    pub fn mark_lost(&mut self, id: u64) {
        self.leave(id);
        let r = self.at(id);
        r.fate = Fate::Lost;
        self.lost_bytes += r.length();
        self.lost_hint = self.lost_hint.min(id);
    }

    /// The first lost record.
    pub fn next_lost(&mut self) -> Option<u64> {
        if self.lost_bytes == 0 {
            self.lost_hint = NIL;
            return None;
        }
        let mut id = self.lost_hint.max(self.base);
        while self.get(id)?.fate != Fate::Lost {
            id += 1;
        }
        self.lost_hint = id;
        Some(id)
    }

    /// A timeout proved spurious: what was called lost is in flight after all (RFC 4015).
    pub fn forgive(&mut self) {
        for i in (0..self.records.len()).rev() {
            if self.records[i].fate == Fate::Lost {
                let id = self.base + i as u64;
                self.leave(id);
                self.link_first(id);
            }
        }
    }

    /// Cumulative acknowledgment; calls back for each record newly delivered. Says how many bytes were newly delivered.
    pub fn acknowledge(&mut self, position: u64, mut delivered: impl FnMut(&Record)) -> u64 {
        let mut bytes = 0;
        while let Some(r) = self.records.front().copied() {
            if r.start >= position {
                break;
            }
            if r.end > position {
                bytes += self.trim_first(position);
                break;
            }
            self.leave(self.base);
            self.records.pop_front();
            self.base += 1;
            if r.fate != Fate::Sacked {
                bytes += r.length();
                delivered(&r);
            }
        }
        self.sacked.trim(position);
        bytes
    }

    /// Part of the first record was acknowledged.
    fn trim_first(&mut self, position: u64) -> u64 {
        let id = self.base;
        let r = *self.at(id);
        let cut = position - r.start;
        match r.fate {
            Fate::Flying => self.pipe -= cut,
            Fate::Lost => self.lost_bytes -= cut,
            Fate::Sacked => self.sacked_bytes -= cut,
        }
        self.at(id).start = position;
        if r.fate == Fate::Sacked {
            0
        } else {
            cut
        }
    }

    /// One SACK block. Only records in the gaps that it fills are visited, so that repeating blocks costs nothing.
    pub fn sack(&mut self, start: u64, end: u64, mut delivered: impl FnMut(&Record)) -> u64 {
        let mut gaps = std::mem::take(&mut self.gaps);
        let (whole_start, whole_end) = self.sacked.gaps(start, end, &mut gaps);
        let mut bytes = 0;
        if !gaps.is_empty() && self.sacked.insert(start, end, MAX_SACKED_RANGES) {
            for &(from, to) in &gaps {
                let mut i = self.records.partition_point(|r| r.end <= from);
                while let Some(r) = self.records.get(i).copied().filter(|r| r.start < to) {
                    if r.fate != Fate::Sacked && whole_start <= r.start && r.end <= whole_end {
                        let id = self.base + i as u64;
                        self.leave(id);
                        self.at(id).fate = Fate::Sacked;
                        self.sacked_bytes += r.length();
                        self.sacked_records += 1;
                        bytes += r.length();
                        delivered(&r);
                    }
                    i += 1;
                }
            }
        }
        self.gaps = gaps;
        bytes
    }

    /// The receiver may have dropped what it had acknowledged selectively (RFC 2018 section 8).
    pub fn renege(&mut self) {
        self.sacked.clear();
        for i in 0..self.records.len() {
            if self.records[i].fate == Fate::Sacked {
                self.mark_lost(self.base + i as u64);
            }
        }
    }

    /// Gives back memory that an idle connection does not need.
    pub fn shrink(&mut self) {
        if self.records.is_empty() {
            self.records.shrink_to_fit();
            self.sacked.shrink();
            self.gaps = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Random;

    fn recount(b: &Scoreboard) {
        let of = |fate| b.records.iter().filter(move |r| r.fate == fate);
        let bytes = |fate| of(fate).map(Record::length).sum::<u64>();
        assert_eq!(
            (b.pipe, b.lost_bytes, b.sacked_bytes),
            (bytes(Fate::Flying), bytes(Fate::Lost), bytes(Fate::Sacked))
        );
        assert_eq!(b.sacked_records, of(Fate::Sacked).count());
        let (mut listed, mut next) = (0, b.oldest().map(|o| o.0));
        while let Some(id) = next {
            listed += 1;
            next = b.after(id).map(|o| o.0);
        }
        assert_eq!(listed, of(Fate::Flying).count());
    }

    /// 16,384 of them may be in flight on each connection.
    #[test]
    fn records_are_small() {
        assert_eq!(std::mem::size_of::<Record>(), 80);
    }

    /// Whatever happens in whatever order, the sums are those of the records, and each is delivered once.
    #[test]
    fn sums_agree_with_the_records() {
        for seed in 0..300 {
            let mut r = Random(seed);
            let (mut b, mut next, mut una, mut delivered) = (Scoreboard::default(), 1000, 1000, 0);
            for now in 0..300 {
                let pick = |r: &mut Random, b: &Scoreboard| b.base + r.below(b.records.len() as u64);
                match r.below(7) {
                    0..=2 => {
                        let n = 1 + r.below(30);
                        b.push(next, next + n, now, Snapshot::default());
                        next += n;
                    }
                    3 => {
                        let (x, y) = (una + r.below(next - una + 1), una + r.below(next - una + 1));
                        if x != y {
                            b.sack(x.min(y), x.max(y), |r| delivered += r.length());
                        }
                    }
                    4 => {
                        una += r.below(next - una + 1) / 2;
                        b.acknowledge(una, |r| delivered += r.length());
                    }
                    5 if !b.is_empty() => {
                        let id = pick(&mut r, &b);
                        match b.get(id).unwrap().fate {
                            Fate::Flying => b.mark_lost(id),
                            Fate::Lost => b.resend(id, now, Snapshot::default()),
                            Fate::Sacked => {}
                        }
                    }
                    6 if r.chance(50_000) => b.forgive(),
                    _ => {}
                }
                recount(&b);
                assert_eq!(b.next_lost().is_some(), b.lost_bytes > 0);
                assert!(b.next_lost().is_none_or(|id| b.get(id).unwrap().fate == Fate::Lost));
            }
            b.acknowledge(next, |r| delivered += r.length());
            recount(&b);
            assert!(b.is_empty() && delivered <= next - 1000);
        }
    }

    /// An attacker's blocks that grow byte by byte over what is known already do not make every record be looked at again.
    #[test]
    fn growing_blocks_visit_each_record_once() {
        let mut b = Scoreboard::default();
        for i in 0..1000 {
            b.push(i * 10, i * 10 + 10, 0, Snapshot::default());
        }
        let mut delivered = 0;
        for start in (0..9990).rev() {
            b.sack(start, 10_000, |r| delivered += r.length());
            assert!(b.gaps.len() <= 1 && b.gaps.iter().all(|g| g.1 - g.0 <= 11), "{:?}", b.gaps);
        }
        assert_eq!((delivered, b.sacked_records), (10_000, 1000));
    }
}
