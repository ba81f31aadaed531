//! Splitting and joining together, with checksums computed in another way than by the code under test.

use super::gro::{Gro, Part};
use super::gso::Split;
use super::unreachable::{self, Reason};
use super::vnet::{Header, Kind, BYTES};

/// A small generator (xorshift64), so that failures can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// RFC 1071, word by word.
fn checksum(parts: &[&[u8]]) -> u16 {
    let all: Vec<u8> = parts.concat();
    let mut sum = 0u32;
    for pair in all.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn transport_of(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 4 {
        20
    } else {
        40
    }
}

fn pseudo(packet: &[u8]) -> Vec<u8> {
    let t = transport_of(packet);
    let body = (packet.len() - t) as u32;
    let (from, protocol) = if t == 20 { (12, packet[9]) } else { (8, packet[6]) };
    [&packet[from..t], &body.to_be_bytes()[..], &[0, 0, 0, protocol]].concat()
}

/// Whether every length and checksum of a packet is right.
fn assert_right(packet: &[u8]) {
    let t = transport_of(packet);
    if t == 20 {
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
        assert_eq!(checksum(&[&packet[..20]]), 0, "header checksum");
    } else {
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len() - 40);
    }
    let udp = packet[if t == 20 { 9 } else { 6 }] == 17;
    if udp {
        assert_eq!(usize::from(u16::from_be_bytes([packet[t + 4], packet[t + 5]])), packet.len() - t);
    }
    assert_eq!(checksum(&[&pseudo(packet), &packet[t..]]), 0, "transport checksum");
}

/// What a flow's packets have in common.
#[derive(Clone)]
struct Flow {
    v6: bool,
    udp: bool,
    port: u16,
    options: Vec<u8>,
    ack: u32,
    flags: u8,
}

impl Flow {
    fn tcp(v6: bool) -> Self {
        Flow { v6, udp: false, port: 4000, options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], ack: 77, flags: 0x10 }
    }

    fn udp(v6: bool) -> Self {
        Flow { v6, udp: true, port: 4000, options: Vec::new(), ack: 0, flags: 0 }
    }

    /// A packet with right checksums.
    fn packet(&self, id: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut transport = Vec::new();
        transport.extend(self.port.to_be_bytes());
        transport.extend(5201u16.to_be_bytes());
        if self.udp {
            transport.extend((8 + payload.len() as u16).to_be_bytes());
            transport.extend([0, 0]);
        } else {
            transport.extend(sequence.to_be_bytes());
            transport.extend(self.ack.to_be_bytes());
            transport.extend([((20 + self.options.len()) / 4 * 16) as u8, self.flags, 1, 2, 0, 0, 0, 0]);
            transport.extend(&self.options);
        }
        let protocol = if self.udp { 17 } else { 6 };
        let length = (transport.len() + payload.len()) as u16;
        let mut packet = if self.v6 {
            let mut ip = vec![0x60, 0, 0, 0];
            ip.extend(length.to_be_bytes());
            ip.extend([protocol, 64]);
            ip.extend([0xfd; 16]);
            ip.extend([0xfc; 16]);
            ip
        } else {
            let mut ip = vec![0x45, 0];
            ip.extend((length + 20).to_be_bytes());
            ip.extend(id.to_be_bytes());
            ip.extend([0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            let sum = checksum(&[&ip]).to_be_bytes();
            ip[10..12].copy_from_slice(&sum);
            ip
        };
        packet.extend(transport);
        packet.extend(payload);
        let t = transport_of(&packet);
        let at = t + if self.udp { 6 } else { 16 };
        let sum = checksum(&[&pseudo(&packet), &packet[t..]]).to_be_bytes();
        packet[at..at + 2].copy_from_slice(&sum);
        packet
    }

    /// What the kernel hands over for `payload`, to be split into parts of `size` bytes.
    fn super_packet(&self, id: u16, sequence: u32, payload: &[u8], size: u16) -> Vec<u8> {
        let mut packet = self.packet(id, sequence, payload);
        let t = transport_of(&packet);
        let offset = if self.udp { 6 } else { 16 };
        let open = (!checksum(&[&pseudo(&packet)])).to_be_bytes();
        packet[t + offset..t + offset + 2].copy_from_slice(&open);
        let header = Header {
            needs_checksum: true,
            kind: match (self.udp, self.v6) {
                (true, _) => Kind::Udp,
                (false, false) => Kind::Tcp4,
                (false, true) => Kind::Tcp6,
            },
            header_length: (packet.len() - payload.len()) as u16,
            size,
            checksum_start: t as u16,
            checksum_offset: offset as u16,
        };
        let mut bytes = vec![0; BYTES];
        header.write(&mut bytes);
        bytes.extend(packet);
        bytes
    }
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let split = Split::parse(bytes).expect("the kernel's packet is taken");
    let mut out = vec![0; 65_536];
    (0..split.count())
        .map(|i| {
            let n = split.write(i, &mut out);
            out[..n].to_vec()
        })
        .collect()
}

/// The packets as the kernel gets them: virtio header and packet.
fn joined(gro: &mut Gro) -> Vec<Vec<u8>> {
    let parts: Vec<Part> = gro.finish().to_vec();
    let mut packets = vec![Vec::new()];
    for part in parts {
        let bytes = &gro.arena()[part.offset as usize..(part.offset + part.length) as usize];
        packets.last_mut().unwrap().extend_from_slice(bytes);
        if part.more == 0 {
            packets.push(Vec::new());
        }
    }
    assert_eq!(packets.pop(), Some(Vec::new()), "the last packet is whole");
    gro.clear();
    packets
}

fn join(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut gro = Gro::new(true);
    for packet in packets {
        assert!(gro.push(packet));
    }
    joined(&mut gro)
}

fn kinds(v6: bool) -> [Flow; 2] {
    [Flow::tcp(v6), Flow::udp(v6)]
}

#[test]
fn what_was_split_has_right_lengths_and_checksums_and_joins_to_the_same_bytes() {
    let mut random = Random(1);
    for round in 0..400 {
        let flow = kinds(round % 2 == 0)[round / 2 % 2].clone();
        let size = 1 + random.below(1400);
        let most = if flow.udp { size * 64 } else { 65_000 };
        let length = 1 + random.below(most.min(65_000));
        let payload = random.bytes(length);
        let whole = flow.super_packet(7, u32::MAX - 3000, &payload, size as u16);
        let packets = split(&whole);
        assert_eq!(packets.len(), payload.len().div_ceil(size));
        packets.iter().for_each(|p| assert_right(p));
        let mut gro = Gro::new(true);
        packets.iter().for_each(|p| assert!(gro.push(p) || gro.is_full()));
        let back = joined(&mut gro);
        assert_eq!(back.len(), 1, "size {size}, {} bytes", payload.len());
        if packets.len() > 1 {
            assert!(back[0] == whole, "round {round}: size {size}, {} bytes", payload.len());
        } else {
            assert_eq!(Header::parse(&back[0]), Some(Header::PLAIN));
            assert_right(&back[0][BYTES..]);
        }
    }
}

#[test]
fn flags_go_where_they_belong() {
    let flow = Flow { flags: 0x80 | 0x10 | 0x08 | 0x01, ..Flow::tcp(false) };
    let flags: Vec<u8> = split(&flow.super_packet(1, 5, &[9; 2500], 1000)).iter().map(|p| p[33]).collect();
    assert_eq!(flags, [0x90, 0x10, 0x19], "CWR in the first only, FIN and PSH in the last only");
    let ids: Vec<u8> = split(&flow.super_packet(1, 5, &[9; 2500], 1000)).iter().map(|p| p[5]).collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn a_single_packet_gets_its_checksum() {
    for flow in [Flow::tcp(false), Flow::tcp(true), Flow::udp(false), Flow::udp(true)] {
        let mut bytes = flow.super_packet(1, 5, b"odd", 1000);
        bytes[1] = 0;
        let [packet] = &split(&bytes)[..] else { panic!("one packet") };
        assert_right(packet);
        assert_eq!(*packet, flow.packet(1, 5, b"odd"));
        let mut done = vec![0; BYTES];
        done.extend(packet);
        assert_eq!(split(&done), std::slice::from_ref(packet), "and a whole one is left alone");
    }
}

#[test]
fn a_udp_checksum_is_never_zero() {
    let flow = Flow::udp(false);
    let plain = flow.packet(0, 0, &[0, 0]);
    // The payload that makes the sum all ones, so that its complement is zero.
    let fill = [plain[26], plain[27]];
    let mut bytes = flow.super_packet(0, 0, &fill, 1000);
    bytes[1] = 0;
    let packets = split(&bytes);
    assert_eq!(packets[0][26..28], [0xff, 0xff]);
    assert_right(&packets[0]);
}

#[test]
fn headers_that_do_not_fit_the_packet_are_refused() {
    let good = Flow::tcp(false).super_packet(1, 1, &[1; 3000], 1000);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Split::parse(&bytes).is_none()
    };
    assert!(!with(&|_| ()));
    assert!(with(&|b| b[0] = 0), "split without a checksum to compute");
    assert!(with(&|b| b[1] = 4), "TCP over IPv6 in an IPv4 packet");
    assert!(with(&|b| b[1] = 9), "an unknown kind");
    assert!(with(&|b| b[4..6].fill(0)), "parts of no size");
    assert!(with(&|b| b[6..8].copy_from_slice(&3000u16.to_ne_bytes())), "a header behind the end");
    assert!(with(&|b| b[8..10].copy_from_slice(&2u16.to_ne_bytes())), "a checksum elsewhere");
    assert!(with(&|b| b[BYTES] = 0x25), "no IP version");
    assert!(with(&|b| b[BYTES + 20 + 12] = 0x10), "a TCP header of 4 bytes");
    assert!(with(&|b| b.truncate(BYTES + 25)), "cut off");
    assert!(with(&|b| b.truncate(5)), "not even a virtio header");
}

#[test]
fn hostile_input_never_panics() {
    let mut random = Random(99);
    let mut out = vec![0; 65_552];
    let mut gro = Gro::new(true);
    for round in 0..60_000 {
        let flow = kinds(round % 2 == 0)[round / 2 % 2].clone();
        let (length, size) = (random.below(4000), random.below(1500) as u16);
        let mut bytes = flow.super_packet(1, 2, &vec![3; length], size);
        for _ in 0..random.below(6) {
            let at = random.below(bytes.len().min(90));
            bytes[at] = random.next() as u8;
        }
        if random.below(3) == 0 {
            bytes.truncate(random.below(bytes.len() + 1));
        }
        if let Some(split) = Split::parse(&bytes) {
            for i in 0..split.count() {
                let n = split.write(i, &mut out);
                assert!(n <= 65_535);
                gro.push(&out[..n]);
            }
        }
        gro.push(bytes.get(BYTES..).unwrap_or(&[]));
        if round % 50 == 0 {
            joined(&mut gro);
        }
    }
}

#[test]
fn flows_that_take_turns_are_joined_apart_and_nothing_is_overtaken() {
    let flows: Vec<Flow> = (0..4).map(|i| Flow { port: 4000 + i, ..Flow::tcp(i % 2 == 0) }).collect();
    let mut packets = Vec::new();
    for n in 0..10u32 {
        for flow in &flows {
            packets.push(flow.packet(n as u16, n * 100, &[n as u8; 100]));
        }
    }
    let out = join(&packets);
    assert_eq!(out.len(), 4);
    for bytes in &out {
        let parts = split(bytes);
        assert_eq!(parts.len(), 10);
        for (n, part) in parts.iter().enumerate() {
            assert_right(part);
            assert_eq!(part[part.len() - 100..], [n as u8; 100]);
        }
    }
}

#[test]
fn a_packet_has_no_more_parts_than_one_write_takes() {
    let flows = [Flow::tcp(false), Flow { port: 4001, ..Flow::tcp(false) }];
    let mut gro = Gro::new(true);
    for n in 0..1500u32 {
        for flow in &flows {
            assert!(gro.push(&flow.packet(0, n, &[n as u8])));
        }
    }
    let mut counts = vec![0];
    for part in gro.finish() {
        *counts.last_mut().unwrap() += 1;
        if part.more == 0 {
            counts.push(0);
        }
    }
    assert_eq!(counts, [1024, 1024, 476, 476, 0]);
    let lengths: Vec<usize> = joined(&mut gro).iter().map(|p| p.len() - BYTES - 52).collect();
    assert_eq!(lengths, [1024, 1024, 476, 476]);
}

#[test]
fn an_acknowledgment_between_two_segments_stays_between() {
    let flow = Flow::tcp(false);
    let data = |n: u32| flow.packet(n as u16, n * 50, &[1; 50]);
    let out = join(&[data(0), data(1), flow.packet(9, 100, &[]), data(2), data(3)]);
    let lengths: Vec<usize> = out.iter().map(|p| p.len() - BYTES - 52).collect();
    assert_eq!(lengths, [100, 0, 100]);
}

#[test]
fn what_differs_is_not_joined() {
    let flow = Flow::tcp(true);
    let first = flow.packet(0, 0, &[1; 100]);
    let alone = |second: Vec<u8>| assert_eq!(join(&[first.clone(), second]).len(), 2);
    alone(flow.packet(0, 200, &[1; 100])); // a gap
    alone(flow.packet(0, 100, &[1; 101])); // longer than the first
    alone(Flow { ack: 78, ..flow.clone() }.packet(0, 100, &[1; 100]));
    alone(Flow { flags: 0x11, ..flow.clone() }.packet(0, 100, &[1; 100])); // FIN
    alone(Flow { flags: 0x90, ..flow.clone() }.packet(0, 100, &[1; 100])); // CWR
    alone(Flow { port: 1, ..flow.clone() }.packet(0, 100, &[1; 100]));
    alone(Flow { options: vec![1; 12], ..flow.clone() }.packet(0, 100, &[1; 100]));
    alone(Flow { options: Vec::new(), ..flow.clone() }.packet(0, 100, &[1; 100]));
    let mut marked = flow.packet(0, 100, &[1; 100]);
    marked[1] |= 0x30; // ECN
    alone(marked);
    let mut damaged = flow.packet(0, 100, &[1; 100]);
    *damaged.last_mut().unwrap() ^= 1;
    alone(damaged.clone());
    assert_eq!(join(&[damaged, flow.packet(0, 200, &[1; 100])]).len(), 2, "nor to a damaged one");
}

#[test]
fn a_wrong_header_checksum_stays_wrong() {
    let flow = Flow::udp(false);
    let mut wrong = flow.packet(0, 0, &[1; 100]);
    wrong[10] ^= 1;
    let right = flow.packet(1, 0, &[1; 100]);
    for packets in [[wrong.clone(), right.clone()], [right.clone(), wrong.clone()]] {
        let out = join(&packets);
        assert_eq!(out.iter().map(|p| &p[BYTES..]).collect::<Vec<_>>(), packets);
    }
}

#[test]
fn a_short_segment_and_a_push_end_a_packet() {
    let flow = Flow::tcp(false);
    let push = Flow { flags: 0x18, ..flow.clone() };
    let out = join(&[
        flow.packet(0, 0, &[1; 100]),
        push.packet(1, 100, &[2; 100]),
        flow.packet(2, 200, &[3; 100]),
        flow.packet(3, 300, &[4; 99]),
        flow.packet(4, 399, &[5; 99]),
    ]);
    let seen: Vec<(usize, u8)> = out.iter().map(|p| (p.len() - BYTES - 52, p[BYTES + 33])).collect();
    assert_eq!(seen, [(200, 0x18), (199, 0x10), (99, 0x10)]);
}

#[test]
fn datagrams_are_joined_only_where_the_kernel_takes_them_and_up_to_its_limit() {
    let flow = Flow::udp(false);
    let packets: Vec<Vec<u8>> = (0..70).map(|n| flow.packet(n, 0, &[n as u8; 20])).collect();
    assert_eq!(join(&packets).len(), 2);
    let mut gro = Gro::new(false);
    packets.iter().for_each(|p| assert!(gro.push(p)));
    assert_eq!(joined(&mut gro).len(), 70);
}

#[test]
fn a_full_arena_says_so_and_takes_nothing() {
    let mut gro = Gro::new(true);
    let packet = Flow::udp(false).packet(0, 0, &[1; 1200]);
    let mut taken = 0;
    while !gro.is_full() {
        assert!(gro.push(&packet));
        taken += 1;
    }
    assert!(!gro.push(&packet));
    let datagrams: usize = joined(&mut gro).iter().map(|p| split(p).len()).sum();
    assert_eq!(datagrams, taken);
    assert!(gro.push(&packet));
}

#[test]
fn an_error_says_what_could_not_be_sent_and_looks_as_if_it_came_from_there() {
    for (flow, icmp) in [(Flow::udp(false), 1), (Flow::tcp(true), 58)] {
        let packet = flow.packet(1, 2, &[5; 500]);
        let mut out = [0; unreachable::ERROR_BYTES_MAX];
        let n = unreachable::write(&packet, Reason::Nobody, &mut out).expect("an error");
        let error = &out[..n];
        let t = transport_of(&packet);
        let (from, to) = (super::ends(error), super::ends(&packet));
        assert_eq!(from, (to.1, to.0));
        assert_eq!(error[if t == 20 { 9 } else { 6 }], icmp);
        assert_eq!(error[t + 8..], packet[..128]);
        let head = if t == 20 { Vec::new() } else { pseudo(error) };
        assert_eq!(checksum(&[&head, &error[t..]]), 0);
        if t == 20 {
            assert_eq!(checksum(&[&error[..20]]), 0);
        }
        assert_eq!(usize::from(u16::from_be_bytes([error[2], error[3]])), if t == 20 { n } else { 0 });
    }
}

#[test]
fn there_is_no_error_about_errors_groups_and_later_fragments() {
    let refused = |change: &dyn Fn(&mut Vec<u8>), v6: bool| {
        let mut packet = Flow::udp(v6).packet(1, 2, &[5; 50]);
        change(&mut packet);
        unreachable::write(&packet, Reason::Nobody, &mut [0; unreachable::ERROR_BYTES_MAX]).is_none()
    };
    assert!(!refused(&|_| (), false) && !refused(&|_| (), true));
    let icmp = |kind: u8, v6: bool| {
        refused(&|p: &mut Vec<u8>| if v6 { (p[6], p[40]) = (58, kind) } else { (p[9], p[20]) = (1, kind) }, v6)
    };
    assert!(icmp(0, false) && icmp(3, false) && icmp(1, true) && icmp(129, true), "answers and errors");
    assert!(!icmp(8, false) && !icmp(128, true), "a ping is answered");
    assert!(refused(&|p| p[16] = 224, false) && refused(&|p| p[24] = 0xff, true), "a group");
    assert!(refused(&|p| p[7] = 1, false), "a later fragment");
}
