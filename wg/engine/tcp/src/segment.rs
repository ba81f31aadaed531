//! Wire format: IPv4 (RFC 791), IPv6 (RFC 8200), TCP and its options (RFC 9293, 7323, 2018).

use crate::checksum;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The sender has no more data.
pub const FIN: u8 = 1;
/// Opens; synchronises sequence numbers.
pub const SYN: u8 = 2;
/// Resets.
pub const RST: u8 = 4;
/// Hand this to the application now.
pub const PSH: u8 = 8;
/// The acknowledgment number counts.
pub const ACK: u8 = 16;
/// A mark was seen (RFC 3168 section 6.1); on a SYN, the sender can ECN.
pub const ECE: u8 = 64;
/// The window was reduced for it.
pub const CWR: u8 = 128;

/// The ECN field of an IP header (RFC 3168 section 5): not for us to mark, may be marked, was marked.
pub const NOT_ECT: u8 = 0;
/// ECT(0).
pub const ECT: u8 = 2;
/// Congestion experienced.
pub const CE: u8 = 3;

/// The ECN field of an IP packet.
pub fn ecn(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 4 => second & 3,
        [first, second, ..] if first >> 4 == 6 => second >> 4 & 3,
        _ => NOT_ECT,
    }
}

/// Sets the ECN field of a whole IP packet.
fn set_ecn(packet: &mut [u8], field: u8) {
    match packet.first().map(|b| b >> 4) {
        Some(4) if packet.len() >= 20 => {
            let header = (usize::from(packet[0] & 15) * 4).clamp(20, packet.len());
            packet[1] = packet[1] & !3 | field;
            packet[10..12].fill(0);
            let sum = checksum::finish(checksum::sum(0, &packet[..header]));
            packet[10..12].copy_from_slice(&sum);
        }
        Some(6) if packet.len() >= 40 => packet[1] = packet[1] & !0x30 | field << 4,
        _ => {}
    }
}

/// What a tunnel's exit does with a packet that came in a datagram with this ECN field (RFC 6040 section 4.2). False when the packet
/// must be dropped: it was marked on its way, and its sender would not understand. The entrance gives the datagram the field of
/// the packet, [`ecn`].
pub fn decapsulate_ecn(packet: &mut [u8], outer: u8) -> bool {
    match (ecn(packet), outer) {
        (NOT_ECT, CE) => return false,
        (1 | ECT, CE) | (ECT, 1) => set_ecn(packet, outer),
        _ => {}
    }
    true
}

/// Most SACK blocks that fit beside timestamps (RFC 2018 section 3).
pub const MAX_SACK: usize = 4;
const HOP_LIMIT: u8 = 64;
const TCP: u8 = 6;
const MAX_WINDOW_SHIFT: u8 = 14;

/// TCP options that we read and write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Largest segment that the sender of a SYN takes.
    pub mss: Option<u16>,
    /// Window scale, at most 14.
    pub window_shift: Option<u8>,
    /// The sender of a SYN understands SACK.
    pub sack_permitted: bool,
    /// SACK blocks; the first `sack_count` are meant.
    pub sack: [(u32, u32); MAX_SACK],
    /// Number of SACK blocks.
    pub sack_count: u8,
    /// TSval and TSecr (RFC 7323 section 3).
    pub timestamps: Option<(u32, u32)>,
}

impl Options {
    /// The SACK blocks.
    pub fn sack_blocks(&self) -> &[(u32, u32)] {
        &self.sack[..usize::from(self.sack_count)]
    }

    fn parse(mut b: &[u8]) -> Self {
        let mut o = Options::default();
        while let [kind, rest @ ..] = b {
            match kind {
                0 => break,
                1 => {
                    b = rest;
                    continue;
                }
                _ => {}
            }
            let Some(&length) = rest.first() else { break };
            let length = usize::from(length);
            if length < 2 || length > b.len() {
                break;
            }
            let v = &b[2..length];
            match (kind, v.len()) {
                (2, 2) => o.mss = Some(u16::from_be_bytes([v[0], v[1]])),
                (3, 1) => o.window_shift = Some(v[0].min(MAX_WINDOW_SHIFT)),
                (4, 0) => o.sack_permitted = true,
                (5, n) if n % 8 == 0 => {
                    let used = usize::from(o.sack_count);
                    for (slot, x) in o.sack[used..].iter_mut().zip(v.chunks_exact(8)) {
                        *slot = (word(x, 0), word(x, 4));
                        o.sack_count += 1;
                    }
                }
                (8, 8) => o.timestamps = Some((word(v, 0), word(v, 4))),
                _ => {}
            }
            b = &b[length..];
        }
        o
    }

    /// Bytes on the wire.
    pub fn length(&self) -> usize {
        let mut n = if self.mss.is_some() { 4 } else { 0 };
        n += if self.window_shift.is_some() { 4 } else { 0 };
        n += if self.timestamps.is_some() { 12 } else { 0 };
        n += if self.sack_permitted { 4 } else { 0 };
        n + if self.sack_count > 0 { 4 + 8 * usize::from(self.sack_count) } else { 0 }
    }

    fn emit(&self, out: &mut [u8]) {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        if let Some(mss) = self.mss {
            put(&[2, 4]);
            put(&mss.to_be_bytes());
        }
        if self.sack_permitted {
            put(&[1, 1, 4, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            put(&[1, 1, 8, 10]);
            put(&value.to_be_bytes());
            put(&echo.to_be_bytes());
        }
        if let Some(shift) = self.window_shift {
            put(&[1, 3, 3, shift]);
        }
        if self.sack_count > 0 {
            put(&[1, 1, 5, 2 + 8 * self.sack_count]);
            for (a, b) in self.sack_blocks() {
                put(&a.to_be_bytes());
                put(&b.to_be_bytes());
            }
        }
    }
}

fn word(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn half(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}

/// A received segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Flags, of those above.
    pub flags: u8,
    /// Window as on the wire, not scaled.
    pub window: u16,
    /// Options that we know.
    pub options: Options,
    /// Data.
    pub payload: &'a [u8],
    /// The network has marked it.
    pub marked: bool,
}

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its headers say.
    Truncated,
    /// Not TCP, or between addresses that cannot be.
    NotTcp,
    /// A fragment of a packet.
    Fragment,
    /// The checksum is wrong.
    Checksum,
}

/// The TCP part of an IP packet with its addresses.
fn strip_ip(p: &[u8]) -> Result<(IpAddr, IpAddr, &[u8]), Malformed> {
    match p.first().map(|b| b >> 4) {
        Some(4) if p.len() >= 20 => {
            let header = usize::from(p[0] & 15) * 4;
            let total = usize::from(half(p, 2));
            if header < 20 || total < header || total > p.len() {
                return Err(Malformed::Truncated);
            }
            if p[12..16] == [0xff; 4] {
                return Err(Malformed::NotTcp);
            }
            if half(p, 6) & 0x3fff != 0 {
                return Err(Malformed::Fragment);
            }
            if p[9] != TCP {
                return Err(Malformed::NotTcp);
            }
            let v4 = |i: usize| IpAddr::V4(Ipv4Addr::new(p[i], p[i + 1], p[i + 2], p[i + 3]));
            Ok((v4(12), v4(16), &p[header..total]))
        }
        Some(6) if p.len() >= 40 => {
            let total = 40 + usize::from(half(p, 4));
            if total > p.len() {
                return Err(Malformed::Truncated);
            }
            let (mut next, mut at) = (p[6], 40);
            while matches!(next, 0 | 43 | 60) {
                if at + 8 > total {
                    return Err(Malformed::Truncated);
                }
                // A routing header with segments left is not addressed to us yet (RFC 8200 section 4.4).
                if next == 43 && p[at + 3] != 0 {
                    return Err(Malformed::NotTcp);
                }
                next = p[at];
                at += 8 + usize::from(p[at + 1]) * 8;
            }
            if next == 44 {
                return Err(Malformed::Fragment);
            }
            if next != TCP || at > total {
                return Err(Malformed::NotTcp);
            }
            let v6 = |i: usize| <[u8; 16]>::try_from(&p[i..i + 16]).map(|o| IpAddr::V6(Ipv6Addr::from(o)));
            match (v6(8), v6(24)) {
                (Ok(a), Ok(b)) => Ok((a, b, &p[at..total])),
                _ => Err(Malformed::Truncated),
            }
        }
        _ => Err(Malformed::NotTcp),
    }
}

impl<'a> Segment<'a> {
    /// Reads an IP packet. A multicast, broadcast or unspecified source never passes.
    pub fn parse(packet: &'a [u8], verify: bool) -> Result<Self, Malformed> {
        let (src, dst, t) = strip_ip(packet)?;
        if t.len() < 20 {
            return Err(Malformed::Truncated);
        }
        let header = usize::from(t[12] >> 4) * 4;
        if header < 20 || header > t.len() {
            return Err(Malformed::Truncated);
        }
        if src.is_multicast() || dst.is_multicast() || src.is_unspecified() {
            return Err(Malformed::NotTcp);
        }
        if verify && checksum::fold(checksum::sum(checksum::pseudo(src, dst, t.len()), t)) != 0xffff {
            return Err(Malformed::Checksum);
        }
        Ok(Segment {
            src: SocketAddr::new(src, half(t, 0)),
            dst: SocketAddr::new(dst, half(t, 2)),
            seq: word(t, 4),
            ack: word(t, 8),
            flags: t[13],
            window: half(t, 14),
            options: Options::parse(&t[20..header]),
            payload: &t[header..],
            marked: ecn(packet) == CE,
        })
    }

    /// The flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sequence space used (RFC 9293 section 3.4).
    pub fn length(&self) -> u64 {
        self.payload.len() as u64 + u64::from(self.has(SYN)) + u64::from(self.has(FIN))
    }
}

/// One header and up to [`crate::config::MAX_BURST`] bytes of payload, to be cut into segments.
#[derive(Clone, Copy, Debug)]
pub struct Burst<'a> {
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// PSH and FIN go on the last segment only.
    pub flags: u8,
    /// Window as on the wire, not scaled.
    pub window: u16,
    /// Options of every segment.
    pub options: Options,
    /// The ECN field of every packet. CWR goes on the first segment only.
    pub ecn: u8,
    /// Payload of every segment but the last.
    pub segment_size: usize,
    /// Data, in the two pieces of the ring that it lies in.
    pub head: &'a [u8],
    /// The second piece.
    pub tail: &'a [u8],
}

impl Burst<'_> {
    /// Bytes of data.
    pub fn payload_length(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Number of packets.
    pub fn count(&self) -> usize {
        self.payload_length().div_ceil(self.segment_size).max(1)
    }

    fn ip_length(&self) -> usize {
        if self.src.is_ipv4() {
            20
        } else {
            40
        }
    }

    /// Length of IP and TCP headers.
    pub fn header_length(&self) -> usize {
        self.ip_length() + 20 + self.options.length()
    }

    /// Writes packet `index` and says how long it is; `out` must hold an MTU.
    pub fn write(&self, index: usize, out: &mut [u8]) -> usize {
        let from = index * self.segment_size;
        let n = self.segment_size.min(self.payload_length() - from);
        self.write_range(from, n, out)
    }

    /// Writes everything as one packet, for a device that segments by itself.
    pub fn write_whole(&self, out: &mut [u8]) -> usize {
        self.write_range(0, self.payload_length(), out)
    }

    fn write_range(&self, from: usize, n: usize, out: &mut [u8]) -> usize {
        let ip = self.ip_length();
        let header = self.header_length();
        let total = header + n;
        let out = &mut out[..total];
        let split = self.head.len();
        if from >= split {
            out[header..].copy_from_slice(&self.tail[from - split..from - split + n]);
        } else {
            let first = n.min(split - from);
            out[header..header + first].copy_from_slice(&self.head[from..from + first]);
            out[header + first..].copy_from_slice(&self.tail[..n - first]);
        }
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let length = (total as u16).to_be_bytes();
                out[..12].copy_from_slice(&[0x45, self.ecn, length[0], length[1], 0, 0, 0x40, 0, HOP_LIMIT, TCP, 0, 0]);
                out[12..16].copy_from_slice(&a.octets());
                out[16..20].copy_from_slice(&b.octets());
                let sum = checksum::finish(checksum::sum(0, &out[..20]));
                out[10..12].copy_from_slice(&sum);
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let length = ((total - 40) as u16).to_be_bytes();
                out[..8].copy_from_slice(&[0x60, self.ecn << 4, 0, 0, length[0], length[1], TCP, HOP_LIMIT]);
                out[8..24].copy_from_slice(&a.octets());
                out[24..40].copy_from_slice(&b.octets());
            }
            _ => {}
        }
        let last = from + n == self.payload_length();
        let t = &mut out[ip..];
        t[..2].copy_from_slice(&self.src.port().to_be_bytes());
        t[2..4].copy_from_slice(&self.dst.port().to_be_bytes());
        t[4..8].copy_from_slice(&self.seq.wrapping_add(from as u32).to_be_bytes());
        t[8..12].copy_from_slice(&self.ack.to_be_bytes());
        t[12] = (((header - ip) / 4) << 4) as u8;
        t[13] = self.flags & !(if last { 0 } else { PSH | FIN } | if from > 0 { CWR } else { 0 });
        t[14..16].copy_from_slice(&self.window.to_be_bytes());
        t[16..20].copy_from_slice(&[0; 4]);
        self.options.emit(&mut t[20..header - ip]);
        let sum = checksum::sum(checksum::pseudo(self.src.ip(), self.dst.ip(), total - ip), t);
        t[16..18].copy_from_slice(&checksum::finish(sum));
        total
    }
}
