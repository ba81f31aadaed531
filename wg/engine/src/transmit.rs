//! Datagrams on their way out: one buffer, described by runs of equal-sized datagrams to one address, so that the
//! host can hand a run to segmentation offload in one call.
//!
//! ```text
//!  0 offset u32   4 length u32   8 segment u32   12 peer i32   16 kind u16 (WireGuard's message type, or 5 for a probe)
//! 18 family u16  20 port u16    22 address, 16 bytes         38 local u16                                      (40 in all)
//! ```

use crate::counter::{Counter, Counters};
use crate::event::Path;

/// Bytes of datagrams between two flushes.
pub const BUFFER_BYTES: usize = 1 << 20;
/// Room that must be left for a burst of TCP segments, the largest thing written at once.
pub const BURST_BYTES: usize = 192 << 10;
/// Runs between two flushes.
pub const RUNS_MAX: usize = 4096;
/// Segments of one run (`UDP_MAX_SEGMENTS` of the Linux kernel is 64 or 128) and its bytes, at most.
const RUN_SEGMENTS_MAX: usize = 64;
const RUN_BYTES_MAX: usize = 65_000;
/// Space that boringtun wants beside the payload, at least a handshake initiation.
const OVERHEAD_BYTES: usize = 160;

/// The types of WireGuard messages, their first byte.
pub const INITIATION: u8 = 1;
pub const RESPONSE: u8 = 2;
pub const DATA: u8 = 4;
/// A data message that is a probe, which goes alone and whole.
const PROBE: u8 = 5;

/// Equal-sized datagrams that lie one after another; only the last may be shorter.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Where the first lies in the buffer.
    pub offset: u32,
    /// Bytes of all of them.
    pub length: u32,
    /// Bytes of each but the last.
    pub segment: u32,
    /// Which peer they are for, or -1.
    pub peer: i32,
    /// WireGuard's message type, 1 to 4, or 5 for a probe.
    pub kind: u16,
    /// Where to; family 0 on an initiation whose destinations the host chooses.
    pub to: Path,
}

/// The transmit buffer.
pub struct Transmit {
    bytes: Box<[u8]>,
    used: usize,
    runs: Vec<Run>,
}

impl Default for Transmit {
    fn default() -> Self {
        Transmit { bytes: vec![0; BUFFER_BYTES].into_boxed_slice(), used: 0, runs: Vec::with_capacity(RUNS_MAX) }
    }
}

impl Transmit {
    /// Whether a whole burst still fits.
    pub fn has_room(&self) -> bool {
        BUFFER_BYTES - self.used >= BURST_BYTES && RUNS_MAX - self.runs.len() >= 512
    }

    /// Space for one datagram with `payload` inner bytes; `None` when the buffer is full, which is counted.
    pub fn space(&mut self, counters: &mut Counters, payload: usize) -> Option<&mut [u8]> {
        if BUFFER_BYTES - self.used < payload + OVERHEAD_BYTES || self.runs.len() == RUNS_MAX {
            counters.add(Counter::TransmitFull);
            return None;
        }
        Some(&mut self.bytes[self.used..])
    }

    /// The `length` bytes written to [`space`](Self::space) are a datagram for `to`.
    pub fn commit(&mut self, length: usize, peer: i32, to: Path) {
        let kind = self.bytes[self.used];
        if let Some(run) = self.runs.last_mut() {
            let whole = run.length % run.segment == 0;
            let fits =
                run.length / run.segment < RUN_SEGMENTS_MAX as u32 && run.length as usize + length <= RUN_BYTES_MAX;
            if whole
                && fits
                && kind != INITIATION
                && run.kind == u16::from(kind)
                && run.peer == peer
                && run.to == to
                && length as u32 <= run.segment
            {
                run.length += length as u32;
                self.used += length;
                return;
            }
        }
        self.begin_run(length, peer, to, kind);
    }

    /// As [`commit`](Self::commit), for a probe: no other datagram joins it, since the network may take those and not this one.
    pub fn commit_probe(&mut self, length: usize, peer: i32, to: Path) {
        self.begin_run(length, peer, to, PROBE);
    }

    fn begin_run(&mut self, length: usize, peer: i32, to: Path, kind: u8) {
        self.runs.push(Run {
            offset: self.used as u32,
            length: length as u32,
            segment: length as u32,
            peer,
            kind: u16::from(kind),
            to,
        });
        self.used += length;
    }

    /// What is to be sent.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The bytes that the runs speak of.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Everything was sent.
    pub fn clear(&mut self) {
        self.used = 0;
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Address;

    fn port(port: u16) -> Path {
        Path { remote: Address { family: 4, port, ip: [1; 16] }, local: 0 }
    }

    fn put(t: &mut Transmit, c: &mut Counters, length: usize, kind: u8, to: Path) {
        t.space(c, length).unwrap()[0] = kind;
        t.commit(length, 0, to);
    }

    #[test]
    fn equal_datagrams_to_one_address_become_one_run() {
        let (mut t, mut c) = (Transmit::default(), Counters::default());
        let (a, b) = (port(1), port(2));
        let c2 = Path { local: 7, ..b };
        for (n, to) in [(1452, a), (1452, a), (900, a), (1452, a), (1452, b), (2000, b), (2000, c2), (2000, c2)] {
            put(&mut t, &mut c, n, 4, to);
        }
        let runs: Vec<_> = t.runs().iter().map(|r| (r.length, r.segment, r.to.remote.port, r.to.local)).collect();
        let before = [(3804, 1452, 1, 0), (1452, 1452, 1, 0), (1452, 1452, 2, 0), (2000, 2000, 2, 0)];
        assert_eq!(
            runs,
            [&before[..], &[(4000, 2000, 2, 7)]].concat(),
            "an address by another local end is another path"
        );
    }

    #[test]
    fn a_probe_goes_alone() {
        let (mut t, mut c) = (Transmit::default(), Counters::default());
        put(&mut t, &mut c, 1452, 4, port(1));
        t.space(&mut c, 1452).unwrap()[0] = 4;
        t.commit_probe(1452, 0, port(1));
        put(&mut t, &mut c, 1452, 4, port(1));
        let runs: Vec<_> = t.runs().iter().map(|r| (r.offset, r.length, r.kind)).collect();
        assert_eq!(runs, [(0, 1452, 4), (1452, 1452, 5), (2904, 1452, 4)]);
    }

    #[test]
    fn initiations_are_never_joined() {
        let (mut t, mut c) = (Transmit::default(), Counters::default());
        for _ in 0..2 {
            put(&mut t, &mut c, 148, 1, Path::default());
        }
        assert_eq!(t.runs().len(), 2);
    }

    #[test]
    fn a_full_buffer_is_counted_and_never_overrun() {
        let (mut t, mut c) = (Transmit::default(), Counters::default());
        let mut n = 0;
        while t.space(&mut c, 1420).is_some() {
            t.commit(1452, 0, port((n % 60_000) as u16));
            n += 1;
        }
        assert!(n > 700 && c.value(Counter::TransmitFull) == 1.0);
        t.clear();
        assert!(t.has_room());
    }
}
