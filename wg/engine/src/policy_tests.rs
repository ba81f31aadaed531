//! The policy with whole engines: what the one who is refused sees, what goes on, what ends.

use crate::counter::Counter;
use crate::engine::{CLOSED, ESTABLISHED, RECEIVE_FINISHED};
use crate::event::Kind;
use crate::filter::ports::{Protocol, Range};
use crate::filter::Refusal;
use crate::peer::Roaming;
use crate::tests::{for_kernel, from_kernel, mesh, mesh6, tcp_header, World};
use std::net::SocketAddr;

fn tcp(port: u16) -> Range {
    Range { protocol: Protocol::Tcp, first: port, last: port }
}

/// Two nodes; the second lets the first reach `ports`.
fn pair(ports: &[Range]) -> World {
    let mut w = World::new(2, Roaming::Stock, None);
    w.nodes[1].filter_open();
    w.nodes[1].set_ports(0, ports);
    for port in [22, 80] {
        assert!(w.nodes[0].listen(port) && w.nodes[1].listen(port));
    }
    w
}

#[test]
fn a_denied_port_is_refused_at_once_and_told() {
    let mut w = pair(&[tcp(80)]);
    let allowed = w.nodes[0].connect(SocketAddr::new(mesh(1), 80)).unwrap();
    let denied = [mesh(1), mesh6(1)].map(|to| w.nodes[0].connect(SocketAddr::new(to, 22)).unwrap());
    // Less than the first retransmission of a SYN.
    w.run(100_000);
    assert_eq!(w.nodes[0].stream_state(allowed), ESTABLISHED);
    for id in denied {
        assert_eq!(w.nodes[0].stream_state(id), CLOSED | RECEIVE_FINISHED | 5 << 8);
    }
    let told: Vec<_> = w.events[1].iter().filter(|e| e.kind == Kind::PolicyRefused as u32).collect();
    assert_eq!(told.iter().map(|e| (e.peer, e.a, e.b)).collect::<Vec<_>>(), [(0, 6, 22)]);
    assert_eq!(w.nodes[1].counters.value(Counter::PolicyRefused), 2.0);
    assert_eq!(w.nodes[1].peer_refused(0).unwrap()[Refusal::Policy as usize], 2.0);
    assert_eq!(w.count(1, Kind::Accepted), 1);
}

#[test]
fn what_begins_here_is_answered_whatever_the_peer_may_reach() {
    let mut w = pair(&[]);
    let out = w.nodes[1].connect(SocketAddr::new(mesh(0), 80)).unwrap();
    assert!(w.nodes[1].echo(mesh(0), 1, 100) && w.nodes[0].echo(mesh(1), 2, 100));
    w.run(100_000);
    assert_eq!(w.nodes[1].stream_state(out), ESTABLISHED);
    assert_eq!((w.count(1, Kind::EchoReply), w.count(0, Kind::EchoReply)), (1, 0));
    let id = w.accepted(0).expect("accepted");
    assert_eq!(w.nodes[0].stream_send(id, b"answer"), 6);
    w.run(100_000);
    assert_eq!(w.read_all(1, out), b"answer");
    let closed = w.nodes[1].connect(SocketAddr::new(mesh(0), 81)).unwrap();
    w.run(100_000);
    assert_eq!(w.nodes[1].stream_state(closed), CLOSED | RECEIVE_FINISHED | 1 << 8, "resets pass");
}

#[test]
fn a_new_policy_ends_what_is_allowed_no_longer_and_nothing_else() {
    let mut w = pair(&[tcp(22), tcp(80)]);
    let [kept, lost] = [80, 22].map(|port| w.nodes[0].connect(SocketAddr::new(mesh(1), port)).unwrap());
    let ours = w.nodes[1].connect(SocketAddr::new(mesh(0), 22)).unwrap();
    w.run(100_000);
    let accepted = w.events[1].iter().find(|e| e.kind == Kind::Accepted as u32 && e.b == 22).unwrap().a;
    w.nodes[1].set_ports(0, &[tcp(80)]);
    w.events.iter_mut().for_each(Vec::clear);
    assert_eq!(w.nodes[1].cut_refused(), 1);
    w.run(100_000);
    assert_eq!(w.nodes[0].stream_state(lost), CLOSED | RECEIVE_FINISHED | 2 << 8, "reset");
    assert_eq!(w.nodes[1].stream_state(accepted), CLOSED | RECEIVE_FINISHED | 5 << 8, "prohibited");
    assert!(w.events[1].iter().any(|e| e.kind == Kind::Stream as u32 && e.a == accepted), "the host is told");
    assert_eq!([w.nodes[0].stream_state(kept), w.nodes[1].stream_state(ours)], [ESTABLISHED; 2]);
    assert_eq!(w.nodes[1].cut_refused(), 0);
    let again = w.nodes[0].connect(SocketAddr::new(mesh(1), 22)).unwrap();
    w.run(100_000);
    assert_eq!(w.nodes[0].stream_state(again), CLOSED | RECEIVE_FINISHED | 5 << 8);
    w.nodes[1].set_ports(0, &[tcp(22)]);
    let allowed = w.nodes[0].connect(SocketAddr::new(mesh(1), 22)).unwrap();
    w.run(100_000);
    assert_eq!(w.nodes[0].stream_state(allowed), ESTABLISHED);
}

#[test]
fn a_connection_nobody_has_accepted_is_cut_too() {
    let mut w = pair(&[tcp(80)]);
    w.nodes[0].initiate(0);
    w.run(10_000);
    // The answer to the SYN is lost: the connection is half open at the receiver.
    w.lose = |from, _| from == 1;
    let half = w.nodes[0].connect(SocketAddr::new(mesh(1), 80)).unwrap();
    w.run(50_000);
    w.nodes[1].set_ports(0, &[]);
    assert_eq!(w.nodes[1].cut_refused(), 1);
    w.lose = |_, _| false;
    w.run(5_000_000);
    assert_eq!(w.nodes[0].stream_state(half) & ESTABLISHED, 0);
    assert_eq!(w.accepted(1), None);
}

#[test]
fn a_peer_that_comes_later_reaches_nothing_until_the_host_has_spoken() {
    let mut w = World::new(2, Roaming::Stock, None);
    let open = w.nodes[0].echo(mesh(1), 1, 10);
    w.run(100_000);
    assert!(open && w.count(0, Kind::EchoReply) == 1, "before there is a policy");
    w.nodes[1].filter_open();
    assert!(w.nodes[0].echo(mesh(1), 2, 10));
    w.run(100_000);
    assert_eq!(w.count(0, Kind::EchoReply), 2, "those that are there stay");
    let key = w.nodes[0].public_key();
    w.nodes[1].remove_peer(0);
    let options = crate::device::PeerOptions {
        public_key: key,
        preshared_key: None,
        keepalive_seconds: 0,
        roaming: Roaming::Stock,
    };
    let peer = w.nodes[1].add_peer(&options).unwrap();
    assert!(w.nodes[1].allow(peer, mesh(0), 32));
    w.nodes[0].initiate(0);
    w.run(100_000);
    assert!(w.nodes[0].echo(mesh(1), 3, 10));
    w.run(100_000);
    assert_eq!(w.count(0, Kind::EchoReply), 2);
    w.nodes[1].set_ports(peer, &[Range { protocol: Protocol::Icmp, first: 0, last: 0 }]);
    assert!(w.nodes[0].echo(mesh(1), 4, 10));
    w.run(100_000);
    assert_eq!(w.count(0, Kind::EchoReply), 3);
}

#[test]
fn connections_of_the_kernel_are_known_by_their_beginning() {
    let mut w = pair(&[]);
    w.nodes.iter_mut().for_each(|n| n.tun_open(true, 61_000, 4_000));
    let (a, b) = (mesh(0), mesh(1));
    let mut sends = |from: usize, protocol: u8, body: &[u8]| {
        let (source, to) = if from == 0 { (a, b) } else { (b, a) };
        from_kernel(&mut w.nodes[from], protocol, source, to, body);
        w.settle();
        let got = for_kernel(&mut w.nodes[1 - from]).iter().filter(|p| p[20..] == *body).count();
        // What the policy answers is for the kernel of who was refused.
        for_kernel(&mut w.nodes[from]);
        got == 1
    };
    let udp = |from: u8, to: u8| [0, from, 0, to, 0, 9, 0, 0, 7];
    assert!(sends(1, 6, &tcp_header(40_000, 443, 2)) && sends(0, 6, &tcp_header(443, 40_000, 0x12)));
    assert!(sends(1, 6, &tcp_header(40_000, 443, 16)) && sends(0, 6, &tcp_header(443, 40_000, 16)));
    assert!(!sends(0, 6, &tcp_header(443, 40_001, 0x12)) && !sends(0, 6, &tcp_header(9, 9, 2)));
    assert!(sends(1, 17, &udp(9, 53)) && sends(0, 17, &udp(53, 9)) && !sends(0, 17, &udp(53, 8)));
    assert_eq!(w.nodes[1].peer_refused(0).unwrap()[Refusal::Policy as usize], 3.0);
}

#[test]
fn datagrams_are_answered_where_they_began_and_refused_where_not() {
    let mut w = pair(&[Range { protocol: Protocol::Udp, first: 53, last: 53 }]);
    for (node, ports) in [(0, [53, 5000]), (1, [53, 161])] {
        assert!(ports.iter().all(|port| w.nodes[node].udp().bind(*port)));
    }
    let mut send = |from: usize, port: u16, to: u16| {
        w.nodes[from].udp_payload()[0] = 7;
        w.nodes[from].udp_send(port, SocketAddr::new(mesh(1 - from), to), 1).unwrap();
        w.run(10_000);
        // Kinds: 0 for a datagram, 2 for "it cannot be delivered".
        let [arrived, back] = [1 - from, from].map(|node| {
            let kind = w.nodes[node].udp().received().get(4).copied();
            w.nodes[node].udp().clear();
            kind
        });
        (arrived, back)
    };
    assert_eq!(send(0, 5000, 53), (Some(0), None));
    assert_eq!(send(0, 5000, 161), (None, Some(2)));
    assert_eq!(send(1, 161, 5000), (Some(0), None));
    assert_eq!(send(0, 5000, 161), (Some(0), None), "now it is an answer");
    assert_eq!(send(0, 53, 161), (None, Some(2)));
}
