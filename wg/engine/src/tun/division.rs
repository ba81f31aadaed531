//! Who gets an inner packet for one of our addresses where both the userspace network and the kernel have them: the userspace
//! network gets what is its own beyond doubt, the kernel everything else (docs/decisions/0005-kernel-beside-userspace.md).

use super::checksum::{IPV4_BYTES, IPV6_BYTES, TCP, UDP};
use crate::net::{ECHO_FILL, ECHO_IDENTIFIER};
use crate::udp::Udp;
use std::net::{IpAddr, SocketAddr};
use tcp::Stack;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Bytes of an echo's payload that are looked at: the kernel's `ping` puts the time there.
const FILL_BYTES: usize = 8;

/// Who gets a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The userspace TCP.
    Tcp,
    /// Userspace UDP and ICMP.
    Datagrams,
    /// The kernel, by the TUN device.
    Kernel,
}

/// The addresses, the protocol and what follows the IP header; `None` for fragments and for what is cut off. Behind IPv6
/// extension headers, which the userspace network does not send, nothing is looked for.
pub fn parse(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let header: &[u8; IPV4_BYTES] = packet.first_chunk()?;
            if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
                return None;
            }
            let [.., a, b, c, d, e, f, g, h] = *header;
            let rest = packet.get(usize::from(header[0] & 0xf) * 4..)?;
            Some((IpAddr::from([a, b, c, d]), IpAddr::from([e, f, g, h]), header[9], rest))
        }
        6 => {
            let header: &[u8; IPV6_BYTES] = packet.first_chunk()?;
            let address = |at: usize| header[at..at + 16].try_into().ok().map(|b: [u8; 16]| IpAddr::from(b));
            Some((address(8)?, address(24)?, header[6], &packet[IPV6_BYTES..]))
        }
        _ => None,
    }
}

/// Where a UDP datagram goes; `None` for what is none.
pub fn udp_destination(packet: &[u8]) -> Option<SocketAddr> {
    let (_, to, protocol, rest) = parse(packet)?;
    Some(SocketAddr::new(to, ports(rest).filter(|_| protocol == UDP)?.1))
}

/// Source and destination port.
pub fn ports(transport: &[u8]) -> Option<(u16, u16)> {
    let p: &[u8; 4] = transport.first_chunk()?;
    Some((u16::from_be_bytes([p[0], p[1]]), u16::from_be_bytes([p[2], p[3]])))
}

/// Whose a packet for one of our addresses is.
pub fn owner(packet: &[u8], tcp: &mut Stack, udp: &Udp) -> Owner {
    find(packet, tcp, udp).unwrap_or(Owner::Kernel)
}

fn find(packet: &[u8], tcp: &mut Stack, udp: &Udp) -> Option<Owner> {
    let (from, to, protocol, rest) = parse(packet)?;
    match protocol {
        TCP => {
            let (remote, local) = ports(rest)?;
            let flags = *rest.get(13)?;
            let ours = tcp.claims(SocketAddr::new(to, local), SocketAddr::new(from, remote), flags);
            ours.then_some(Owner::Tcp)
        }
        UDP => udp.has_port(ports(rest)?.1).then_some(Owner::Datagrams),
        ICMP | ICMPV6 => {
            let message: &[u8; 8] = rest.first_chunk()?;
            let reply = if protocol == ICMP { 0 } else { 129 };
            let error = if protocol == ICMP { matches!(message[0], 3 | 4 | 5 | 11 | 12) } else { message[0] < 128 };
            if error {
                return caused_by(&rest[8..], tcp, udp).then_some(Owner::Datagrams);
            }
            let identifier = u16::from_be_bytes([message[4], message[5]]);
            let filled = rest[8..].iter().take(FILL_BYTES).all(|b| *b == ECHO_FILL);
            (message[0] == reply && identifier == ECHO_IDENTIFIER && filled).then_some(Owner::Datagrams)
        }
        _ => None,
    }
}

/// Whether an ICMP error is about a packet of the userspace network.
fn caused_by(packet: &[u8], tcp: &mut Stack, udp: &Udp) -> bool {
    let Some((from, to, protocol, rest)) = parse(packet) else { return false };
    let Some((local, remote)) = ports(rest) else { return false };
    match protocol {
        TCP => tcp.has_connection(SocketAddr::new(from, local), SocketAddr::new(to, remote)),
        UDP => udp.has_port(local),
        _ => false,
    }
}
