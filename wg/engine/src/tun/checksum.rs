//! Internet checksums (RFC 1071) of whole packets, on the sums of the `tcp` crate.

use tcp::checksum::{fold, sum};

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;

/// Length of an IPv4 header without options.
pub const IPV4_BYTES: usize = 20;
/// Length of the fixed IPv6 header.
pub const IPV6_BYTES: usize = 40;

/// The source and destination address of an IP packet whose fixed header is whole.
pub fn addresses(packet: &[u8]) -> &[u8] {
    if packet[0] >> 4 == 4 {
        &packet[12..IPV4_BYTES]
    } else {
        &packet[8..IPV6_BYTES]
    }
}

/// Sum of the pseudo-header for `length` bytes of `protocol` (RFC 9293 section 3.1, RFC 768, RFC 8200 section 8.1).
pub fn pseudo(packet: &[u8], protocol: u8, length: usize) -> u64 {
    let length = (length as u32).to_be_bytes();
    sum(sum(0, addresses(packet)), &[length[0], length[1], length[2], length[3], 0, protocol])
}

/// The two bytes to store for a sum. Zero means "none" in UDP (RFC 768), whose sum zero is stored as its complement.
pub fn stored(sum: u64, protocol: u8) -> [u8; 2] {
    let folded = !fold(sum);
    if folded == 0 && protocol == UDP {
        return [0xff; 2];
    }
    folded.to_le_bytes()
}

/// Computes the header checksum of an IPv4 header anew.
pub fn renew_ipv4(header: &mut [u8]) {
    header[10..12].fill(0);
    let checksum = stored(sum(0, header), 0);
    header[10..12].copy_from_slice(&checksum);
}

/// Whether the transport checksum of a packet is right; `start` is where its transport header begins.
pub fn is_right(packet: &[u8], protocol: u8, start: usize) -> bool {
    let body = &packet[start..];
    fold(sum(pseudo(packet, protocol, body.len()), body)) == 0xffff
}
