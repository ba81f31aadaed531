//! Joins packets of one flow that arrive one after another into one packet of up to 64 KiB, which the kernel takes with one
//! write and one walk through its network stack.
//!
//! ```text
//!   arena   | virtio | IP TCP payload | payload | payload |   | virtio | IP TCP (an ACK) |   | virtio | IP UDP ...
//!             `-------- one packet: one part ----------'        `------- another ------'
//! ```
//!
//! Payload goes to the end of the arena. A packet whose last payload is not there any more, since another flow came between,
//! goes on in a further part. Packets are handed over in the order in which they were begun: within a flow nothing overtakes.

use super::checksum::{is_right, pseudo, renew_ipv4, IPV4_BYTES, IPV6_BYTES, TCP, UDP};
use super::vnet::{Header, Kind, BYTES, PACKET_BYTES_MAX};
use tcp::checksum::{fold, sum};

/// Bytes of packets between two flushes.
const ARENA_BYTES: usize = 384 << 10;
/// Packets between two flushes.
const PACKETS_MAX: usize = 1024;
/// Parts of packets between two flushes.
const PARTS_MAX: usize = 4096;
/// Parts of one packet: the kernel takes no more in one write (`UIO_MAXIOV`).
const PARTS_OF_PACKET_MAX: u32 = 1024;
/// Flows that are joined at once, a power of two; one more ends the packet of another.
const FLOWS: usize = 64;
/// Datagrams in one packet, as many as every kernel with this feature takes (`UDP_MAX_SEGMENTS` was 64 at first).
const DATAGRAMS_MAX: u32 = 64;
/// Flags of the TCP header.
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// A stretch of the arena, as the host reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub offset: u32,
    /// Its bytes.
    pub length: u32,
    /// 1 when the packet goes on in the next part.
    pub more: u32,
}

/// A part while packets are being joined.
#[derive(Clone, Copy)]
struct Piece {
    offset: u32,
    length: u32,
    next: u32,
}

/// No further piece.
const NONE: u32 = u32::MAX;

/// A packet that others may be joined to.
struct Joined {
    /// Where its virtio header is.
    at: u32,
    first: u32,
    last: u32,
    /// How many pieces there are.
    pieces: u32,
    shape: Shape,
    /// Length of the whole IP packet.
    length: u32,
    /// How many packets it is.
    count: u32,
    /// The sequence number that continues it.
    next_sequence: u32,
    /// Nothing more can be joined.
    ended: bool,
    /// The checksum of the first was found right.
    verified: bool,
}

/// Where the parts of a packet are that may be joined.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    kind: Kind,
    /// Where the transport header begins.
    transport: u16,
    /// Where the payload begins.
    payload: u16,
    /// Bytes of payload of each but the last.
    size: u16,
}

impl Shape {
    /// Of a packet that may be joined to others: whole, with a right header and no IP options, TCP with payload and no flags but
    /// ACK and PSH, or UDP with a checksum.
    fn of(packet: &[u8], udp: bool) -> Option<Self> {
        let (transport, protocol, length) = match packet.first()? {
            0x45 if packet.len() > IPV4_BYTES => {
                // A fragment has the flag "more" or an offset.
                let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff;
                // The header is written anew where packets are joined: what is wrong with it would not be seen any more.
                if fragment != 0 || fold(sum(0, &packet[..IPV4_BYTES])) != 0xffff {
                    return None;
                }
                (IPV4_BYTES, packet[9], usize::from(u16::from_be_bytes([packet[2], packet[3]])))
            }
            first if first >> 4 == 6 && packet.len() > IPV6_BYTES => {
                let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
                (IPV6_BYTES, packet[6], IPV6_BYTES + length)
            }
            _ => return None,
        };
        if length != packet.len() {
            return None;
        }
        let (kind, header) = match protocol {
            TCP if packet.len() > transport + 20 => {
                let header = usize::from(packet[transport + 12] >> 4) * 4;
                // Its lower half: the flags that RFC 3540 and AccECN use.
                let plain = packet[transport + 12] & 0xf == 0 && packet[transport + 13] & !PSH == ACK;
                if header < 20 || !plain {
                    return None;
                }
                (if transport == IPV4_BYTES { Kind::Tcp4 } else { Kind::Tcp6 }, header)
            }
            UDP if udp && packet.len() > transport + 8 => {
                let length = usize::from(u16::from_be_bytes([packet[transport + 4], packet[transport + 5]]));
                if length != packet.len() - transport || packet[transport + 6..transport + 8] == [0, 0] {
                    return None;
                }
                (Kind::Udp, 8)
            }
            _ => return None,
        };
        let payload = transport + header;
        let size = packet.len().checked_sub(payload).filter(|n| *n > 0)?;
        Some(Shape { kind, transport: transport as u16, payload: payload as u16, size: size as u16 })
    }

    fn protocol(&self) -> u8 {
        if self.kind == Kind::Udp {
            UDP
        } else {
            TCP
        }
    }
}

/// The packets for the kernel since the last flush.
pub struct Gro {
    arena: Box<[u8]>,
    used: usize,
    packets: Vec<Joined>,
    pieces: Vec<Piece>,
    parts: Vec<Part>,
    /// By flow: one more than the number of the packet that was begun last.
    flows: [u32; FLOWS],
    /// Whether the kernel takes joined datagrams.
    udp: bool,
}

impl Gro {
    /// Without packets. `udp`: whether the kernel takes joined datagrams.
    pub fn new(udp: bool) -> Self {
        Gro {
            arena: vec![0; ARENA_BYTES].into_boxed_slice(),
            used: 0,
            packets: Vec::with_capacity(PACKETS_MAX),
            pieces: Vec::with_capacity(PARTS_MAX),
            parts: Vec::with_capacity(PARTS_MAX),
            flows: [0; FLOWS],
            udp,
        }
    }

    /// Whether another packet may find no room: flush first.
    pub fn is_full(&self) -> bool {
        self.arena.len() - self.used < BYTES + PACKET_BYTES_MAX
            || self.packets.len() == PACKETS_MAX
            || self.pieces.len() == PARTS_MAX
    }

    /// Takes an IP packet of at most 65,535 bytes, unless [`is_full`](Self::is_full): false then.
    pub fn push(&mut self, packet: &[u8]) -> bool {
        if self.is_full() || packet.len() > PACKET_BYTES_MAX {
            return false;
        }
        let flow = flow_of(packet);
        let shape = Shape::of(packet, self.udp);
        if let Some(shape) = shape {
            let candidate = self.flows[flow].checked_sub(1).map(|i| i as usize);
            if candidate.is_some_and(|i| self.join(i, packet, shape)) {
                return true;
            }
        }
        self.begin(packet, shape);
        // Whatever cannot be joined must not be overtaken by what comes after it.
        self.flows[flow] = if shape.is_some() { self.packets.len() as u32 } else { 0 };
        true
    }

    fn begin(&mut self, packet: &[u8], shape: Option<Shape>) {
        let at = self.used;
        let start = at + BYTES;
        self.arena[start..start + packet.len()].copy_from_slice(packet);
        self.used = start + packet.len();
        let piece = self.pieces.len() as u32;
        self.pieces.push(Piece { offset: at as u32, length: (BYTES + packet.len()) as u32, next: NONE });
        let ended = shape.is_none_or(|s| s.kind != Kind::Udp && tcp_flags(packet, s) & PSH != 0);
        let next_sequence = shape.map_or(0, |s| sequence(packet, s).wrapping_add(u32::from(s.size)));
        self.packets.push(Joined {
            at: at as u32,
            first: piece,
            last: piece,
            pieces: 1,
            shape: shape.unwrap_or(Shape { kind: Kind::Whole, transport: 0, payload: 0, size: 0 }),
            length: packet.len() as u32,
            count: 1,
            next_sequence,
            ended,
            verified: false,
        });
    }

    /// Joins a packet to the one with number `i`, if they belong together.
    fn join(&mut self, i: usize, packet: &[u8], shape: Shape) -> bool {
        let joined = &mut self.packets[i];
        let head_at = joined.at as usize + BYTES;
        let head = &self.arena[head_at..head_at + usize::from(joined.shape.payload)];
        let fits = !joined.ended
            && shape.size <= joined.shape.size
            && joined.length as usize + usize::from(shape.size) <= PACKET_BYTES_MAX
            && same_flow(head, joined.shape, packet, shape);
        if !fits {
            return false;
        }
        let udp = shape.kind == Kind::Udp;
        if udp && joined.count == DATAGRAMS_MAX || !udp && sequence(packet, shape) != joined.next_sequence {
            return false;
        }
        // The kernel does not check what is joined: a packet that was damaged before it came into the tunnel must not get through.
        let (protocol, transport) = (shape.protocol(), usize::from(shape.transport));
        if !joined.verified {
            let first = &self.arena[head_at..head_at + joined.length as usize];
            if !is_right(first, protocol, transport) {
                joined.ended = true;
                return false;
            }
            joined.verified = true;
        }
        if !is_right(packet, protocol, transport) {
            return false;
        }
        let from = self.used;
        let last = &mut self.pieces[joined.last as usize];
        let goes_on = (last.offset + last.length) as usize == from;
        if !goes_on && joined.pieces == PARTS_OF_PACKET_MAX {
            joined.ended = true;
            return false;
        }
        let payload = &packet[usize::from(shape.payload)..];
        self.arena[from..from + payload.len()].copy_from_slice(payload);
        self.used += payload.len();
        if goes_on {
            last.length += payload.len() as u32;
        } else {
            let piece = self.pieces.len() as u32;
            self.pieces[joined.last as usize].next = piece;
            self.pieces.push(Piece { offset: from as u32, length: payload.len() as u32, next: NONE });
            joined.last = piece;
            joined.pieces += 1;
        }
        joined.count += 1;
        joined.length += payload.len() as u32;
        joined.next_sequence = joined.next_sequence.wrapping_add(payload.len() as u32);
        joined.ended = shape.size < joined.shape.size;
        if !udp && tcp_flags(packet, shape) & PSH != 0 {
            self.arena[head_at + transport + 13] |= PSH;
            joined.ended = true;
        }
        true
    }

    /// Writes the headers and lists the parts of every packet. Nothing may be pushed before [`clear`](Self::clear).
    pub fn finish(&mut self) -> &[Part] {
        self.parts.clear();
        for joined in &self.packets {
            let (headers, _) = self.arena[joined.at as usize..].split_at_mut(BYTES + usize::from(joined.shape.payload));
            if joined.count > 1 {
                write_headers(headers, joined);
            } else {
                Header::PLAIN.write(headers);
            }
            let mut next = joined.first;
            while let Some(piece) = self.pieces.get(next as usize) {
                next = piece.next;
                self.parts.push(Part { offset: piece.offset, length: piece.length, more: u32::from(next != NONE) });
            }
        }
        &self.parts
    }

    /// The parts as [`finish`](Self::finish) has listed them.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Where the parts are.
    pub fn arena(&self) -> &[u8] {
        &self.arena
    }

    /// Everything was written to the kernel.
    pub fn clear(&mut self) {
        self.used = 0;
        self.packets.clear();
        self.pieces.clear();
        self.parts.clear();
        self.flows.fill(0);
    }
}

/// The virtio header, and lengths and checksums that speak of the whole.
fn write_headers(bytes: &mut [u8], joined: &Joined) {
    let Shape { kind, transport, payload, size } = joined.shape;
    let udp = kind == Kind::Udp;
    let header = Header {
        needs_checksum: true,
        kind,
        header_length: payload,
        size,
        checksum_start: transport,
        checksum_offset: if udp { 6 } else { 16 },
    };
    header.write(bytes);
    let packet = &mut bytes[BYTES..];
    let transport = usize::from(transport);
    let body = joined.length as usize - transport;
    if packet[0] >> 4 == 4 {
        packet[2..4].copy_from_slice(&(joined.length as u16).to_be_bytes());
        renew_ipv4(&mut packet[..transport]);
    } else {
        packet[4..6].copy_from_slice(&(body as u16).to_be_bytes());
    }
    if udp {
        packet[transport + 4..transport + 6].copy_from_slice(&(body as u16).to_be_bytes());
    }
    // Not complemented: the kernel adds the rest.
    let open = fold(pseudo(packet, joined.shape.protocol(), body)).to_le_bytes();
    let at = transport + usize::from(header.checksum_offset);
    packet[at..at + 2].copy_from_slice(&open);
}

/// Everything that must be equal is. Lengths, checksums, IPv4's identification, the sequence number and PSH may differ.
fn same_flow(head: &[u8], shape: Shape, packet: &[u8], other: Shape) -> bool {
    if shape.kind != other.kind || shape.payload != other.payload || shape.transport != other.transport {
        return false;
    }
    let same = |from: usize, to: usize| head[from..to] == packet[from..to];
    let t = usize::from(shape.transport);
    let ip = if t == IPV4_BYTES {
        same(0, 2) && same(6, 10) && same(12, IPV4_BYTES)
    } else {
        same(0, 4) && same(6, IPV6_BYTES)
    };
    let transport = if shape.kind == Kind::Udp {
        same(t, t + 4)
    } else {
        // Ports, acknowledgment, window, urgent pointer, options. The flags are ACK and perhaps PSH in both.
        same(t, t + 4) && same(t + 8, t + 13) && same(t + 14, t + 16) && same(t + 18, usize::from(shape.payload))
    };
    ip && transport
}

fn sequence(packet: &[u8], shape: Shape) -> u32 {
    let t = usize::from(shape.transport);
    u32::from_be_bytes([packet[t + 4], packet[t + 5], packet[t + 6], packet[t + 7]])
}

fn tcp_flags(packet: &[u8], shape: Shape) -> u8 {
    packet[usize::from(shape.transport) + 13]
}

/// A place in the table of flows, from addresses and ports. Not keyed: whoever makes flows meet makes them slower, and they are a
/// peer's own.
fn flow_of(packet: &[u8]) -> usize {
    let (from, to) = match packet.first().map_or(0, |b| b >> 4) {
        4 => (12, IPV4_BYTES + 4),
        6 => (8, IPV6_BYTES + 4),
        _ => return 0,
    };
    let Some(key) = packet.get(from..to) else { return 0 };
    let mut hash = 0u32;
    for word in key.as_chunks::<4>().0 {
        hash = (hash.rotate_left(5) ^ u32::from_ne_bytes(*word)).wrapping_mul(0x9e37_79b1);
    }
    (hash >> 16) as usize % FLOWS
}
