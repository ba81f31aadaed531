//! What the filter must know of an IP packet: both ends, the protocol behind all headers, ports, and whether it is a fragment.
//! Anything in a packet may be wrong: what cannot be read to its ports is `None`, and refused.

use std::net::{IpAddr, SocketAddr};
use tcp::segment::{ACK, RST, SYN};

/// IP protocol numbers.
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
/// IPv6 extension headers of one packet, at most: no honest one has half as many.
const HEADERS_MAX: usize = 8;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
/// In an IPv4 header: more fragments follow, and where this one belongs, in units of 8 bytes.
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// Up to the flags of a TCP header; what is cut before is a "tiny fragment" (RFC 1858 section 3).
const TCP_BYTES_MIN: usize = 14;
const UDP_BYTES: usize = 8;
const ICMP_BYTES: usize = 8;

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment of the datagram with this number, which has the ports.
    First(u32),
    /// Another one, and how many bytes lie before it.
    Later(u32, usize),
}

/// An IP packet as far as the filter reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Where it came from; the port is 0 where there is none. Of an echo, the identifier is the port of who asks.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// What is in it.
    pub protocol: u8,
    /// Which part of it this is.
    pub part: Part,
    /// What follows the IP headers.
    pub payload: &'a [u8],
}

fn half(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn v4(b: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = b.get(at..at + 4)?.try_into().ok()?;
    Some(IpAddr::from(octets))
}

fn v6(b: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = b.get(at..at + 16)?.try_into().ok()?;
    Some(IpAddr::from(octets))
}

impl<'a> Packet<'a> {
    /// Reads a packet; `None` for what is none, or is cut before its ports.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let read = Self::headers(packet, true)?;
        read.with_ports()
    }

    /// Reads what an ICMP error quotes: a packet that may be cut anywhere behind its ports (RFC 792, RFC 4443 section 2.4 (c)).
    pub fn quoted(packet: &'a [u8]) -> Option<Self> {
        let read = Self::headers(packet, false)?;
        match read.part {
            Part::Later(..) => None,
            _ => read.with_numbers(),
        }
    }

    /// Source, destination, protocol and payload; ports are still 0. `whole`: its length must be what it says.
    fn headers(packet: &'a [u8], whole: bool) -> Option<Self> {
        let end = |length: usize| {
            let end = if whole { length } else { length.min(packet.len()) };
            (end <= packet.len()).then_some(end)
        };
        match packet.first()? >> 4 {
            4 => {
                let (from, to) = (v4(packet, 12)?, v4(packet, 16)?);
                let header = usize::from(packet[0] & 15) * 4;
                let end = end(usize::from(half(packet, 2)?))?;
                let (word, id) = (half(packet, 6)?, u32::from(half(packet, 4)?));
                let part = part_of(id, usize::from(word & OFFSET) * 8, word & MORE_FRAGMENTS != 0);
                let payload = if header < IPV4_BYTES { None } else { packet.get(header..end) };
                Some(Packet::new(from, to, packet[9], part, payload?))
            }
            6 => {
                let (from, to) = (v6(packet, 8)?, v6(packet, 24)?);
                let end = end(IPV6_BYTES + usize::from(half(packet, 4)?))?;
                let (protocol, part, payload) = transport(packet[6], packet.get(IPV6_BYTES..end)?)?;
                Some(Packet::new(from, to, protocol, part, payload))
            }
            _ => None,
        }
    }

    fn new(from: IpAddr, to: IpAddr, protocol: u8, part: Part, payload: &'a [u8]) -> Self {
        let (from, to) = (SocketAddr::new(from, 0), SocketAddr::new(to, 0));
        Packet { from, to, protocol, part, payload }
    }

    fn with_ports(self) -> Option<Self> {
        if matches!(self.part, Part::Later(..)) {
            return Some(self);
        }
        let least = match self.protocol {
            TCP => TCP_BYTES_MIN,
            UDP => UDP_BYTES,
            ICMP | ICMPV6 => ICMP_BYTES,
            _ => 0,
        };
        (self.payload.len() >= least).then_some(self)?.with_numbers()
    }

    /// Takes the ports, or the identifier of an echo.
    fn with_numbers(mut self) -> Option<Self> {
        match (self.protocol, self.icmp()) {
            (_, Some(Icmp::EchoRequest(id))) => self.from.set_port(id),
            (_, Some(Icmp::EchoReply(id))) => self.to.set_port(id),
            (TCP | UDP, _) => {
                self.from.set_port(half(self.payload, 0)?);
                self.to.set_port(half(self.payload, 2)?);
            }
            _ => {}
        }
        Some(self)
    }

    /// The flags of a TCP segment; 0 for anything else.
    pub fn flags(&self) -> u8 {
        let tcp = self.protocol == TCP && !matches!(self.part, Part::Later(..));
        self.payload.get(13).filter(|_| tcp).copied().unwrap_or(0)
    }

    /// Whether it is a TCP segment that opens a connection.
    pub fn opens(&self) -> bool {
        self.flags() & (SYN | ACK | RST) == SYN
    }

    /// What kind of ICMP message it is; `None` for other protocols, and where the family has another ICMP.
    pub fn icmp(&self) -> Option<Icmp> {
        let (kind, id) = (*self.payload.first()?, half(self.payload, 4)?);
        match (self.protocol, self.from.is_ipv4()) {
            (ICMP, true) => Some(match kind {
                0 => Icmp::EchoReply(id),
                8 => Icmp::EchoRequest(id),
                3 | 4 | 11 | 12 => Icmp::Error,
                _ => Icmp::Other,
            }),
            (ICMPV6, false) => Some(match kind {
                129 => Icmp::EchoReply(id),
                128 => Icmp::EchoRequest(id),
                1..=4 => Icmp::Error,
                _ => Icmp::Other,
            }),
            _ => None,
        }
    }
}

/// An ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmp {
    /// With its identifier.
    EchoRequest(u16),
    /// With its identifier.
    EchoReply(u16),
    /// About a packet that it quotes.
    Error,
    /// Anything else.
    Other,
}

fn part_of(id: u32, offset: usize, more: bool) -> Part {
    match (offset, more) {
        (0, false) => Part::Whole,
        (0, true) => Part::First(id),
        (offset, _) => Part::Later(id, offset),
    }
}

/// Follows the extension headers (RFC 8200 section 4) to what they carry. Behind another fragment than the first there are none to read.
fn transport(mut next: u8, mut rest: &[u8]) -> Option<(u8, Part, &[u8])> {
    let mut part = Part::Whole;
    for _ in 0..HEADERS_MAX {
        let length = match next {
            HOP_BY_HOP | ROUTING | DESTINATION => 8 + 8 * usize::from(*rest.get(1)?),
            AUTHENTICATION => 8 + 4 * usize::from(*rest.get(1)?),
            FRAGMENT => 8,
            _ => return Some((next, part, rest)),
        };
        let header = rest.get(..length)?;
        if next == FRAGMENT {
            let word = u16::from_be_bytes([header[2], header[3]]);
            let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            part = part_of(id, usize::from(word & !7), word & 1 != 0);
            if matches!(part, Part::Later(..)) {
                return Some((header[0], part, &rest[length..]));
            }
        }
        next = header[0];
        rest = &rest[length..];
    }
    None
}
