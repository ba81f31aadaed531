//! ICMP errors about segments of ours (RFC 792, RFC 1191, RFC 4443): what they quote and what they mean for TCP.
//!
//! ```text
//! type  code  unused   (IPv4: MTU in the last half of it; IPv6 "packet too big": all of it)
//! IP header that was refused, and at least 8 bytes behind it: ports and sequence number
//! ```

use crate::checksum;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMP_V6: u8 = 58;
/// Ports and sequence number.
const QUOTED: usize = 8;

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Too large: packets up to this size pass; zero when the router does not say.
    TooBig(usize),
    /// No such port or protocol there: a hard error (RFC 1122 section 4.2.3.9).
    Refused,
    /// The other end's administrator does not allow it (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1): as hard.
    Prohibited,
    /// No way there at present: a soft error.
    Unreachable,
}

/// An ICMP error about a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who sent the segment.
    pub local: SocketAddr,
    /// Whom it was for.
    pub remote: SocketAddr,
    /// Its sequence number.
    pub seq: u32,
    /// What became of it.
    pub verdict: Verdict,
}

fn half(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}

fn word(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn v4(b: &[u8], at: usize) -> IpAddr {
    Ipv4Addr::new(b[at], b[at + 1], b[at + 2], b[at + 3]).into()
}

fn v6(b: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = b.get(at..at + 16)?.try_into().ok()?;
    Some(Ipv6Addr::from(octets).into())
}

/// Protocol, destination and payload of an IP packet that is no fragment.
fn strip(p: &[u8]) -> Option<(u8, IpAddr, IpAddr, &[u8])> {
    match p.first()? >> 4 {
        4 if p.len() >= 20 => {
            let header = usize::from(p[0] & 15) * 4;
            let total = usize::from(half(p, 2));
            let whole = half(p, 6) & 0x3fff == 0;
            (header >= 20 && whole).then_some((p[9], v4(p, 12), v4(p, 16), p.get(header..total)?))
        }
        6 if p.len() >= 40 => {
            let total = 40 + usize::from(half(p, 4));
            Some((p[6], v6(p, 8)?, v6(p, 24)?, p.get(40..total)?))
        }
        _ => None,
    }
}

/// Addresses and TCP part of a quoted packet, which may be cut short.
fn quoted(p: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let (protocol, src, dst, header) = match p.first()? >> 4 {
        4 if p.len() >= 20 && half(p, 6) & 0x1fff == 0 => (p[9], v4(p, 12), v4(p, 16), usize::from(p[0] & 15) * 4),
        6 if p.len() >= 40 => (p[6], v6(p, 8)?, v6(p, 24)?, 40),
        _ => return None,
    };
    let tcp = p.get(header.max(20)..).filter(|t| t.len() >= QUOTED)?;
    (protocol == TCP).then_some((src, dst, tcp))
}

fn verdict_v4(m: &[u8]) -> Option<Verdict> {
    match (m[0], m[1]) {
        (3, 4) => Some(Verdict::TooBig(usize::from(half(m, 6)))),
        (3, 2 | 3) => Some(Verdict::Refused),
        (3, 9 | 10 | 13) => Some(Verdict::Prohibited),
        (3 | 11 | 12, _) => Some(Verdict::Unreachable),
        _ => None,
    }
}

fn verdict_v6(m: &[u8]) -> Option<Verdict> {
    match (m[0], m[1]) {
        (2, _) => Some(Verdict::TooBig(word(m, 4) as usize)),
        (1, 4) => Some(Verdict::Refused),
        (1, 1) => Some(Verdict::Prohibited),
        (1 | 3 | 4, _) => Some(Verdict::Unreachable),
        _ => None,
    }
}

impl Report {
    /// Reads an IP packet; none when it is no ICMP error about a TCP segment that the packet's receiver sent.
    pub fn parse(packet: &[u8], verify: bool) -> Option<Report> {
        let (protocol, src, dst, message) = strip(packet)?;
        if message.len() < 8 {
            return None;
        }
        let (verdict, pseudo) = match (protocol, dst) {
            (ICMP, IpAddr::V4(_)) => (verdict_v4(message)?, 0),
            (ICMP_V6, IpAddr::V6(_)) => (verdict_v6(message)?, checksum::pseudo_of(ICMP_V6, src, dst, message.len())),
            _ => return None,
        };
        if verify && checksum::fold(checksum::sum(pseudo, message)) != 0xffff {
            return None;
        }
        let (from, to, tcp) = quoted(&message[8..])?;
        let (local, remote) = (SocketAddr::new(from, half(tcp, 0)), SocketAddr::new(to, half(tcp, 2)));
        (from == dst).then_some(Report { local, remote, seq: word(tcp, 4), verdict })
    }
}
