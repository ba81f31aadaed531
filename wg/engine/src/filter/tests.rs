//! The filter by itself: packets made by hand against what a peer may reach.

use super::packet::{ICMP, ICMPV6};
use super::ports::{Ports, Protocol, Range};
use super::*;
use crate::peer::Roaming;
use crate::tun::checksum::renew_ipv4;
use boringtun::noise::Tunn;
use boringtun::x25519::{PublicKey, StaticSecret};
use std::net::{IpAddr, SocketAddr};
use tcp::stack::Limits;
use tcp::Config;

const MINUTE: u64 = 60 * SECOND_US;

/// One node with a filter, and two peers.
struct Node {
    filter: Filter,
    peers: [Peer; 2],
    tcp: Stack,
    allowed_ips: AllowedIps,
    counters: Counters,
    events: Events,
    now: u64,
}

fn own() -> IpAddr {
    IpAddr::from([10, 42, 0, 1])
}

fn theirs(slot: u8) -> IpAddr {
    IpAddr::from([10, 42, 0, 2 + slot])
}

fn own6() -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1])
}

fn theirs6() -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 2])
}

fn range(protocol: Protocol, first: u16, last: u16) -> Range {
    Range { protocol, first, last }
}

fn octets(a: IpAddr) -> Vec<u8> {
    match a {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// An IP packet; `fragment` is the IPv4 field of flags and offset.
fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8], fragment: u16) -> Vec<u8> {
    let mut p = if from.is_ipv4() {
        let mut p = vec![0; 12];
        p[0] = 0x45;
        p[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        p[4..6].copy_from_slice(&[7, 7]);
        p[6..8].copy_from_slice(&fragment.to_be_bytes());
        p[8..10].copy_from_slice(&[64, protocol]);
        p
    } else {
        let length = (payload.len() as u16).to_be_bytes();
        vec![0x60, 0, 0, 0, length[0], length[1], protocol, 64]
    };
    p.extend(octets(from));
    p.extend(octets(to));
    if from.is_ipv4() {
        renew_ipv4(&mut p[..20]);
    }
    p.extend(payload);
    p
}

fn ports(from: u16, to: u16) -> Vec<u8> {
    [from.to_be_bytes(), to.to_be_bytes()].concat()
}

fn segment(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut t = ports(from, to);
    t.extend([0, 0, 0, 1, 0, 0, 0, 9, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    t
}

fn udp(from: u16, to: u16) -> Vec<u8> {
    [ports(from, to), vec![0, 12, 0, 0, 1, 2, 3, 4]].concat()
}

fn echo(kind: u8, id: u16) -> Vec<u8> {
    [vec![kind, 0, 0, 0], id.to_be_bytes().to_vec(), vec![0, 1, 1, 1]].concat()
}

fn error(about: &[u8]) -> Vec<u8> {
    [&[3, 3, 0, 0, 0, 0, 0, 0], about].concat()
}

impl Node {
    fn new(reach: &[Range]) -> Self {
        let secret = StaticSecret::from([1; 32]);
        let peer = |key: u8| {
            let public = PublicKey::from([key; 32]);
            let tunnel = Tunn::new(secret.clone(), public, None, None, 1, None);
            let mut peer = Peer::new(tunnel, [key; 32], 1, Roaming::Host, 0);
            peer.ports = Ports::of(reach);
            peer
        };
        let mut allowed_ips = AllowedIps::default();
        for slot in 0..2 {
            assert!(allowed_ips.insert(theirs(slot), 32, u32::from(slot)));
        }
        assert!(allowed_ips.insert(theirs6(), 128, 0));
        Node {
            filter: Filter::default(),
            peers: [peer(2), peer(3)],
            tcp: Stack::new(Config { verify_checksums: false, ..Config::default() }, Limits::default(), (1, 2)),
            allowed_ips,
            counters: Counters::default(),
            events: Events::default(),
            now: SECOND_US,
        }
    }

    fn reach(&mut self, reach: &[Range]) {
        self.peers.iter_mut().for_each(|p| p.ports = Ports::of(reach));
    }

    /// Whether a packet from peer `slot` passes.
    fn passes_from(&mut self, slot: usize, packet: &[u8]) -> bool {
        let Node { filter, peers, tcp, allowed_ips, counters, events, now } = self;
        let mut inbound = Inbound { packet, slot: slot as u32, peer: &mut peers[slot], allowed_ips };
        filter.admit(*now, &mut inbound, tcp, (counters, events))
    }

    fn passes(&mut self, protocol: u8, payload: &[u8]) -> bool {
        self.passes_from(0, &ip(theirs(0), own(), protocol, payload, 0))
    }

    fn send(&mut self, protocol: u8, payload: &[u8]) {
        self.filter.note_leaving(self.now, 0, &ip(own(), theirs(0), protocol, payload, 0), &mut self.counters);
    }

    fn refused(&self) -> [f64; REFUSALS] {
        self.peers[0].refused
    }
}

#[test]
fn what_the_policy_says_passes_and_nothing_else() {
    let mut n = Node::new(&[range(Protocol::Tcp, 80, 80), range(Protocol::Udp, 53, 60)]);
    for flags in [SYN, ACK, SYN | ACK, FIN | ACK] {
        assert!(n.passes(TCP, &segment(4000, 80, flags)));
        assert!(!n.passes(TCP, &segment(80, 81, flags)), "{flags}");
    }
    assert!(n.passes(UDP, &udp(9, 53)) && n.passes(UDP, &udp(9, 60)));
    assert!(!n.passes(UDP, &udp(53, 61)) && !n.passes(UDP, &udp(53, 80)));
    assert!(!n.passes(ICMP, &echo(8, 1)) && !n.passes(132, &ports(80, 80)) && !n.passes(2, &[]));
    assert_eq!(n.refused()[Refusal::Policy as usize], 9.0);
    n.reach(&[range(Protocol::Icmp, 0, 65_535)]);
    assert!(n.passes(ICMP, &echo(8, 1)) && n.passes(ICMP, &echo(0, 1)) && n.passes(ICMP, &echo(13, 1)));
    assert!(n.passes_from(0, &ip(theirs6(), own6(), ICMPV6, &echo(128, 1), 0)));
    assert!(!n.passes(TCP, &segment(4000, 80, SYN)));
    n.reach(&[range(Protocol::Any, 0, 0)]);
    assert!(n.passes(132, &ports(80, 80)) && n.passes(2, &[]) && n.passes(TCP, &[]));
}

#[test]
fn whoever_is_refused_hears_of_it_and_the_host_sees_a_sample() {
    let mut n = Node::new(&[]);
    let syn = ip(theirs(0), own(), TCP, &segment(4000, 22, SYN), 0);
    for _ in 0..5 {
        assert!(!n.passes_from(0, &syn));
    }
    let told: Vec<_> = n.events.list().iter().map(|e| (e.kind, e.peer, e.a, e.b)).collect();
    assert_eq!(told, [(Kind::PolicyRefused as u32, 0, 6, 22)]);
    assert_eq!(n.events.list()[0].address.socket_address(), Some(SocketAddr::new(theirs(0), 4000)));
    n.now += TOLD_US;
    assert!(!n.passes(UDP, &udp(9, 161)));
    assert_eq!((n.events.list()[1].a, n.events.list()[1].b), (17, 161));
    let mut out = [0; 2048];
    let (slot, length) = n.filter.take_reply(&mut out).unwrap();
    assert_eq!(slot, 0);
    let reply = Packet::parse(&out[..length]).unwrap();
    assert_eq!((reply.from.ip(), reply.to.ip(), &reply.payload[..2]), (own(), theirs(0), &[3, 13][..]));
    let about = Packet::quoted(&reply.payload[8..]).unwrap();
    assert_eq!((about.from, about.to), (SocketAddr::new(theirs(0), 4000), SocketAddr::new(own(), 22)));
    // A segment in the middle of a connection is answered with a reset, since an error would not end one.
    while n.filter.take_reply(&mut out).is_some() {}
    assert!(!n.passes(TCP, &segment(4000, 22, ACK)));
    assert!(!n.filter.has_reply());
    let mut flags = Vec::new();
    n.tcp.poll_transmit(n.now, |burst| {
        flags.push((burst.flags, burst.dst));
        true
    });
    assert_eq!(flags, [(RST, SocketAddr::new(theirs(0), 4000))]);
    let v6 = ip(theirs6(), own6(), UDP, &udp(9, 161), 0);
    assert!(!n.passes_from(0, &v6));
    let (_, length) = n.filter.take_reply(&mut out).unwrap();
    assert_eq!(Packet::parse(&out[..length]).unwrap().payload[..2], [1, 1]);
}

#[test]
fn errors_are_limited_for_each_peer() {
    let mut n = Node::new(&[]);
    let syn = ip(theirs(0), own(), TCP, &segment(4000, 22, SYN), 0);
    for _ in 0..10_000 {
        assert!(!n.passes_from(0, &syn));
    }
    let other = ip(theirs(1), own(), TCP, &segment(4000, 22, SYN), 0);
    assert!(!n.passes_from(1, &other));
    let (mut out, mut count) = ([0; 2048], [0; 2]);
    while let Some((slot, _)) = n.filter.take_reply(&mut out) {
        count[slot as usize] += 1;
    }
    assert!((1..=ERRORS_MAX - 1).contains(&count[0]) && count[1] == 1, "{count:?}");
}

#[test]
fn answers_to_what_began_here_pass_for_as_long_as_it_is_used() {
    let mut n = Node::new(&[]);
    assert!(!n.passes(UDP, &udp(53, 9)));
    n.send(UDP, &udp(9, 53));
    assert!(n.passes(UDP, &udp(53, 9)));
    assert!(!n.passes(UDP, &udp(53, 10)) && !n.passes(UDP, &udp(54, 9)));
    assert!(!n.passes_from(1, &ip(theirs(1), own(), UDP, &udp(53, 9), 0)), "another peer");
    assert!(!n.passes_from(1, &ip(theirs(0), own(), UDP, &udp(53, 9), 0)), "its address at another peer");
    for _ in 0..3 {
        n.now += 4 * MINUTE;
        n.send(UDP, &udp(9, 53));
    }
    n.now += 4 * MINUTE;
    assert!(n.passes(UDP, &udp(53, 9)), "the peer's packets do not prolong it");
    n.now += MINUTE;
    assert!(!n.passes(UDP, &udp(53, 9)));
    n.send(ICMP, &echo(8, 77));
    assert!(n.passes(ICMP, &echo(0, 77)) && !n.passes(ICMP, &echo(0, 78)) && !n.passes(ICMP, &echo(8, 77)));
    assert_eq!(n.refused()[Refusal::Stray as usize], 1.0);
    n.now += MINUTE;
    assert!(!n.passes(ICMP, &echo(0, 77)));
    n.send(132, &ports(1, 2));
    assert!(n.passes(132, &ports(2, 1)) && !n.passes(133, &ports(2, 1)));
}

#[test]
fn answers_to_what_a_peer_began_open_nothing() {
    let mut n = Node::new(&[range(Protocol::Udp, 53, 53)]);
    assert!(n.passes(UDP, &udp(9, 53)));
    n.send(UDP, &udp(53, 9));
    n.reach(&[]);
    for _ in 0..100 {
        n.now += MINUTE;
        assert!(!n.passes(UDP, &udp(9, 53)), "cut");
        n.send(UDP, &udp(53, 9));
    }
    // A SYN with ACK, or data, begins nothing; only a SYN does.
    n.send(TCP, &segment(22, 4000, SYN | ACK));
    n.send(TCP, &segment(22, 4000, ACK));
    assert!(!n.passes(TCP, &segment(4000, 22, ACK)));
}

#[test]
fn a_tcp_connection_of_the_kernel_lasts_as_long_as_its_parts() {
    let mut n = Node::new(&[]);
    n.send(TCP, &segment(4000, 22, SYN));
    n.now += 3 * MINUTE;
    assert!(n.passes(TCP, &segment(22, 4000, SYN | ACK)));
    n.send(TCP, &segment(4000, 22, ACK));
    n.now += 123 * MINUTE;
    assert!(n.passes(TCP, &segment(22, 4000, ACK)), "idle for two hours");
    assert!(!n.passes(TCP, &segment(22, 4000, SYN)), "a connection does not begin twice");
    n.send(TCP, &segment(4000, 22, FIN | ACK));
    n.now += 100 * MINUTE;
    assert!(n.passes(TCP, &segment(22, 4000, ACK)), "half closed");
    assert!(n.passes(TCP, &segment(22, 4000, FIN | ACK)));
    n.now += 5 * MINUTE;
    assert!(!n.passes(TCP, &segment(22, 4000, ACK)), "closed");
    n.send(TCP, &segment(4001, 22, SYN));
    n.now += 5 * MINUTE;
    assert!(!n.passes(TCP, &segment(22, 4001, SYN | ACK)), "never answered");
    assert!(n.passes(TCP, &segment(22, 4001, RST)), "a reset opens nothing");
}

#[test]
fn ports_that_are_used_again_are_another_connection() {
    let mut n = Node::new(&[]);
    for flags in [FIN | ACK, RST] {
        n.send(TCP, &segment(4000, 22, SYN));
        assert!(n.passes(TCP, &segment(22, 4000, SYN | ACK)));
        n.send(TCP, &segment(4000, 22, flags));
        assert!(n.passes(TCP, &segment(22, 4000, flags)));
        n.now += MINUTE;
    }
    n.send(TCP, &segment(4000, 22, SYN));
    n.now += 3 * MINUTE;
    assert!(n.passes(TCP, &segment(22, 4000, SYN | ACK)));
    n.send(TCP, &segment(4000, 22, ACK));
    n.now += 120 * MINUTE;
    assert!(n.passes(TCP, &segment(22, 4000, ACK)), "idle for two hours");
    n.send(TCP, &segment(4000, 22, FIN | ACK));
    assert!(n.passes(TCP, &segment(22, 4000, FIN | ACK)));
    n.send(TCP, &segment(4000, 22, SYN));
    n.now += 5 * MINUTE;
    assert!(!n.passes(TCP, &segment(22, 4000, SYN | ACK)), "never answered");
}

#[test]
fn a_connection_of_the_userspace_network_is_known_to_its_stack() {
    let mut n = Node::new(&[]);
    let remote = SocketAddr::new(theirs(0), 80);
    let h = n.tcp.connect(n.now, own(), remote).unwrap();
    let local = n.tcp.get(h).unwrap().local.port();
    assert!(n.passes(TCP, &segment(80, local, SYN | ACK)));
    assert!(!n.passes(TCP, &segment(80, local, SYN)) && !n.passes(TCP, &segment(81, local, ACK)));
    assert!(n.passes(ICMP, &error(&ip(own(), theirs(0), TCP, &segment(local, 80, SYN), 0))));
    n.tcp.abort(h);
    n.tcp.poll_transmit(n.now, |_| true);
    assert!(!n.passes(TCP, &segment(80, local, ACK)));
}

#[test]
fn errors_pass_that_are_about_what_was_sent() {
    let mut n = Node::new(&[range(Protocol::Udp, 53, 53)]);
    n.send(UDP, &udp(9, 70));
    let about = |from, to, p: &[u8]| error(&ip(from, to, UDP, p, 0));
    assert!(n.passes(ICMP, &about(own(), theirs(0), &udp(9, 70))));
    assert!(n.passes(ICMP, &about(own(), theirs(0), &udp(53, 1234))), "an answer of ours");
    assert!(n.passes(ICMP, &about(own(), theirs(0), &udp(9, 70))[..8 + 20 + 8]), "cut behind the ports");
    let bad = [
        about(own(), theirs(0), &udp(10, 70)),
        about(own(), theirs(1), &udp(9, 70)),
        about(theirs(0), own(), &udp(70, 9)),
        about(own(), theirs(0), &udp(9, 70))[..8 + 20 + 3].to_vec(),
        error(&ip(own(), theirs(0), ICMP, &echo(8, 5), 0)),
        error(&[]),
    ];
    for (i, message) in bad.iter().enumerate() {
        assert!(!n.passes(ICMP, message), "{i}");
    }
    n.send(ICMP, &echo(8, 5));
    assert!(n.passes(ICMP, &error(&ip(own(), theirs(0), ICMP, &echo(8, 5), 0))));
    assert_eq!(n.refused()[Refusal::Stray as usize], 6.0);
    assert!(!n.filter.has_reply(), "no error about an error");
}

#[test]
fn fragments_follow_their_first() {
    let mut n = Node::new(&[range(Protocol::Udp, 53, 53), range(Protocol::Tcp, 80, 80)]);
    let fragment = |payload: &[u8], field, protocol| ip(theirs(0), own(), protocol, payload, field);
    let later = fragment(&[9; 16], 3, UDP);
    assert!(!n.passes_from(0, &later), "before the first");
    assert!(n.passes_from(0, &fragment(&udp(9, 53), 0x2000, UDP)) && n.passes_from(0, &later));
    assert!(!n.passes_from(1, &ip(theirs(1), own(), UDP, &[9; 16], 3)), "of another peer");
    n.now += FRAGMENTS_US;
    assert!(!n.passes_from(0, &later), "too late");
    assert!(!n.passes_from(0, &fragment(&udp(9, 54), 0x2000, UDP)) && !n.passes_from(0, &later), "refused");
    assert_eq!(n.refused()[Refusal::Fragment as usize], 3.0);
    let first = fragment(&segment(9, 80, SYN), 0x2000, TCP);
    assert!(n.passes_from(0, &first) && n.passes_from(0, &fragment(&[9; 16], 3, TCP)));
    assert!(!n.passes_from(0, &fragment(&[9; 16], 1, TCP)), "over the header (RFC 3128)");
    assert!(!n.passes_from(0, &fragment(&segment(9, 80, SYN)[..8], 0x2000, TCP)), "a tiny one (RFC 1858)");
    assert_eq!(n.refused()[Refusal::Malformed as usize], 1.0);
    // IPv6: the same behind a fragment header, also with another extension header between.
    let six = |word: u16, next: u8, payload: &[u8]| {
        let header = [vec![next, 0], word.to_be_bytes().to_vec(), vec![0, 0, 0, 5]].concat();
        ip(theirs6(), own6(), 44, &[&header[..], payload].concat(), 0)
    };
    let options = [&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &udp(9, 53)].concat();
    assert!(!n.passes_from(0, &six(16, 60, &[9; 16])));
    assert!(n.passes_from(0, &six(1, 60, &options)) && n.passes_from(0, &six(16, 60, &[9; 16])));
    assert!(n.passes_from(0, &six(0, UDP, &udp(9, 53))), "whole, with a fragment header");
    n.reach(&[range(Protocol::Any, 0, 0)]);
    assert!(n.passes_from(0, &later));
}

#[test]
fn extension_headers_hide_no_port() {
    let mut n = Node::new(&[range(Protocol::Tcp, 80, 80)]);
    let behind =
        |next: u8, header: &[u8], port| ip(theirs6(), own6(), next, &[header, &segment(9, port, SYN)[..]].concat(), 0);
    for next in [0, 43, 60] {
        for length in 0..3u8 {
            let mut header = vec![0; 8 + 8 * usize::from(length)];
            (header[0], header[1]) = (TCP, length);
            assert!(n.passes_from(0, &behind(next, &header, 80)), "{next} {length}");
            assert!(!n.passes_from(0, &behind(next, &header, 81)), "{next} {length}");
        }
    }
    let many = |count: usize, port| {
        let mut headers = [60, 0, 1, 4, 0, 0, 0, 0].repeat(count);
        headers[(count - 1) * 8] = TCP;
        behind(60, &headers, port)
    };
    assert!(n.passes_from(0, &many(7, 80)) && !n.passes_from(0, &many(9, 80)));
    let options = [&[0x46, 0, 0, 44, 0, 0, 0, 0, 64, TCP, 0, 0][..], &octets(theirs(0)), &octets(own()), &[1; 4]];
    let with = |port| [&options.concat()[..], &segment(9, port, SYN)].concat();
    assert!(n.passes_from(0, &with(80)) && !n.passes_from(0, &with(81)), "IPv4 options");
}

#[test]
fn nothing_read_wrong_passes() {
    // What passes must be plainly for port 80, or a reset; a peer's bytes may be anything.
    let mut n = Node::new(&[range(Protocol::Tcp, 80, 80)]);
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let kinds = [
        ip(theirs(0), own(), TCP, &segment(9, 80, SYN), 0),
        ip(theirs(0), own(), TCP, &segment(80, 81, SYN), 0),
        ip(theirs(0), own(), UDP, &udp(80, 80), 0x2000),
        ip(theirs6(), own6(), TCP, &segment(9, 81, SYN), 0),
        ip(theirs6(), own6(), 44, &[&[TCP, 0, 0, 1, 0, 0, 0, 1][..], &segment(9, 81, SYN)].concat(), 0),
        ip(theirs(0), own(), ICMP, &error(&ip(own(), theirs(0), TCP, &segment(81, 9, SYN), 0)), 0),
    ];
    let mut passed = 0;
    for _ in 0..300_000 {
        let mut packet = kinds[random() % kinds.len()].clone();
        for _ in 0..random() % 4 {
            let at = random() % packet.len();
            packet[at] = random() as u8;
        }
        packet.truncate(packet.len() - (random() % 8 / 6) * (random() % packet.len()));
        if n.passes_from(0, &packet) {
            passed += 1;
            let p = Packet::parse(&packet).expect("what passes can be read");
            let later = matches!(p.part, Part::Later(..));
            let quotes = p.icmp() == Some(Icmp::Error) && packet.windows(2).any(|w| w == [0, 80]);
            assert!(later || quotes || p.to.port() == 80 || p.flags() & RST != 0, "{packet:02x?}");
        }
        while n.filter.take_reply(&mut [0; 2048]).is_some() {}
        n.tcp.poll_transmit(n.now, |_| true);
        n.now += 1000;
    }
    assert!(passed > 10_000, "{passed}");
}

#[test]
fn tables_are_bounded_and_a_peer_forgets_none_of_our_flows() {
    let mut n = Node::new(&[range(Protocol::Udp, 0, 65_535)]);
    n.send(UDP, &udp(9, 53));
    for i in 0..100_000u32 {
        let packet = udp((i % 60_000) as u16, (i / 60_000) as u16 + 1);
        assert!(n.passes(UDP, &packet));
    }
    assert!(n.filter.entered.len() <= ENTERED_MAX && n.counters.value(Counter::FlowEvicted) > 0.0);
    n.reach(&[]);
    assert!(n.passes(UDP, &udp(53, 9)), "ours is still there");
    n.now += SECOND_US;
    for i in 0..100_000u32 {
        n.send(UDP, &udp((i % 60_000) as u16 + 10, (i / 60_000) as u16 + 1000));
    }
    assert!(n.filter.opened.len() <= OPENED_MAX && n.filter.opened.len() > OPENED_MAX * 9 / 10);
    n.filter.forget_peer(0);
    assert!(n.filter.opened.is_empty() && n.filter.entered.is_empty());
}
