//! What a program is told whose packet does not go: an ICMP error (RFC 792, RFC 4443). If no peer is there, it fails at once and not
//! after its patience has ended; if the path takes less, it sends less.

use super::checksum::{pseudo, renew_ipv4, stored, IPV4_BYTES, IPV6_BYTES};
use tcp::checksum::sum;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
const ICMP_BYTES: usize = 8;
/// How much of the packet is quoted: its headers and a little more.
const QUOTED_BYTES_MAX: usize = 128;
/// The longest error.
pub const ERROR_BYTES_MAX: usize = IPV6_BYTES + ICMP_BYTES + QUOTED_BYTES_MAX;
const HOP_LIMIT: u8 = 64;

/// Why a packet does not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No peer has the address.
    Nobody,
    /// The path takes packets of this size.
    TooBig(usize),
    /// The policy of who has the address does not allow it.
    Prohibited,
}

/// Writes the error for a packet whose fixed header is whole; its length, or `None` where there must be none: for ICMP that may be an
/// error itself, for what is not the first fragment, and for many receivers. It comes from the address that is not reached,
/// since the kernel believes none that comes from its own.
pub fn write(packet: &[u8], reason: Reason, out: &mut [u8; ERROR_BYTES_MAX]) -> Option<usize> {
    let quoted = &packet[..packet.len().min(QUOTED_BYTES_MAX)];
    let size = match reason {
        Reason::Nobody | Reason::Prohibited => 0,
        Reason::TooBig(mtu) => mtu as u32,
    };
    let (fixed, kind) = if packet[0] >> 4 == 4 {
        let offset = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff;
        let asks = packet[9] != ICMP || packet.get(usize::from(packet[0] & 0xf) * 4) == Some(&ECHO_REQUEST);
        // Class D and above: many receivers, and the broadcast address.
        if !asks || offset != 0 || packet[16] >= 224 {
            return None;
        }
        // Destination unreachable: the host, fragmentation needed, or prohibited (RFC 1812 section 5.2.7.1).
        let code = match reason {
            Reason::Nobody => 1,
            Reason::TooBig(_) => 4,
            Reason::Prohibited => 13,
        };
        (IPV4_BYTES, [3, code])
    } else {
        let asks = packet[6] != ICMPV6 || packet.get(IPV6_BYTES) == Some(&ECHO_REQUEST_V6);
        if !asks || packet[24] == 0xff {
            return None;
        }
        // Destination unreachable, the address or prohibited; or packet too big.
        let kind = match reason {
            Reason::Nobody => [1, 3],
            Reason::TooBig(_) => [2, 0],
            Reason::Prohibited => [1, 1],
        };
        (IPV6_BYTES, kind)
    };
    let length = fixed + ICMP_BYTES + quoted.len();
    let out = &mut out[..length];
    out.fill(0);
    if fixed == IPV4_BYTES {
        out[0] = 0x45;
        out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        out[8..10].copy_from_slice(&[HOP_LIMIT, ICMP]);
        out[12..16].copy_from_slice(&packet[16..20]);
        out[16..20].copy_from_slice(&packet[12..16]);
        renew_ipv4(&mut out[..fixed]);
    } else {
        out[0] = 0x60;
        out[4..6].copy_from_slice(&((length - fixed) as u16).to_be_bytes());
        out[6..8].copy_from_slice(&[ICMPV6, HOP_LIMIT]);
        out[8..24].copy_from_slice(&packet[24..40]);
        out[24..40].copy_from_slice(&packet[8..24]);
    }
    out[fixed..fixed + 2].copy_from_slice(&kind);
    // RFC 1191 section 4 has two bytes for it, behind two that are zero.
    out[fixed + 4..fixed + 8].copy_from_slice(&size.to_be_bytes());
    out[fixed + ICMP_BYTES..].copy_from_slice(quoted);
    let body = &out[fixed..];
    // Only ICMPv6 counts a pseudo-header (RFC 4443 section 2.3).
    let start = if fixed == IPV6_BYTES { pseudo(out, ICMPV6, body.len()) } else { 0 };
    let checksum = stored(sum(start, body), 0);
    out[fixed + 2..fixed + 4].copy_from_slice(&checksum);
    Some(length)
}
