//! Two or three engines in one process, datagrams carried by hand.

use crate::counter::Counter;
use crate::device::PeerOptions;
use crate::engine::{Engine, Refusal, CLOSED, ESTABLISHED, RECEIVE_FINISHED};
use crate::event::{Event, Kind, Path};
use crate::peer::Roaming;
use crate::transmit::{INITIATION, RESPONSE};
use std::net::{IpAddr, SocketAddr};

pub(crate) const MTU: usize = 1420;

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Engine>,
    /// Chooses what is lost: called with sender and datagram.
    pub(crate) lose: fn(usize, &[u8]) -> bool,
    pub(crate) events: Vec<Vec<Event>>,
}

pub(crate) fn outer(node: usize) -> Path {
    SocketAddr::from(([192, 0, 2, node as u8 + 1], 51820)).into()
}

pub(crate) fn mesh(node: usize) -> IpAddr {
    IpAddr::from([10, 42, 0, node as u8 + 1])
}

pub(crate) fn mesh6(node: usize) -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, node as u16 + 1])
}

fn private_key(node: usize) -> [u8; 32] {
    [node as u8 + 7; 32]
}

/// What a node has to send, and where to.
pub(crate) fn take(engine: &mut Engine) -> Vec<(Path, Vec<u8>)> {
    let t = &engine.transmit;
    let cut = |r: &crate::transmit::Run| {
        let whole = &t.bytes()[r.offset as usize..(r.offset + r.length) as usize];
        whole.chunks(r.segment as usize).map(|d| (r.to, d.to_vec())).collect::<Vec<_>>()
    };
    let out = t.runs().iter().flat_map(cut).collect();
    engine.transmit.clear();
    out
}

impl World {
    pub(crate) fn new(count: usize, roaming: Roaming, psk: Option<[u8; 32]>) -> Self {
        let now = 1_000_000;
        let mut nodes: Vec<Engine> = (0..count).map(|i| Engine::new(now, private_key(i), MTU)).collect();
        for a in 0..count {
            assert!(nodes[a].set_addresses(&[mesh(a), mesh6(a)]));
            for b in (0..count).filter(|b| *b != a) {
                let key = nodes[b].public_key();
                let peer = nodes[a]
                    .add_peer(&PeerOptions { public_key: key, preshared_key: psk, keepalive_seconds: 0, roaming })
                    .unwrap();
                nodes[a].set_endpoint(peer, outer(b));
                assert!(nodes[a].allow(peer, mesh(b), 32) && nodes[a].allow(peer, mesh6(b), 128));
            }
        }
        World { now, nodes, lose: |_, _| false, events: vec![Vec::new(); count] }
    }

    /// Carries datagrams until nobody has anything to say at this instant.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut carried = false;
            for i in 0..self.nodes.len() {
                self.nodes[i].set_now(self.now);
                let _more = self.nodes[i].poll();
                let out = take(&mut self.nodes[i]);
                self.events[i].extend_from_slice(self.nodes[i].events.list());
                self.nodes[i].events.clear();
                for (to, datagram) in out {
                    carried = true;
                    if (self.lose)(i, &datagram) {
                        continue;
                    }
                    if let Some(j) = (0..self.nodes.len()).find(|j| outer(*j) == to) {
                        self.nodes[j].set_now(self.now);
                        self.nodes[j].receive(outer(i), &datagram);
                    }
                }
            }
            if !carried {
                return;
            }
        }
        panic!("never quiet");
    }

    pub(crate) fn run(&mut self, us: u64) {
        let end = self.now + us;
        while self.now < end {
            self.settle();
            let next = self.nodes.iter_mut().filter_map(Engine::poll_timeout).min().unwrap_or(end);
            self.now = next.clamp(self.now + 1, end);
        }
        self.settle();
    }

    pub(crate) fn count(&self, node: usize, kind: Kind) -> usize {
        self.events[node].iter().filter(|e| e.kind == kind as u32).count()
    }

    pub(crate) fn accepted(&self, node: usize) -> Option<u32> {
        self.events[node].iter().find(|e| e.kind == Kind::Accepted as u32).map(|e| e.a)
    }

    pub(crate) fn read_all(&mut self, node: usize, id: u32) -> Vec<u8> {
        let (a, b) = self.nodes[node].stream_peek(id);
        let all = [a, b].concat();
        self.nodes[node].stream_consume(id, all.len());
        all
    }
}

#[test]
fn a_stream_opens_carries_bytes_both_ways_and_half_closes() {
    let mut w = World::new(2, Roaming::Stock, Some([9; 32]));
    assert!(w.nodes[1].listen(80) && !w.nodes[1].listen(80));
    let a = w.nodes[0].connect(SocketAddr::new(mesh(1), 80)).unwrap();
    w.run(100_000);
    let b = w.accepted(1).expect("accepted");
    assert_eq!(w.nodes[0].stream_state(a), ESTABLISHED);
    assert_eq!(w.nodes[0].stream_send(a, b"hello"), 5);
    w.nodes[0].stream_shutdown(a);
    w.run(100_000);
    assert_eq!(w.read_all(1, b), b"hello");
    assert_eq!(w.nodes[1].stream_state(b) & RECEIVE_FINISHED, RECEIVE_FINISHED);
    let big: Vec<u8> = (0..3_000_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    while got.len() < big.len() {
        sent += w.nodes[1].stream_send(b, &big[sent..]);
        w.run(1000);
        got.extend(w.read_all(0, a));
    }
    assert!(got == big);
    w.nodes[1].stream_release(b, false);
    w.run(1_000_000);
    assert_eq!(w.nodes[0].stream_state(a) & RECEIVE_FINISHED, RECEIVE_FINISHED);
    w.nodes[0].stream_release(a, false);
    assert_eq!(w.nodes[0].stream_state(a), CLOSED);
}

#[test]
fn both_ends_hear_of_the_handshake_once() {
    let mut w = World::new(2, Roaming::Host, None);
    w.nodes[0].initiate(0);
    w.run(100_000);
    assert_eq!((w.count(0, Kind::Handshake), w.count(1, Kind::Handshake)), (1, 1));
    assert!(w.nodes[0].peer_figures(0).unwrap().0[0] >= 0.0);
}

#[test]
fn a_refused_port_says_so() {
    let mut w = World::new(2, Roaming::Stock, None);
    let a = w.nodes[0].connect(SocketAddr::new(mesh6(1), 81)).unwrap();
    w.run(100_000);
    assert_eq!(w.nodes[0].stream_state(a), CLOSED | RECEIVE_FINISHED | 1 << 8);
}

#[test]
fn an_address_of_nobody_has_no_route() {
    let mut w = World::new(2, Roaming::Stock, None);
    assert_eq!(w.nodes[0].connect("10.99.0.1:80".parse().unwrap()), Err(Refusal::NoRoute));
}

#[test]
fn echo_is_answered_over_both_families() {
    let mut w = World::new(2, Roaming::Stock, None);
    assert!(w.nodes[0].echo(mesh(1), 5, 100) && w.nodes[0].echo(mesh6(1), 6, 1200));
    w.run(100_000);
    let got: Vec<u32> = w.events[0].iter().filter(|e| e.kind == Kind::EchoReply as u32).map(|e| e.a).collect();
    assert_eq!(got, [5, 6]);
    assert_eq!(w.count(1, Kind::EchoReply), 0, "requests are not taken for replies");
}

/// Sends a datagram of `length` bytes.
fn send(engine: &mut Engine, to: SocketAddr, length: usize) -> Result<(), Refusal> {
    engine.udp_payload()[..length].fill(length as u8);
    engine.udp_send(5000, to, length)
}

#[test]
fn datagrams_cross_in_both_families_up_to_what_the_path_carries() {
    let mut w = World::new(2, Roaming::Stock, None);
    assert!(w.nodes[0].udp().bind(5000) && w.nodes[1].udp().bind(53));
    for (ip, from, limit) in [(mesh(1), mesh(0), MTU - 28), (mesh6(1), mesh6(0), MTU - 48)] {
        let to = SocketAddr::new(ip, 53);
        assert_eq!(w.nodes[0].udp_limit(ip), Ok(limit));
        for length in [0, 5, limit] {
            assert_eq!(send(&mut w.nodes[0], to, length), Ok(()));
            w.run(100_000);
            let record = w.nodes[1].udp().received();
            assert_eq!(record.len(), 28 + length.next_multiple_of(4));
            assert_eq!(record[10..12], 5000u16.to_le_bytes());
            assert!(record[28..28 + length].iter().all(|b| *b == length as u8));
            let ip = &record[12..if from.is_ipv4() { 16 } else { 28 }];
            assert_eq!(
                ip,
                match from {
                    IpAddr::V4(a) => a.octets().to_vec(),
                    IpAddr::V6(a) => a.octets().to_vec(),
                }
            );
            w.nodes[1].udp().clear();
        }
        assert_eq!(send(&mut w.nodes[0], to, limit + 1), Err(Refusal::TooBig));
    }
    w.nodes[0].set_peer_mtu(0, 1280, 1280);
    assert_eq!(w.nodes[0].udp_limit(mesh6(1)), Ok(1232));
    assert_eq!(send(&mut w.nodes[0], "10.99.0.1:53".parse().unwrap(), 1), Err(Refusal::NoRoute));
    assert!(w.nodes[0].set_addresses(&[mesh(0)]));
    assert_eq!(send(&mut w.nodes[0], SocketAddr::new(mesh6(1), 53), 1), Err(Refusal::NoAddress));
}

#[test]
fn a_closed_udp_port_says_so() {
    let mut w = World::new(2, Roaming::Stock, None);
    w.nodes[0].udp().bind(5000);
    for ip in [mesh(1), mesh6(1)] {
        send(&mut w.nodes[0], SocketAddr::new(ip, 53), 1000).unwrap();
        w.run(100_000);
        let record = w.nodes[0].udp().received();
        assert_eq!(record[..8], [0, 0, 0, 0, crate::udp::Kind::Refused as u8, 0, 0x88, 0x13]);
        assert_eq!(record[10..12], 53u16.to_le_bytes());
        w.nodes[0].udp().clear();
    }
}

#[test]
fn datagrams_wait_for_room_instead_of_being_lost() {
    let mut w = World::new(2, Roaming::Stock, None);
    assert!(w.nodes[0].udp().bind(5000) && w.nodes[1].udp().bind(53));
    let to = SocketAddr::new(mesh(1), 53);
    send(&mut w.nodes[0], to, 1).unwrap();
    w.run(100_000);
    w.nodes[1].udp().clear();
    let sent = (0..).take_while(|_| send(&mut w.nodes[0], to, 1000).is_ok()).count();
    assert!(sent > 500 && w.nodes[0].counters.value(Counter::TransmitFull) == 0.0);
    w.run(100_000);
    assert_eq!(w.nodes[1].udp().received().len(), sent * 1028);
    assert_eq!(send(&mut w.nodes[0], to, 1000), Ok(()));
}

#[test]
fn a_stranger_is_reported_and_gets_nothing() {
    let mut w = World::new(2, Roaming::Stock, None);
    w.nodes[1].remove_peer(0);
    let stranger = w.nodes[0].public_key();
    w.nodes[0].initiate(0);
    w.settle();
    let event = w.events[1].iter().find(|e| e.kind == Kind::UnknownPeer as u32).expect("reported");
    assert_eq!((event.key, event.address), (stranger, outer(0).remote));
    assert_eq!(w.count(0, Kind::Handshake), 0);
    assert_eq!(w.nodes[1].counters.value(Counter::UnknownPeer), 1.0);
}

#[test]
fn a_lost_first_initiation_is_repeated_well_before_rekey_timeout() {
    let mut w = World::new(2, Roaming::Stock, None);
    w.lose = |_, d| d[0] == INITIATION;
    w.nodes[1].listen(80);
    w.nodes[0].connect(SocketAddr::new(mesh(1), 80)).unwrap();
    w.run(100_000);
    w.lose = |_, _| false;
    w.run(900_000);
    assert_eq!(w.count(0, Kind::Handshake), 1);
}

#[test]
fn the_wrong_preshared_key_never_makes_a_session() {
    let mut w = World::new(2, Roaming::Stock, None);
    let key = w.nodes[0].public_key();
    w.nodes[1].remove_peer(0);
    w.nodes[1]
        .add_peer(&PeerOptions {
            public_key: key,
            preshared_key: Some([1; 32]),
            keepalive_seconds: 0,
            roaming: Roaming::Stock,
        })
        .unwrap();
    w.nodes[0].initiate(0);
    w.run(2_000_000);
    assert_eq!(w.count(0, Kind::Handshake) + w.count(1, Kind::Handshake), 0);
    assert!(w.nodes[0].counters.value(Counter::Refused) > 0.0);
}

#[test]
fn a_replayed_datagram_changes_nothing() {
    let mut w = World::new(2, Roaming::Stock, None);
    w.nodes[0].initiate(0);
    w.run(10_000);
    w.nodes[0].echo(mesh(1), 1, 10);
    w.nodes[0].poll();
    let copy = w.nodes[0].transmit.bytes()[..w.nodes[0].transmit.runs()[0].length as usize].to_vec();
    w.settle();
    let thief = SocketAddr::from(([203, 0, 113, 66], 6)).into();
    w.nodes[1].receive(thief, &copy);
    assert_eq!(w.nodes[1].counters.value(Counter::Replayed), 1.0);
    assert_eq!(w.nodes[1].peer_figures(0).unwrap().1, outer(0));
}

#[test]
fn copies_of_an_accepted_initiation_are_dropped_before_they_cost_anything() {
    let mut w = World::new(2, Roaming::Stock, None);
    w.nodes[0].initiate(0);
    w.nodes[0].poll();
    let copy = w.nodes[0].transmit.bytes()[..w.nodes[0].transmit.runs()[0].length as usize].to_vec();
    w.run(10_000);
    let handshakes = w.count(1, Kind::Handshake);
    // More than one source may have checked.
    for _ in 0..300 {
        w.nodes[1].receive(outer(5), &copy);
    }
    assert_eq!(w.nodes[1].counters.value(Counter::Replayed), 300.0);
    assert_eq!(w.nodes[1].counters.value(Counter::HandshakeLimited), 0.0);
    w.run(10_000);
    assert_eq!(w.count(1, Kind::Handshake), handshakes);
    assert_eq!(w.nodes[1].peer_figures(0).unwrap().1, outer(0));
}

#[test]
fn an_initiation_is_no_copy_to_a_peer_that_was_added_again() {
    let mut w = World::new(2, Roaming::Stock, None);
    w.nodes[0].initiate(0);
    w.nodes[0].poll();
    let initiation = w.nodes[0].transmit.bytes()[..w.nodes[0].transmit.runs()[0].length as usize].to_vec();
    w.run(10_000);
    let key = w.nodes[0].public_key();
    w.nodes[1].remove_peer(0);
    let peer = PeerOptions { public_key: key, preshared_key: None, keepalive_seconds: 0, roaming: Roaming::Stock };
    w.nodes[1].add_peer(&peer).unwrap();
    w.nodes[1].receive(outer(0), &initiation);
    assert_eq!(w.nodes[1].counters.value(Counter::Replayed), 0.0);
    assert!(take(&mut w.nodes[1]).iter().any(|(to, datagram)| *to == outer(0) && datagram[0] == RESPONSE));
}

#[test]
fn a_peer_cannot_speak_for_another() {
    let mut w = World::new(3, Roaming::Stock, None);
    // Node 0 claims node 2's address.
    assert!(w.nodes[0].set_addresses(&[mesh(2)]));
    w.nodes[0].echo(mesh(1), 1, 10);
    w.run(100_000);
    assert_eq!(w.nodes[1].counters.value(Counter::SourceNotAllowed), 1.0);
    assert_eq!(w.nodes[1].counters.value(Counter::NotForUs), 0.0);
}

#[test]
fn roaming_follows_data_only_where_the_host_does_not_decide() {
    for (roaming, moved) in [(Roaming::Stock, true), (Roaming::Host, false)] {
        let mut w = World::new(2, roaming, None);
        w.nodes[0].initiate(0);
        w.run(10_000);
        w.nodes[0].echo(mesh(1), 1, 10);
        w.nodes[0].poll();
        let datagram = w.nodes[0].transmit.bytes()[..w.nodes[0].transmit.runs()[0].length as usize].to_vec();
        w.nodes[0].transmit.clear();
        let elsewhere: Path = SocketAddr::from(([203, 0, 113, 5], 999)).into();
        w.nodes[1].receive(elsewhere, &datagram);
        assert_eq!(w.nodes[1].peer_figures(0).unwrap().1 == elsewhere, moved);
    }
}

#[test]
fn a_stream_survives_rekeying() {
    let mut w = World::new(2, Roaming::Stock, None);
    w.nodes[1].listen(80);
    let a = w.nodes[0].connect(SocketAddr::new(mesh(1), 80)).unwrap();
    w.run(100_000);
    let b = w.accepted(1).unwrap();
    let mut total = 0;
    for _ in 0..600 {
        w.nodes[0].stream_send(a, &[1; 1000]);
        w.run(1_000_000);
        total += w.read_all(1, b).len();
    }
    assert_eq!(total, 600_000);
    assert!(w.count(0, Kind::Handshake) >= 4, "{} handshakes in 10 minutes", w.count(0, Kind::Handshake));
}

#[test]
fn junk_is_counted_and_changes_nothing() {
    let mut w = World::new(2, Roaming::Stock, None);
    w.nodes[0].initiate(0);
    w.run(10_000);
    let mut x = 88172645463325252u64;
    let mut random = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    w.nodes[0].echo(mesh(1), 1, 100);
    w.nodes[0].poll();
    let good = w.nodes[0].transmit.bytes()[..w.nodes[0].transmit.runs()[0].length as usize].to_vec();
    w.nodes[0].transmit.clear();
    let lengths = [0usize, 1, 3, 4, 31, 32, 64, 92, 148, 149, 1500];
    for i in 0..10_000 {
        let mut datagram =
            if i % 2 == 0 { good.clone() } else { (0..lengths[i % lengths.len()]).map(|_| random() as u8).collect() };
        if i % 3 == 0 && datagram.len() >= 4 {
            datagram[..4].copy_from_slice(&[(random() % 5) as u8, 0, 0, 0]);
        }
        let n = datagram.len();
        if n > 4 {
            datagram[4 + random() as usize % (n - 4)] ^= 1 << (random() % 8);
        }
        let from = SocketAddr::from(([203, 0, 113, random() as u8], random() as u16)).into();
        w.nodes[1].receive(from, &datagram);
    }
    w.settle();
    assert_eq!(w.nodes[1].peer_figures(0).unwrap().1, outer(0));
    w.nodes[0].echo(mesh(1), 2, 100);
    w.run(100_000);
    assert_eq!(w.count(0, Kind::EchoReply), 1);
}

#[test]
fn ten_thousand_streams_do_not_fit_and_the_refusal_is_clean() {
    let mut w = World::new(2, Roaming::Stock, None);
    let opened = (0..10_000).filter(|_| w.nodes[0].connect(SocketAddr::new(mesh(1), 80)).is_ok()).count();
    assert_eq!(opened, crate::engine::STREAMS_MAX);
    assert_eq!(w.nodes[0].connect(SocketAddr::new(mesh(1), 80)), Err(Refusal::Full));
}

/// What a node has for the kernel, each packet without its virtio header.
pub(crate) fn for_kernel(engine: &mut Engine) -> Vec<Vec<u8>> {
    let output = &mut engine.tun().expect("the node has an interface").output;
    let parts = output.finish().to_vec();
    assert!(parts.iter().all(|p| p.more == 0));
    let cut = |p: &crate::tun::gro::Part| output.arena()[p.offset as usize + 10..][..p.length as usize - 10].to_vec();
    let packets = parts.iter().map(cut).collect();
    output.clear();
    packets
}

/// What the kernel would send: no virtio work, one IPv4 packet.
pub(crate) fn from_kernel(engine: &mut Engine, protocol: u8, from: IpAddr, to: IpAddr, body: &[u8]) {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) else { panic!("IPv4") };
    let mut packet = vec![0; 10];
    packet.extend([0x45, 0]);
    packet.extend((20 + body.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(body);
    engine.tun().expect("the node has an interface").input[..packet.len()].copy_from_slice(&packet);
    assert!(engine.tun_send(packet.len()), "there is room");
}

pub(crate) fn tcp_header(from: u16, to: u16, flags: u8) -> Vec<u8> {
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]].concat()
}

#[test]
fn the_kernel_gets_what_the_userspace_network_does_not_have() {
    const SYN: u8 = 2;
    let mut w = World::new(2, Roaming::Stock, None);
    for node in &mut w.nodes {
        node.tun_open(true, 61_000, 4_000);
    }
    assert!(w.nodes[1].listen(80));
    let id = w.nodes[0].connect(SocketAddr::new(mesh(1), 80)).unwrap();
    w.run(3_000_000);
    assert_eq!(w.nodes[0].stream_state(id) & ESTABLISHED, ESTABLISHED);
    let port = w.nodes[0].stream_local(id).unwrap().port();
    assert!((61_000..65_000).contains(&port), "{port} is none of the kernel's");
    assert!(for_kernel(&mut w.nodes[0]).is_empty() && for_kernel(&mut w.nodes[1]).is_empty());

    let (a, b) = (mesh(0), mesh(1));
    let echo = |kind: u8, fill: u8| [&[kind, 0, 0, 0, 0x6d, 0x79, 0, 1][..], &[fill; 56]].concat();
    let cases: [(u8, Vec<u8>, bool); 9] = [
        (6, tcp_header(40_000, 80, SYN), false),  // opens a connection at our listener
        (6, tcp_header(40_000, 81, SYN), true),   // no listener of ours
        (6, tcp_header(40_002, 80, 0x12), true),  // an answer to the kernel's own connection from port 80
        (6, tcp_header(40_000, port, SYN), true), // a port of ours, but no connection of ours
        (17, [&[0, 1, 0, 53, 0, 9, 0, 0][..], b"x"].concat(), true),
        (1, echo(8, 0x6d), true),  // a request
        (1, echo(0, 0x6d), false), // a reply to our own ping
        (1, echo(0, 0x11), true),  // to the kernel's, which chose the same identifier
        (132, vec![1; 12], true),  // whatever else
    ];
    for (protocol, body, kernel) in cases {
        from_kernel(&mut w.nodes[0], protocol, a, b, &body);
        w.settle();
        let got = for_kernel(&mut w.nodes[1]);
        let name = format!("protocol {protocol}, {:?}", &body[..8]);
        assert_eq!(got.len(), usize::from(kernel), "{name}");
        assert!(got.iter().all(|p| p[20..] == body), "{name}");
    }
    assert_eq!(w.nodes[1].counters.value(Counter::NotForUs), 0.0);
}

#[test]
fn an_error_about_a_userspace_connection_does_not_go_to_the_kernel() {
    let mut w = World::new(2, Roaming::Stock, None);
    assert!(w.nodes[1].listen(80));
    w.nodes[0].tun_open(true, 61_000, 4_000);
    w.nodes[1].tun_open(true, 61_000, 4_000);
    let id = w.nodes[0].connect(SocketAddr::new(mesh(1), 80)).unwrap();
    w.run(1_000_000);
    let port = w.nodes[0].stream_local(id).unwrap().port();
    for (local, kernel) in [(port, false), (port + 1, true)] {
        let mut body = vec![3, 4, 0, 0, 0, 0, 5, 0, 0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0, 0];
        body.extend([10, 42, 0, 1, 10, 42, 0, 2]);
        body.extend(&tcp_header(local, 80, 16)[..8]);
        from_kernel(&mut w.nodes[1], 1, mesh(1), mesh(0), &body);
        w.settle();
        assert_eq!(for_kernel(&mut w.nodes[0]).len(), usize::from(kernel));
    }
}

#[test]
fn what_the_kernel_may_not_send_is_dropped_and_counted() {
    let mut w = World::new(2, Roaming::Stock, None);
    w.nodes[0].tun_open(true, 61_000, 4_000);
    let far = IpAddr::from([203, 0, 113, 9]);
    from_kernel(&mut w.nodes[0], 17, far, mesh(1), &[0; 9]);
    from_kernel(&mut w.nodes[0], 17, mesh(0), far, &[0; 9]);
    assert!(w.nodes[0].tun_send(3) && w.nodes[0].tun_send(usize::MAX));
    // Our own datagrams for the peer, which has its endpoint among its AllowedIPs, but not others for the same host.
    let outside: SocketAddr = "192.0.2.2:51820".parse().unwrap();
    assert!(w.nodes[0].allow(0, outside.ip(), 32));
    for port in [outside.port(), 53] {
        let udp = [&51_820u16.to_be_bytes()[..], &port.to_be_bytes(), &[0, 9, 0, 0, 0]].concat();
        from_kernel(&mut w.nodes[0], 17, mesh(0), outside.ip(), &udp);
        assert_eq!(w.nodes[0].transmit.runs().len(), usize::from(port == 53), "port {port}");
    }
    w.nodes[0].transmit.clear();
    assert_eq!(w.nodes[0].counters.value(Counter::TunLoop), 1.0);
    // Of all this only what had no route was refused, once.
    let [refused] = &for_kernel(&mut w.nodes[0])[..] else { panic!("one error") };
    assert_eq!((refused.len(), &refused[20..22]), (20 + 8 + 29, &[3, 1][..]));
    let value = |c| w.nodes[0].counters.value(c);
    assert_eq!([value(Counter::TunSource), value(Counter::NoRoute), value(Counter::TunMalformed)], [1.0, 1.0, 2.0]);
    assert!(w.nodes[0].transmit.runs().is_empty());
}
