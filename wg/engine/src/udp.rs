//! UDP ports inside the tunnel. What arrives waits in one buffer for the host, which takes all of it after each batch; what is
//! sent is built where the host has put its payload.
//!
//! ```text
//!  0 payload length u32   4 kind u16 (a [`Kind`])   6 our port u16
//!  8 the other end: family u16   10 port u16   12 address, 16 bytes (IPv4 in the first four)
//! 28 payload, then zeros up to a multiple of four                                     (little-endian)
//! ```

use crate::counter::{Counter, Counters};
use crate::event::Address;
use crate::tun::checksum::{self, IPV4_BYTES, IPV6_BYTES, UDP};
use crate::tun::division::{parse, ports};
use std::net::{IpAddr, SocketAddr};

/// Ports bound at once, at most.
pub const PORTS_MAX: usize = 8192;
/// Length of a UDP header.
const HEADER_BYTES: usize = 8;
/// Bytes in front of a payload that is sent, whichever the family.
pub const HEADROOM: usize = IPV6_BYTES + HEADER_BYTES;
/// Bytes in front of each payload that arrived.
const RECORD_BYTES: usize = 28;
/// Bytes that wait for the host. A record is shorter than the WireGuard message that it came in, so a whole batch of received
/// datagrams fits; the newest is dropped where the host leaves more.
const RECEIVED_BYTES: usize = 1 << 20;
/// Words of the set of ports.
const WORDS: usize = 65_536 / 64;
/// ICMP error types: destination unreachable.
const UNREACHABLE: u8 = 3;
const UNREACHABLE_V6: u8 = 1;
/// Codes of these: nobody has the port.
const PORT_UNREACHABLE: u8 = 3;
const PORT_UNREACHABLE_V6: u8 = 4;
/// And for IPv4: the packet is too large, which is no end.
const FRAGMENTATION_NEEDED: u8 = 4;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// What a record is. The numbers are the contract with `agent/shared/datagram_ring.ts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// A datagram.
    Datagram = 0,
    /// The other end says that nobody has the port that a datagram of ours went to.
    Refused = 1,
    /// The other end says that a datagram of ours cannot be delivered.
    Unreachable = 2,
}

/// The ports, and what has arrived for them.
pub struct Udp {
    bound: Box<[u64]>,
    count: usize,
    received: Vec<u8>,
}

impl Default for Udp {
    fn default() -> Self {
        Udp { bound: vec![0; WORDS].into_boxed_slice(), count: 0, received: Vec::new() }
    }
}

impl Udp {
    /// Opens a port on every address; false when it is taken or there are too many.
    pub fn bind(&mut self, port: u16) -> bool {
        if port == 0 || self.count >= PORTS_MAX || self.has_port(port) {
            return false;
        }
        self.bound[usize::from(port) / 64] |= 1 << (port % 64);
        self.count += 1;
        // Not before somebody wants it, and not while datagrams arrive.
        self.received.reserve_exact(RECEIVED_BYTES - self.received.len());
        true
    }

    /// Closes a port.
    pub fn close(&mut self, port: u16) {
        if self.has_port(port) {
            self.bound[usize::from(port) / 64] &= !(1 << (port % 64));
            self.count -= 1;
        }
    }

    /// Whether a port is open.
    pub fn has_port(&self, port: u16) -> bool {
        self.bound[usize::from(port) / 64] >> (port % 64) & 1 != 0
    }

    /// What has arrived, one record after another.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// The host has taken everything.
    pub fn clear(&mut self) {
        self.received.clear();
    }

    /// Takes an inner packet; false where it is no datagram for an open port.
    pub fn receive(&mut self, counters: &mut Counters, packet: &[u8]) -> bool {
        let Some((from, _, UDP, rest)) = parse(packet) else { return false };
        let Some((remote, local)) = ports(rest) else { return false };
        if !self.has_port(local) {
            return false;
        }
        let length = rest.get(4..6).map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])));
        let Some(payload) = rest.get(HEADER_BYTES..length) else {
            counters.add(Counter::UdpMalformed);
            return true;
        };
        self.push(counters, Kind::Datagram, local, SocketAddr::new(from, remote), payload);
        true
    }

    /// Takes an ICMP error; false where it is not about a datagram of ours. Only who was sent to may say so: whoever else is in
    /// the mesh could end a conversation by it.
    pub fn handle_icmp(&mut self, counters: &mut Counters, packet: &[u8]) -> bool {
        let Some((from, _, protocol, rest)) = parse(packet) else { return false };
        let Some(message) = rest.first_chunk::<HEADER_BYTES>() else { return false };
        let kind = match (protocol, message[0], message[1]) {
            (ICMP, UNREACHABLE, PORT_UNREACHABLE) | (ICMP_V6, UNREACHABLE_V6, PORT_UNREACHABLE_V6) => Kind::Refused,
            (ICMP, UNREACHABLE, code) if code != FRAGMENTATION_NEEDED => Kind::Unreachable,
            (ICMP_V6, UNREACHABLE_V6, _) => Kind::Unreachable,
            _ => return false,
        };
        let Some((_, to, UDP, sent)) = parse(&rest[HEADER_BYTES..]) else { return false };
        let Some((local, remote)) = ports(sent) else { return false };
        if to != from || !self.has_port(local) {
            return false;
        }
        self.push(counters, kind, local, SocketAddr::new(to, remote), &[]);
        true
    }

    fn push(&mut self, counters: &mut Counters, kind: Kind, local: u16, from: SocketAddr, payload: &[u8]) {
        let padded = payload.len().next_multiple_of(4);
        if self.received.capacity() - self.received.len() < RECORD_BYTES + padded {
            return counters.add(Counter::UdpFull);
        }
        let from = Address::from(from);
        let list = &mut self.received;
        list.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        list.extend_from_slice(&(kind as u16).to_le_bytes());
        list.extend_from_slice(&local.to_le_bytes());
        list.extend_from_slice(&from.family.to_le_bytes());
        list.extend_from_slice(&from.port.to_le_bytes());
        list.extend_from_slice(&from.ip);
        list.extend_from_slice(payload);
        list.extend_from_slice(&[0; 3][..padded - payload.len()]);
    }
}

/// Bytes of the headers in front of a payload.
pub fn overhead(to: IpAddr) -> usize {
    HEADER_BYTES + if to.is_ipv4() { IPV4_BYTES } else { IPV6_BYTES }
}

/// Writes the headers of a datagram whose `length` bytes of payload lie in `buffer` from [`HEADROOM`] on: where the packet
/// begins, and its length. Both ends are of one family.
pub fn write_headers(buffer: &mut [u8], from: SocketAddr, to: SocketAddr, length: usize) -> (usize, usize) {
    let datagram = HEADER_BYTES + length;
    let udp = HEADROOM - HEADER_BYTES;
    buffer[udp..udp + 2].copy_from_slice(&from.port().to_be_bytes());
    buffer[udp + 2..udp + 4].copy_from_slice(&to.port().to_be_bytes());
    buffer[udp + 4..udp + 6].copy_from_slice(&(datagram as u16).to_be_bytes());
    buffer[udp + 6..HEADROOM].fill(0);
    let start = match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let start = udp - IPV4_BYTES;
            let header = &mut buffer[start..udp];
            header.fill(0);
            header[0] = 0x45;
            header[2..4].copy_from_slice(&((IPV4_BYTES + datagram) as u16).to_be_bytes());
            header[6] = 0x40; // Don't fragment: larger ones are refused instead.
            header[8] = 64;
            header[9] = UDP;
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            checksum::renew_ipv4(header);
            start
        }
        (source, destination) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            let header = &mut buffer[..IPV6_BYTES];
            header.fill(0);
            header[0] = 0x60;
            header[4..6].copy_from_slice(&(datagram as u16).to_be_bytes());
            header[6] = UDP;
            header[7] = 64;
            header[8..24].copy_from_slice(&octets(source));
            header[24..40].copy_from_slice(&octets(destination));
            0
        }
    };
    let packet = &mut buffer[start..HEADROOM + length];
    let at = udp - start;
    let sum = tcp::checksum::sum(checksum::pseudo(packet, UDP, datagram), &packet[at..]);
    let stored = checksum::stored(sum, UDP);
    packet[at + 6..at + 8].copy_from_slice(&stored);
    (start, packet.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ip: &str, port: u16) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), port)
    }

    fn packet(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0xaa; HEADROOM + payload.len()];
        buffer[HEADROOM..].copy_from_slice(payload);
        let (start, length) = write_headers(&mut buffer, from, to, payload.len());
        buffer[start..start + length].to_vec()
    }

    #[test]
    fn packets_have_right_checksums_and_come_back_as_they_were() {
        let ends = [(at("10.42.0.1", 5000), at("10.42.0.2", 53)), (at("fd00::1", 5000), at("fd00::2", 53))];
        for (from, to) in ends {
            for length in [0, 1, 2, 3, 4, 1000, 1201] {
                let payload: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
                let p = packet(from, to, &payload);
                let start = if from.is_ipv4() { IPV4_BYTES } else { IPV6_BYTES };
                assert!(checksum::is_right(&p, UDP, start), "{length} bytes");
                let (mut udp, mut counters) = (Udp::default(), Counters::default());
                assert!(!udp.receive(&mut counters, &p), "nobody has the port");
                assert!(udp.bind(53) && !udp.bind(53) && udp.receive(&mut counters, &p));
                let record = udp.received();
                assert_eq!(record.len(), RECORD_BYTES + (length as usize).next_multiple_of(4));
                assert_eq!(record[..8], [length as u8, (length >> 8) as u8, 0, 0, 0, 0, 53, 0]);
                assert_eq!(record[8..12], [if from.is_ipv4() { 4 } else { 6 }, 0, 0x88, 0x13]);
                assert_eq!(record[RECORD_BYTES..][..payload.len()], payload);
                udp.clear();
                udp.close(53);
                assert!(!udp.receive(&mut counters, &p) && udp.received().is_empty());
            }
        }
    }

    #[test]
    fn what_claims_to_be_longer_than_it_is_is_counted_and_dropped() {
        let mut p = packet(at("10.42.0.1", 5000), at("10.42.0.2", 53), b"query");
        let (mut udp, mut counters) = (Udp::default(), Counters::default());
        udp.bind(53);
        for claimed in [0u16, 7, 14, 65_535] {
            p[IPV4_BYTES + 4..IPV4_BYTES + 6].copy_from_slice(&claimed.to_be_bytes());
            assert!(udp.receive(&mut counters, &p) && udp.received().is_empty(), "{claimed}");
        }
        assert_eq!(counters.value(Counter::UdpMalformed), 4.0);
        for cut in 0..p.len() {
            udp.receive(&mut counters, &p[..cut]);
        }
        assert!(udp.received().is_empty());
    }

    #[test]
    fn the_newest_is_dropped_where_the_host_takes_nothing() {
        let p = packet(at("10.42.0.1", 5000), at("10.42.0.2", 53), &[7; 1000]);
        let (mut udp, mut counters) = (Udp::default(), Counters::default());
        udp.bind(53);
        for _ in 0..2000 {
            assert!(udp.receive(&mut counters, &p));
        }
        assert!(udp.received().len() <= RECEIVED_BYTES);
        assert_eq!(counters.value(Counter::UdpFull), (2000 - RECEIVED_BYTES / 1028) as f64);
    }

    #[test]
    fn ports_are_bounded() {
        let mut udp = Udp::default();
        assert_eq!((0..=65_535).filter(|p| udp.bind(*p)).count(), PORTS_MAX);
        assert!(!udp.has_port(0) && !udp.has_port(PORTS_MAX as u16 + 1));
        udp.close(1);
        assert!(udp.bind(60_000) && !udp.has_port(1));
    }

    /// An ICMP error about `about`, from `from`.
    fn error(from: &str, kind: u8, code: u8, about: &[u8]) -> Vec<u8> {
        let from: IpAddr = from.parse().unwrap();
        let mut p = match from {
            IpAddr::V4(ip) => {
                let mut p = vec![0; IPV4_BYTES];
                (p[0], p[9]) = (0x45, ICMP);
                p[12..16].copy_from_slice(&ip.octets());
                p
            }
            IpAddr::V6(ip) => {
                let mut p = vec![0; IPV6_BYTES];
                (p[0], p[6]) = (0x60, ICMP_V6);
                p[8..24].copy_from_slice(&ip.octets());
                p
            }
        };
        p.extend_from_slice(&[kind, code, 0, 0, 0, 0, 0, 0]);
        p.extend_from_slice(about);
        p
    }

    #[test]
    fn only_who_was_sent_to_says_that_a_port_is_closed() {
        let (mut udp, mut counters) = (Udp::default(), Counters::default());
        udp.bind(5000);
        let v4 = packet(at("10.42.0.1", 5000), at("10.42.0.2", 53), b"query");
        let v6 = packet(at("fd00::1", 5000), at("fd00::2", 53), b"query");
        let mut ask = |p: &[u8]| {
            let taken = udp.handle_icmp(&mut counters, p);
            let kind = udp.received().get(4).copied();
            udp.clear();
            (taken, kind)
        };
        assert_eq!(ask(&error("10.42.0.2", 3, 3, &v4)), (true, Some(Kind::Refused as u8)));
        assert_eq!(ask(&error("fd00::2", 1, 4, &v6[..48])), (true, Some(Kind::Refused as u8)));
        assert_eq!(ask(&error("10.42.0.2", 3, 13, &v4[..28])), (true, Some(Kind::Unreachable as u8)));
        assert_eq!(ask(&error("fd00::2", 1, 1, &v6)), (true, Some(Kind::Unreachable as u8)));
        assert_eq!(ask(&error("10.42.0.3", 3, 3, &v4)), (false, None), "somebody else");
        assert_eq!(ask(&error("10.42.0.2", 3, 4, &v4)), (false, None), "too large");
        assert_eq!(ask(&error("10.42.0.2", 11, 0, &v4)), (false, None));
        let other = packet(at("10.42.0.1", 5001), at("10.42.0.2", 53), b"query");
        assert_eq!(ask(&error("10.42.0.2", 3, 3, &other)), (false, None), "no port of ours");
        let whole = error("10.42.0.2", 3, 3, &v4);
        for cut in 0..IPV4_BYTES + HEADER_BYTES + IPV4_BYTES + 4 {
            assert_eq!(ask(&whole[..cut]), (false, None), "{cut} bytes");
        }
    }
}
