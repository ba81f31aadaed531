//! Splits what the kernel hands over in one piece: up to 64 KiB of one TCP flow or of datagrams of one UDP flow, behind one
//! set of headers, into packets that fit the tunnel. Checksums that the kernel has left open are computed.

use super::checksum::{pseudo, renew_ipv4, stored, IPV4_BYTES, IPV6_BYTES, TCP, UDP};
use super::vnet::{Header, Kind, BYTES, PACKET_BYTES_MAX};
use tcp::checksum::sum;

const TCP_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
/// Flags of the TCP header that belong to the last part only (FIN, PSH), and to the first only (CWR, RFC 3168).
const LAST_ONLY: u8 = 0x01 | 0x08;
const FIRST_ONLY: u8 = 0x80;

/// A packet from the kernel, and how it is to be split.
pub struct Split<'a> {
    packet: &'a [u8],
    /// Where the transport header begins; 0 where nothing is to be computed.
    transport: usize,
    /// Where the payload begins.
    payload: usize,
    /// Payload of each part but the last.
    size: usize,
    /// Where in the transport header the checksum is.
    checksum: usize,
    kind: Kind,
}

impl<'a> Split<'a> {
    /// Looks at a packet behind its virtio header; `None` when the two do not agree.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = Header::parse(bytes)?;
        let packet = &bytes[BYTES..];
        let version = packet.first()? >> 4;
        let fixed = match version {
            4 => IPV4_BYTES,
            6 => IPV6_BYTES,
            _ => return None,
        };
        if packet.len() < fixed || packet.len() > PACKET_BYTES_MAX {
            return None;
        }
        let (start, offset) = (usize::from(header.checksum_start), usize::from(header.checksum_offset));
        let whole = Split { packet, transport: 0, payload: packet.len(), size: 0, checksum: 0, kind: Kind::Whole };
        if header.kind == Kind::Whole {
            if !header.needs_checksum {
                return Some(whole);
            }
            let fits = start >= fixed && start + offset + 2 <= packet.len();
            return fits.then_some(Split { transport: start, checksum: offset, ..whole });
        }
        // The kernel asks for the checksum of everything that it wants split.
        if !header.needs_checksum || start < fixed || header.size == 0 {
            return None;
        }
        let transport_bytes = match (header.kind, version) {
            (Kind::Udp, _) if offset == 6 => UDP_BYTES,
            (Kind::Tcp4, 4) | (Kind::Tcp6, 6) if offset == 16 && packet.len() >= start + TCP_BYTES => {
                usize::from(packet[start + 12] >> 4) * 4
            }
            _ => return None,
        };
        let payload = start + transport_bytes;
        let least = if header.kind == Kind::Udp { UDP_BYTES } else { TCP_BYTES };
        if transport_bytes < least || payload > packet.len() {
            return None;
        }
        Some(Split {
            packet,
            transport: start,
            payload,
            size: usize::from(header.size),
            checksum: offset,
            kind: header.kind,
        })
    }

    /// The whole packet as the kernel gave it.
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// Length of the longest packet that it becomes.
    pub fn longest(&self) -> usize {
        match self.kind {
            Kind::Whole => self.packet.len(),
            _ => (self.payload + self.size).min(self.packet.len()),
        }
    }

    /// How many packets it becomes, at least one.
    pub fn count(&self) -> usize {
        match self.kind {
            Kind::Whole => 1,
            _ => (self.packet.len() - self.payload).div_ceil(self.size).max(1),
        }
    }

    /// Writes packet `i` to `out`, which has room for it; its length.
    pub fn write(&self, i: usize, out: &mut [u8]) -> usize {
        if self.kind == Kind::Whole {
            return self.write_whole(out);
        }
        let from = self.payload + i * self.size;
        let to = (from + self.size).min(self.packet.len());
        let length = self.payload + to - from;
        let out = &mut out[..length];
        out[..self.payload].copy_from_slice(&self.packet[..self.payload]);
        out[self.payload..].copy_from_slice(&self.packet[from..to]);
        self.write_ip(i, out);
        let protocol = if self.kind == Kind::Udp {
            let length = (out.len() - self.transport) as u16;
            out[self.transport + 4..self.transport + 6].copy_from_slice(&length.to_be_bytes());
            UDP
        } else {
            self.write_tcp(i, to == self.packet.len(), out);
            TCP
        };
        let at = self.transport + self.checksum;
        out[at..at + 2].fill(0);
        let body = &out[self.transport..];
        let checksum = stored(sum(pseudo(out, protocol, body.len()), body), protocol);
        out[at..at + 2].copy_from_slice(&checksum);
        length
    }

    fn write_whole(&self, out: &mut [u8]) -> usize {
        let out = &mut out[..self.packet.len()];
        out.copy_from_slice(self.packet);
        if self.transport > 0 {
            // The field holds the sum of the pseudo-header, which counts as data here.
            let at = self.transport + self.checksum;
            let protocol = if self.checksum == 6 { UDP } else { TCP };
            let checksum = stored(sum(0, &out[self.transport..]), protocol);
            out[at..at + 2].copy_from_slice(&checksum);
        }
        out.len()
    }

    fn write_ip(&self, i: usize, out: &mut [u8]) {
        let length = out.len();
        if out[0] >> 4 == 6 {
            out[4..6].copy_from_slice(&((length - IPV6_BYTES) as u16).to_be_bytes());
            return;
        }
        out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        let id = u16::from_be_bytes([out[4], out[5]]).wrapping_add(i as u16);
        out[4..6].copy_from_slice(&id.to_be_bytes());
        renew_ipv4(&mut out[..self.transport]);
    }

    fn write_tcp(&self, i: usize, last: bool, out: &mut [u8]) {
        let tcp = &mut out[self.transport..];
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add((i * self.size) as u32);
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        if !last {
            tcp[13] &= !LAST_ONLY;
        }
        if i > 0 {
            tcp[13] &= !FIRST_ONLY;
        }
    }
}
