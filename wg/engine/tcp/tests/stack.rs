//! The stack: many connections, listening under pressure, ports, bounds.
use std::net::{IpAddr, SocketAddr};
use tcp::stack::{Limits, OpenError};
use tcp::{Config, Handle, Stack, State, Time, MS, SEC};

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn stack(limits: Limits, secret: u64) -> Stack {
    Stack::new(Config { time_wait: SEC, ..Config::default() }, limits, (secret, 2))
}

/// Carries packets until both are quiet.
fn settle(now: Time, a: &mut Stack, b: &mut Stack) {
    let mut buf = vec![0; 2000];
    loop {
        let mut any = false;
        for turn in 0..2 {
            let (x, y) = if turn == 0 { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            let mut packets = vec![];
            x.poll_transmit(now, |p| {
                for i in 0..p.count() {
                    let n = p.write(i, &mut buf);
                    packets.push(buf[..n].to_vec());
                }
                true
            });
            any |= !packets.is_empty();
            for p in packets {
                y.handle_packet(now, &p);
            }
        }
        if !any {
            return;
        }
    }
}

fn run(now: &mut Time, for_: Time, a: &mut Stack, b: &mut Stack) {
    let end = *now + for_;
    while *now < end {
        settle(*now, a, b);
        let next = [a.poll_timeout(), b.poll_timeout()].into_iter().flatten().min().unwrap_or(end);
        *now = next.clamp(*now + 1, end.max(*now + 1));
    }
}

#[test]
fn a_thousand_short_connections_leave_nothing_behind() {
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(Limits::default(), 9));
    let mut now = SEC;
    assert!(b.listen(80) && !b.listen(80));
    let server: SocketAddr = "10.0.0.2:80".parse().unwrap();
    for round in 0..10 {
        let handles: Vec<Handle> = (0..100).map(|_| a.connect(now, ip("10.0.0.1"), server).unwrap()).collect();
        run(&mut now, 10 * MS, &mut a, &mut b);
        for h in &handles {
            assert_eq!(a.get(*h).unwrap().state(), State::Established, "round {round}");
            a.get_mut(*h).unwrap().send(b"question");
        }
        run(&mut now, 10 * MS, &mut a, &mut b);
        let mut accepted = 0;
        while let Some(h) = b.accept(80) {
            accepted += 1;
            let mut out = [0; 100];
            let c = b.get_mut(h).unwrap();
            assert_eq!(c.recv(now, &mut out), 8);
            c.send(b"answer");
            b.release(now, h);
        }
        assert_eq!(accepted, 100);
        run(&mut now, 10 * MS, &mut a, &mut b);
        for h in handles {
            let mut out = [0; 100];
            assert_eq!(a.get_mut(h).unwrap().recv(now, &mut out), 6);
            assert!(a.get(h).unwrap().receive_finished());
            a.release(now, h);
        }
        run(&mut now, 10 * MS, &mut a, &mut b);
    }
    run(&mut now, 3 * SEC, &mut a, &mut b);
    assert_eq!((a.len(), b.len()), (0, 0));
    assert_eq!((a.poll_timeout(), b.poll_timeout()), (None, None));
}

#[test]
fn cookies_carry_on_when_the_half_open_are_full() {
    let (mut a, mut b) =
        (stack(Limits::default(), 1), stack(Limits { half_open: 3, backlog: 100, ..Limits::default() }, 9));
    b.listen(80);
    let mut buf = vec![0; 2000];
    // SYNs from nowhere fill the half-open places.
    let mut flood = stack(Limits::default(), 5);
    for i in 0..50 {
        flood.connect(SEC, ip(&format!("10.9.9.{i}")), "10.0.0.2:80".parse().unwrap()).unwrap();
    }
    flood.poll_transmit(SEC, |p| {
        let n = p.write(0, &mut buf);
        b.handle_packet(SEC, &buf[..n]);
        true
    });
    b.poll_transmit(SEC, |_| true);
    assert_eq!(b.len(), 3);
    let h = a.connect(SEC, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap()).unwrap();
    let mut now = SEC;
    settle(now, &mut a, &mut b);
    let server = b.accept(80).expect("through a cookie");
    a.get_mut(h).unwrap().send(&[7; 100_000]);
    run(&mut now, 100 * MS, &mut a, &mut b);
    assert!(b.get(server).unwrap().receive_ready() > 60_000, "{}", b.get(server).unwrap().receive_ready());
}

#[test]
fn bounds_hold() {
    let mut s = stack(Limits { connections: 10, listeners: 1, ..Limits::default() }, 1);
    assert!(s.listen(1) && !s.listen(2));
    for _ in 0..10 {
        s.connect(SEC, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap()).unwrap();
    }
    assert_eq!(s.connect(SEC, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap()), Err(OpenError::Full));
}

#[test]
fn closed_ports_answer_with_a_reset() {
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(Limits::default(), 9));
    let h = a.connect(SEC, ip("fd00::1"), "[fd00::2]:80".parse().unwrap()).unwrap();
    settle(SEC, &mut a, &mut b);
    assert_eq!(a.error(h), Some(tcp::Error::Refused));
}

/// Two established connections to port 80 and one to port 81, with their handles on the side that opened them.
fn three(a: &mut Stack, b: &mut Stack) -> Vec<Handle> {
    assert!(b.listen(80) && b.listen(81));
    let to = |port: u16| SocketAddr::new(ip("10.0.0.2"), port);
    let handles = [80, 80, 81].map(|port| a.connect(SEC, ip("10.0.0.1"), to(port)).unwrap()).to_vec();
    settle(SEC, a, b);
    handles
}

fn activity(s: &mut Stack) -> Vec<Handle> {
    let mut all: Vec<Handle> = std::iter::from_fn(|| s.poll_activity()).collect();
    all.sort();
    all
}

#[test]
fn activity_names_each_touched_connection_once() {
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(Limits::default(), 9));
    let handles = three(&mut a, &mut b);
    assert_eq!(activity(&mut a), handles);
    assert_eq!(activity(&mut a), []);
    assert_eq!(activity(&mut b), [], "nobody has accepted them yet");
    a.get_mut(handles[1]).unwrap().send(b"to the second");
    settle(SEC, &mut a, &mut b);
    assert_eq!(activity(&mut a), [handles[1]]);
    let (first, second) = (b.accept(80).unwrap(), b.accept(80).unwrap());
    assert_eq!(activity(&mut b).len(), 2, "what is accepted is looked at");
    a.get_mut(handles[1]).unwrap().send(b"more");
    settle(SEC, &mut a, &mut b);
    let ready = |b: &Stack, h| b.get(h).unwrap().receive_ready();
    let [only] = activity(&mut b)[..] else { panic!("one connection was touched") };
    assert!(only == first || only == second);
    assert_eq!(ready(&b, only), 17);
}

#[test]
fn activity_names_what_a_timer_ended() {
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(Limits::default(), 9));
    let handles = three(&mut a, &mut b);
    activity(&mut a);
    a.get_mut(handles[0]).unwrap().send(b"nobody answers");
    let mut now = SEC;
    for _ in 0..200 {
        a.poll_transmit(now, |_| true);
        let Some(next) = a.poll_timeout() else { break };
        now = next.max(now);
        activity(&mut a);
        if a.get(handles[0]).unwrap().state() == State::Closed {
            break;
        }
        a.poll_transmit(now, |_| true);
        if a.get(handles[0]).unwrap().state() == State::Closed {
            assert_eq!(activity(&mut a), [handles[0]]);
            assert_eq!(a.error(handles[0]), Some(tcp::Error::TimedOut));
            return;
        }
    }
    panic!("it never gave up");
}

#[test]
fn activity_of_removed_connections_is_skipped_and_bounded() {
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(Limits::default(), 9));
    let handles = three(&mut a, &mut b);
    for h in handles {
        a.abort(h);
    }
    settle(SEC, &mut a, &mut b);
    assert_eq!((a.len(), activity(&mut a)), (0, vec![]));
    // Ten thousand connections come and go while nobody asks.
    for _ in 0..10_000 {
        let h = a.connect(SEC, ip("10.0.0.1"), "10.0.0.2:9".parse().unwrap()).unwrap();
        settle(SEC, &mut a, &mut b);
        assert_eq!(a.error(h), Some(tcp::Error::Refused));
        a.release(SEC, h);
        settle(SEC, &mut a, &mut b);
    }
    assert!(a.activity_queued() <= 64, "{}", a.activity_queued());
}

#[test]
fn accept_any_takes_turns_between_listeners() {
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(Limits::default(), 9));
    three(&mut a, &mut b);
    let ports: Vec<u16> = std::iter::from_fn(|| b.accept_any()).map(|x| x.0).collect();
    assert_eq!(ports, [80, 81, 80]);
    assert_eq!(b.accept_any(), None);
    // What accept() takes is not offered again, and a listener that is gone offers nothing.
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(Limits::default(), 9));
    three(&mut a, &mut b);
    assert!(b.accept(81).is_some());
    b.unlisten(80);
    assert_eq!(b.accept_any(), None);
    assert!(b.listen(80));
    a.connect(SEC, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap()).unwrap();
    settle(SEC, &mut a, &mut b);
    assert_eq!(b.accept_any().map(|x| x.0), Some(80));
    assert_eq!((b.counters().established, b.counters().accepted), (4, 2));
}

#[test]
fn counters_name_every_refusal() {
    let limits = Limits { backlog: 2, half_open: 1, ..Limits::default() };
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(limits, 9));
    b.listen(80);
    let mut buf = vec![0; 2000];
    let mut flood = |b: &mut Stack, from: u8, to: u8, port: u16| {
        let mut f = stack(Limits::default(), 5);
        for i in from..to {
            f.connect(SEC, ip(&format!("10.9.9.{i}")), SocketAddr::new(ip("10.0.0.2"), port)).unwrap();
        }
        f.poll_transmit(SEC, |p| {
            let n = p.write(0, &mut buf);
            b.handle_packet(SEC, &buf[..n]);
            true
        });
    };
    flood(&mut b, 0, 100, 9);
    assert_eq!((b.counters().resets_sent, b.counters().refused_replies_dropped), (64, 36));
    b.poll_transmit(SEC, |_| true);
    flood(&mut b, 0, 3, 80);
    assert_eq!(b.counters().cookies_sent, 2);
    b.poll_transmit(SEC, |_| true);
    // One real connection through a cookie fills the backlog of two.
    a.connect(SEC, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap()).unwrap();
    settle(SEC, &mut a, &mut b);
    assert_eq!(b.counters().cookies_redeemed, 1);
    flood(&mut b, 10, 15, 80);
    assert_eq!(b.counters().syn_dropped_backlog, 5);
    assert_eq!(b.handle_packet(SEC, &[0x45, 0, 0]), None);
    assert_eq!(b.counters().malformed, 1);
    assert!(b.counters().packets_in > 100);
}
