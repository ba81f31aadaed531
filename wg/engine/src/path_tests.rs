//! Paths: local ends, probes, copies of packets, and who may move an endpoint.

use crate::counter::Counter;
use crate::device::Ask;
use crate::engine::{Engine, ESTABLISHED};
use crate::event::{Event, Kind, Path};
use crate::peer::Roaming;
use crate::probe::{link_local, Probe, PROBE_BYTES_MAX, PROBE_BYTES_MIN};
use crate::tests::{for_kernel, from_kernel, mesh, outer, take, World, MTU};
use std::net::SocketAddr;

/// Some address that is none of the nodes', by a local end that is not the first.
fn elsewhere() -> Path {
    Path { local: 3, ..SocketAddr::from(([203, 0, 113, 66], 6)).into() }
}

/// A pair with a session; what happened before is forgotten.
fn pair() -> World {
    let mut w = World::new(2, Roaming::Host, None);
    w.nodes[0].initiate(0);
    w.run(10_000);
    assert_eq!((w.count(0, Kind::Handshake), w.count(1, Kind::Handshake)), (1, 1));
    w.events.iter_mut().for_each(Vec::clear);
    w
}

fn ask(path: Path, sequence: u32, bytes: usize) -> Ask {
    Ask { path, sequence, bytes }
}

fn events(engine: &mut Engine, kind: Kind) -> Vec<Event> {
    let list = engine.events.list().iter().filter(|e| e.kind == kind as u32).copied().collect();
    engine.events.clear();
    list
}

/// One datagram that a node has to send.
fn one(engine: &mut Engine) -> (Path, Vec<u8>) {
    let [datagram] = &take(engine)[..] else { panic!("one datagram") };
    datagram.clone()
}

/// A probe as the node with `from`'s key would write it for the one with `to`'s.
fn written(from: &Engine, to: &Engine, probe: Probe, bytes: usize) -> Vec<u8> {
    let mut packet = vec![0; bytes];
    probe.write(&link_local(&from.public_key()), &link_local(&to.public_key()), &mut packet);
    packet
}

#[test]
fn a_probe_goes_along_its_path_and_the_answer_to_where_it_came_from() {
    let mut w = pair();
    let there = Path { local: 9, ..elsewhere() };
    assert!(w.nodes[0].probe(0, ask(there, 77_777, 1300)));
    let run = w.nodes[0].transmit.runs()[0];
    assert_eq!((run.kind, run.to, run.length, run.peer), (5, there, 1300 + 32, 0), "not padded, and marked");
    let (_, request) = one(&mut w.nodes[0]);

    w.nodes[1].receive(elsewhere(), &request);
    let (to, reply) = one(&mut w.nodes[1]);
    assert_eq!((to, reply.len()), (elsewhere(), PROBE_BYTES_MIN + 32), "short, and at once");
    assert_eq!(w.nodes[1].peer_figures(0).unwrap().1, outer(0), "the endpoint stays");

    let [probed] = events(&mut w.nodes[1], Kind::Probed)[..] else { panic!("the first of the session is told") };
    assert_eq!((probed.peer, probed.address), (0, elsewhere().remote));
    assert!(w.nodes[0].probe(0, ask(there, 77_778, 100)));
    let (_, second) = one(&mut w.nodes[0]);
    w.nodes[1].receive(elsewhere(), &second);
    assert_eq!(take(&mut w.nodes[1]).len(), 1, "answered too");
    assert!(events(&mut w.nodes[1], Kind::Probed).is_empty(), "the first alone");

    w.nodes[0].receive(there, &reply);
    let [event] = events(&mut w.nodes[0], Kind::ProbeReply)[..] else { panic!("one reply") };
    assert_eq!((event.peer, event.a, event.b, event.address), (0, 77_777, 9, there.remote));
    assert!(take(&mut w.nodes[0]).is_empty() && take(&mut w.nodes[1]).is_empty());
}

#[test]
fn without_a_session_there_is_no_probe_and_no_handshake_for_it() {
    let mut w = World::new(2, Roaming::Host, None);
    assert!(!w.nodes[0].probe(0, ask(outer(1), 1, 100)) && !w.nodes[0].probe(7, ask(outer(1), 1, 100)));
    assert!(take(&mut w.nodes[0]).is_empty());
    w.nodes[0].initiate(0);
    w.run(10_000);
    assert!(w.nodes[0].probe(0, ask(outer(1), 1, 100)));
    w.nodes[0].remove_peer(0);
    assert!(!w.nodes[0].probe(0, ask(outer(1), 1, 100)));
}

#[test]
fn a_probe_of_an_impossible_size_is_not_sent_and_the_largest_is() {
    let mut w = pair();
    for bytes in [0, PROBE_BYTES_MIN - 1, PROBE_BYTES_MAX + 1, usize::MAX] {
        assert!(!w.nodes[0].probe(0, ask(outer(1), 1, bytes)), "{bytes}");
    }
    assert!(!w.nodes[0].probe(0, ask(Path::default(), 1, 100)), "nowhere");
    assert!(take(&mut w.nodes[0]).is_empty());
    assert!(w.nodes[0].probe(0, ask(outer(1), 5, PROBE_BYTES_MAX)));
    w.settle();
    assert_eq!(w.events[0].iter().find(|e| e.kind == Kind::ProbeReply as u32).map(|e| e.a), Some(5));
}

#[test]
fn a_probe_that_says_it_is_longer_than_it_is_is_not_answered() {
    let mut w = pair();
    let mut packet = written(&w.nodes[0], &w.nodes[1], Probe::Request(1), 80);
    packet[4..6].copy_from_slice(&u16::MAX.to_be_bytes());
    w.nodes[0].send_inner(0, &packet);
    let (_, datagram) = one(&mut w.nodes[0]);
    w.nodes[1].receive(outer(0), &datagram);
    assert!(take(&mut w.nodes[1]).is_empty());
    assert_eq!(w.nodes[1].counters.value(Counter::Refused), 1.0);
}

#[test]
fn a_probe_with_a_link_local_address_that_is_not_the_session_s_changes_nothing() {
    let mut w = World::new(3, Roaming::Host, None);
    for peer in 0..2 {
        w.nodes[0].initiate(peer);
    }
    w.run(10_000);
    w.events.iter_mut().for_each(Vec::clear);
    let [a, b, c] = &mut w.nodes[..] else { panic!("three nodes") };
    // In the session of a with b: the address of c in a's place, in b's place, and what is no probe at all.
    let packets = [
        (written(c, b, Probe::Request(1), 48), Counter::SourceNotAllowed),
        (written(c, b, Probe::Reply(1), 48), Counter::SourceNotAllowed),
        (written(a, c, Probe::Request(1), 48), Counter::ProbeRefused),
        (written(a, a, Probe::Reply(1), 48), Counter::ProbeRefused),
        ([&written(a, b, Probe::Request(1), 48)[..40], &[135; 24]].concat(), Counter::ProbeRefused),
    ];
    for (i, (packet, counter)) in packets.into_iter().enumerate() {
        let mut packet = packet;
        let length = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&length.to_be_bytes());
        let before = b.counters.value(counter);
        a.send_inner(0, &packet);
        let (_, datagram) = one(a);
        b.receive(outer(0), &datagram);
        assert_eq!(b.counters.value(counter), before + 1.0, "case {i}");
        assert!(take(b).is_empty() && events(b, Kind::ProbeReply).is_empty(), "case {i}");
    }
}

#[test]
fn a_replayed_probe_or_reply_changes_nothing() {
    let mut w = pair();
    assert!(w.nodes[0].probe(0, ask(outer(1), 1, 48)));
    let (_, request) = one(&mut w.nodes[0]);
    w.nodes[1].receive(outer(0), &request);
    let (_, reply) = one(&mut w.nodes[1]);
    w.nodes[0].receive(outer(1), &reply);
    assert_eq!(events(&mut w.nodes[0], Kind::ProbeReply).len(), 1);
    w.nodes[1].events.clear();

    w.nodes[1].receive(elsewhere(), &request);
    w.nodes[0].receive(elsewhere(), &reply);
    for node in &mut w.nodes {
        assert!(node.events.list().is_empty() && take(node).is_empty());
        assert_eq!(node.counters.value(Counter::Replayed), 1.0);
        assert_ne!(node.peer_figures(0).unwrap().1, elsewhere());
    }
}

#[test]
fn a_flood_of_probes_is_answered_in_part() {
    let mut w = pair();
    for i in 0..1000 {
        assert!(w.nodes[0].probe(0, ask(outer(1), i, 48)));
    }
    w.settle();
    let answered = w.count(0, Kind::ProbeReply);
    assert_eq!(answered as f64 + w.nodes[1].counters.value(Counter::ProbeLimited), 1000.0);
    assert_eq!(answered, 128);
    w.run(1_000_000);
    assert!(w.nodes[0].probe(0, ask(outer(1), 1000, 48)));
    w.settle();
    assert_eq!(w.count(0, Kind::ProbeReply), 129, "later ones are answered again");
}

#[test]
fn probes_are_not_for_the_kernel_and_not_for_the_userspace_network() {
    let mut w = pair();
    for node in &mut w.nodes {
        node.tun_open(true, 61_000, 4_000);
        assert!(node.allow(0, "fe80::".parse().unwrap(), 10) && node.allow(0, "::".parse().unwrap(), 0));
    }
    assert!(w.nodes[0].probe(0, ask(outer(1), 4, 400)));
    w.run(10_000);
    assert_eq!((w.count(0, Kind::ProbeReply), w.count(0, Kind::EchoReply), w.count(1, Kind::EchoReply)), (1, 0, 0));
    for node in &mut w.nodes {
        assert!(for_kernel(node).is_empty());
        assert_eq!(node.counters.value(Counter::NotForUs), 0.0);
    }
}

#[test]
fn an_endpoint_keeps_its_local_end() {
    let mut w = pair();
    let path = Path { local: 200, ..outer(1) };
    w.nodes[0].set_endpoint(0, path);
    assert_eq!(w.nodes[0].peer_figures(0).unwrap().1, path);
    w.nodes[0].echo(mesh(1), 1, 10);
    w.nodes[0].poll();
    assert_eq!(one(&mut w.nodes[0]).0, path);
    w.nodes[0].initiate(0);
    assert_eq!(one(&mut w.nodes[0]).0, path);
}

#[test]
fn events_and_answers_to_strangers_name_the_local_end() {
    let mut w = World::new(2, Roaming::Host, None);
    w.nodes[0].initiate(0);
    let (_, initiation) = one(&mut w.nodes[0]);
    w.nodes[1].receive(elsewhere(), &initiation);
    let (to, response) = one(&mut w.nodes[1]);
    assert_eq!(to, elsewhere());
    w.nodes[0].receive(Path { local: 8, ..elsewhere() }, &response);
    let [event] = events(&mut w.nodes[0], Kind::Handshake)[..] else { panic!("a handshake") };
    assert_eq!((event.address, event.b), (elsewhere().remote, 8));
    let (_, keepalive) = one(&mut w.nodes[0]);
    w.nodes[1].receive(elsewhere(), &keepalive);
    let [event] = events(&mut w.nodes[1], Kind::Handshake)[..] else { panic!("a handshake") };
    assert_eq!((event.address, event.b), (elsewhere().remote, 3));

    w.nodes[1].remove_peer(0);
    w.nodes[0].initiate(0);
    let (_, initiation) = one(&mut w.nodes[0]);
    w.nodes[1].receive(elsewhere(), &initiation);
    let [event] = events(&mut w.nodes[1], Kind::UnknownPeer)[..] else { panic!("a stranger") };
    assert_eq!((event.address, event.b), (elsewhere().remote, 3));
}

#[test]
fn where_the_host_decides_a_handshake_is_reported_and_moves_nothing() {
    let mut w = pair();
    w.now += 1_000_000;
    let now = w.now;
    w.nodes.iter_mut().for_each(|n| n.set_now(now));
    w.nodes[0].initiate(0);
    let (_, initiation) = one(&mut w.nodes[0]);
    // A copy from elsewhere comes first; the answer goes there, and nowhere else.
    w.nodes[1].receive(elsewhere(), &initiation);
    w.nodes[1].receive(outer(0), &initiation);
    let (to, response) = one(&mut w.nodes[1]);
    assert_eq!((to, w.nodes[1].peer_figures(0).unwrap().1), (elsewhere(), outer(0)));
    // Packets of the session before confirm nothing, wherever they come from.
    w.nodes[0].echo(mesh(1), 1, 10);
    w.nodes[0].poll();
    let (_, data) = one(&mut w.nodes[0]);
    w.nodes[1].receive(elsewhere(), &data);
    assert!(events(&mut w.nodes[1], Kind::Handshake).is_empty());
    assert_eq!(w.nodes[1].peer_figures(0).unwrap().1, outer(0));
    // The first one of the new session does.
    w.nodes[0].receive(elsewhere(), &response);
    let (_, keepalive) = one(&mut w.nodes[0]);
    w.nodes[1].receive(elsewhere(), &keepalive);
    for node in &mut w.nodes {
        let [event] = events(node, Kind::Handshake)[..] else { panic!("a handshake") };
        assert_eq!((event.address, event.b), (elsewhere().remote, 3));
        assert_ne!(node.peer_figures(0).unwrap().1, elsewhere());
    }
}

#[test]
fn traffic_that_takes_turns_between_paths_is_not_reported_packet_by_packet() {
    let mut w = pair();
    let paths = [outer(0), elsewhere(), Path { local: 0, ..elsewhere() }];
    for i in 0..300 {
        w.nodes[0].echo(mesh(1), i, 10);
        w.nodes[0].poll();
        let (_, datagram) = one(&mut w.nodes[0]);
        w.nodes[1].receive(paths[usize::from(i) % 3], &datagram);
    }
    let heard: Vec<_> = events(&mut w.nodes[1], Kind::Heard).iter().map(|e| (e.address, e.b)).collect();
    assert_eq!(heard, [(paths[1].remote, 3), (paths[2].remote, 0)], "the first was reported with the handshake");
}

#[test]
fn of_two_copies_one_counts_whatever_lies_between_them() {
    for lag in [1, 63, 64, 1000, 1024, 1025, 5000] {
        let mut w = pair();
        let before = w.nodes[1].peer_figures(0).unwrap().0[2];
        let mut late = std::collections::VecDeque::new();
        const PACKETS: usize = 6000;
        for i in 0..PACKETS {
            let packet = written(&w.nodes[0], &w.nodes[1], Probe::Reply(i as u32), 48);
            w.nodes[0].send_inner(0, &packet);
            let (_, datagram) = one(&mut w.nodes[0]);
            // Every seventh is lost on the fast path, so that its copy counts.
            if i % 7 > 0 {
                w.nodes[1].receive(outer(0), &datagram);
            }
            late.push_back(datagram);
            if late.len() > lag {
                w.nodes[1].receive(elsewhere(), &late.pop_front().unwrap());
            }
        }
        late.iter().for_each(|d| w.nodes[1].receive(elsewhere(), d));
        let got = (w.nodes[1].peer_figures(0).unwrap().0[2] - before) as usize / 48;
        // Beyond the window a late copy is refused, as WireGuard must: then what the fast path loses is lost.
        let least = if lag < 1024 { PACKETS } else { PACKETS - PACKETS.div_ceil(7) };
        assert!((least..=PACKETS).contains(&got), "lag {lag}: {got}");
    }
}

#[test]
fn packets_are_padded_within_what_the_path_carries() {
    let mut w = pair();
    let mut packet = written(&w.nodes[0], &w.nodes[1], Probe::Reply(1), 1227);
    for (mtu, padded) in [(usize::MAX, 1232), (1240, 1232), (1230, 1230), (1227, 1227), (1000, 1227)] {
        w.nodes[0].set_peer_mtu(0, mtu, MTU);
        packet[44] = 1;
        w.nodes[0].send_inner(0, &packet);
        assert_eq!(one(&mut w.nodes[0]).1.len(), padded + 32, "{mtu}");
    }
}

/// Sizes of the full segments that a stream of node 0 sends now.
fn longest(w: &mut World, stream: u32) -> usize {
    w.nodes[0].stream_send(stream, &[7; 30_000]);
    w.nodes[0].set_now(w.now);
    w.nodes[0].poll();
    let sent = take(&mut w.nodes[0]);
    let longest = sent.iter().map(|(_, d)| d.len()).max().expect("segments");
    for (_, datagram) in sent {
        w.nodes[1].receive(outer(0), &datagram);
    }
    w.run(1_000_000);
    longest
}

#[test]
fn streams_fit_the_path_to_their_peer_those_that_are_open_and_those_to_come() {
    let mut w = pair();
    w.nodes[0].set_peer_mtu(0, 1280, MTU);
    w.nodes[0].allow(0, "10.77.0.0".parse().unwrap(), 16);
    w.nodes[1].set_addresses(&[mesh(1), "10.77.3.4".parse().unwrap()]);
    assert!(w.nodes[1].listen(80));
    for host in [mesh(1), "10.77.3.4".parse().unwrap()] {
        w.nodes[0].set_peer_mtu(0, 1280, MTU);
        let stream = w.nodes[0].connect(SocketAddr::new(host, 80)).unwrap();
        w.run(1_000_000);
        assert_eq!(w.nodes[0].stream_state(stream), ESTABLISHED);
        for (mtu, size) in [(1280, 1280), (MTU, MTU), (1064, 1064), (9000, MTU)] {
            w.nodes[0].set_peer_mtu(0, mtu, MTU);
            assert_eq!(longest(&mut w, stream), size + 32, "{host} at {mtu}");
        }
    }
}

#[test]
fn the_kernel_is_told_what_the_path_carries() {
    let mut w = pair();
    w.nodes[0].tun_open(true, 61_000, 4_000);
    for (tun_mtu, said) in [(1400, None), (1388, None), (1387, Some(1387)), (100, Some(576))] {
        w.now += 10_000;
        w.nodes[0].set_now(w.now);
        w.nodes[0].set_peer_mtu(0, tun_mtu, tun_mtu);
        from_kernel(&mut w.nodes[0], 17, mesh(0), mesh(1), &[1; 1368]);
        let errors = for_kernel(&mut w.nodes[0]);
        let got: Vec<_> = errors.iter().map(|e| (e[20], e[21], u16::from_be_bytes([e[26], e[27]]))).collect();
        assert_eq!(got, said.map(|mtu| (3, 4, mtu)).into_iter().collect::<Vec<_>>(), "{tun_mtu}");
        assert_eq!(take(&mut w.nodes[0]).len(), usize::from(said.is_none()), "{tun_mtu}");
    }
    assert_eq!(w.nodes[0].counters.value(Counter::TunTooBig), 2.0);
}

#[test]
fn what_every_host_may_send_crosses_a_narrower_path_in_fragments() {
    let mut w = pair();
    for node in &mut w.nodes {
        node.tun_open(true, 61_000, 4_000);
    }
    w.nodes[0].set_addresses(&[mesh(0), "fd00::1".parse().unwrap()]);
    w.nodes[0].allow(0, "fd00::2".parse().unwrap(), 128);
    w.nodes[1].allow(0, "fd00::1".parse().unwrap(), 128);
    w.nodes[1].set_addresses(&[mesh(1), "fd00::2".parse().unwrap()]);
    w.nodes[0].set_peer_mtu(0, 1044, 1044);
    let mut packet = vec![0; 10];
    packet.extend([0x60, 0, 0, 0, 0x04, 0xd8, 17, 64]);
    for host in [1, 2] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    packet.extend((0..1240).map(|i| i as u8));
    w.nodes[0].tun().unwrap().input[..packet.len()].copy_from_slice(&packet);
    assert!(w.nodes[0].tun_send(packet.len()));
    let sent = take(&mut w.nodes[0]);
    assert!(sent.len() == 2 && sent.iter().all(|(_, d)| d.len() <= 1044 + 32));
    for (_, datagram) in sent {
        w.nodes[1].receive(outer(0), &datagram);
    }
    let fragments = for_kernel(&mut w.nodes[1]);
    assert_eq!(fragments.iter().map(Vec::len).collect::<Vec<_>>(), [1040, 296]);
    assert_eq!([&fragments[0][48..], &fragments[1][48..]].concat(), packet[50..]);
    assert_eq!(for_kernel(&mut w.nodes[0]).len(), 0, "nobody is asked for less than 1280");
    assert_eq!(w.nodes[0].counters.value(Counter::TunFragmented), 1.0);
}
