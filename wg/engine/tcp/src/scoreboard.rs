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
    pub lost: u64,
    pub in_flight: u64,
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

    /// One SACK block; only what earlier blocks did not cover is visited.
    pub fn sack(&mut self, start: u64, end: u64, mut delivered: impl FnMut(&Record)) -> u64 {
        let fresh = self.sacked.around(start).map_or(start, |r| r.1);
        if fresh >= end || !self.sacked.insert(start, end, MAX_SACKED_RANGES) {
            return 0;
        }
        let mut bytes = 0;
        let mut i = self.records.partition_point(|r| r.end <= fresh);
        while let Some(r) = self.records.get(i).copied() {
            if r.start >= end {
                break;
            }
            if r.fate != Fate::Sacked && self.sacked.contains(r.start, r.end) {
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
}
