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
fn time_wait_gives_way_to_new_connections_and_to_nothing_else() {
    let limits = Limits { connections: 4, ..Limits::default() };
    let (mut a, mut b) = (stack(limits, 1), stack(Limits::default(), 9));
    let mut now = SEC;
    assert!(b.listen(80));
    let server: SocketAddr = "10.0.0.2:80".parse().unwrap();
    let kept = a.connect(now, ip("10.0.0.1"), server).unwrap();
    for round in 0..20 {
        let h = a.connect(now, ip("10.0.0.1"), server).unwrap();
        run(&mut now, 10 * MS, &mut a, &mut b);
        assert_eq!(a.get(h).unwrap().state(), State::Established, "round {round}");
        // Who closes first waits.
        a.release(now, h);
        run(&mut now, 10 * MS, &mut a, &mut b);
        while let Some(x) = b.accept(80) {
            if b.get(x).unwrap().remote != a.get(kept).unwrap().local {
                b.release(now, x);
            }
        }
        run(&mut now, 10 * MS, &mut a, &mut b);
        assert_eq!(a.get(h).unwrap().state(), State::TimeWait, "round {round}");
        assert!(a.len() <= 4);
    }
    assert_eq!((a.len(), a.counters().time_wait_cut), (4, 17));
    assert_eq!(a.get(kept).unwrap().state(), State::Established);
    // With connections that are in use there is no place.
    for _ in 0..3 {
        a.connect(now, ip("10.0.0.1"), server).unwrap();
    }
    assert!(matches!(a.connect(now, ip("10.0.0.1"), server), Err(OpenError::Full)));
    run(&mut now, 61 * SEC, &mut a, &mut b);
    assert_eq!((a.len(), a.counters().time_wait_cut), (4, 20));
}

#[test]
fn who_sends_to_a_closed_connection_is_told_so_after_its_last_words() {
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(Limits::default(), 9));
    let mut now = SEC;
    b.listen(80);
    let h = a.connect(now, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap()).unwrap();
    run(&mut now, 10 * MS, &mut a, &mut b);
    a.get_mut(h).unwrap().send(&[1; 50_000]);
    run(&mut now, 10 * MS, &mut a, &mut b);
    let server = b.accept(80).unwrap();
    b.get_mut(server).unwrap().send(b"enough");
    b.release(now, server);
    run(&mut now, 10 * MS, &mut a, &mut b);
    let mut out = [0; 100];
    assert_eq!(a.get_mut(h).unwrap().recv(now, &mut out), 6);
    assert_eq!(a.error(h), None, "a half-closed connection is no error");
    a.get_mut(h).unwrap().send(b"more");
    run(&mut now, 10 * MS, &mut a, &mut b);
    assert_eq!((a.error(h), b.len()), (Some(tcp::Error::Reset), 0));
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
    // More than a window without scaling would take, unread.
    let mut sent = 0;
    while sent < 100_000 {
        sent += a.get_mut(h).unwrap().send(&[7; 100_000][sent..]);
        run(&mut now, MS, &mut a, &mut b);
        assert!(now < 10 * SEC);
    }
    run(&mut now, 100 * MS, &mut a, &mut b);
    assert_eq!(b.get(server).unwrap().receive_ready(), 100_000);
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
    let mut flood = |b: &mut Stack, from: u16, to: u16, port: u16| {
        let mut f = stack(Limits::default(), 5);
        for i in from..to {
            f.connect(SEC, ip(&format!("10.9.{}.{}", i >> 8, i & 255)), SocketAddr::new(ip("10.0.0.2"), port)).unwrap();
        }
        f.poll_transmit(SEC, |p| {
            let n = p.write(0, &mut buf);
            b.handle_packet(SEC, &buf[..n]);
            true
        });
    };
    flood(&mut b, 0, 600, 9);
    assert_eq!((b.counters().resets_sent, b.counters().refused_replies_dropped), (512, 88));
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

/// Packets that `s` wants to send at `now`.
fn packets(now: Time, s: &mut Stack) -> Vec<Vec<u8>> {
    let mut all = vec![];
    s.poll_transmit(now, |b| {
        for i in 0..b.count() {
            let mut buf = vec![0; 2000];
            let n = b.write(i, &mut buf);
            buf.truncate(n);
            all.push(buf);
        }
        true
    });
    all
}

#[test]
fn time_that_goes_back_does_no_harm() {
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(Limits::default(), 9));
    b.listen(80);
    let h = a.connect(100 * SEC, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap()).unwrap();
    let (mut sent, mut got, mut server) = (0, 0, None);
    for step in 0..4000_u64 {
        // A clock that leaps to and fro, but gains.
        let now = (100 * SEC + step * 5 * MS).saturating_sub([0, 3 * MS, 90 * SEC, Time::MAX][step as usize % 4]);
        if let Some(c) = a.get_mut(h).filter(|_| sent < 1_000_000) {
            sent += c.send(&[3; 5000]);
        }
        for p in packets(now, &mut a) {
            b.handle_packet(now.saturating_sub(step * SEC), &p);
        }
        server = server.or_else(|| b.accept(80));
        if let Some(c) = server.and_then(|h| b.get_mut(h)) {
            got += c.recv(now / 2, &mut [0; 20_000]);
        }
        for p in packets(now, &mut b) {
            a.handle_packet(now, &p);
        }
    }
    assert!(sent >= 1_000_000 && got == sent, "{got} of {sent}");
    assert!(a.counters().clock_went_back > 1000);
    assert_eq!((a.error(h), a.get(h).unwrap().figures().retransmissions), (None, 0));
}

#[test]
fn settings_at_their_limits_do_not_overflow() {
    for (n, t) in [(0, 0), (1, 1), (300, SEC), (usize::MAX, Time::MAX)] {
        let config = Config {
            mtu: n,
            send_buffer_max: n,
            receive_buffer_initial: n,
            receive_buffer_max: n,
            keepalive: Some(t),
            user_timeout: t.max(10 * SEC),
            time_wait: t,
            ..Config::default()
        };
        for (client, server) in [("10.0.0.1", "10.0.0.2:80"), ("fd00::1", "[fd00::2]:80")] {
            let mut a = Stack::new(config, Limits::default(), (1, 2));
            let mut b = Stack::new(config, Limits::default(), (3, 4));
            b.listen(80);
            let h = a.connect(Time::MAX, ip(client), server.parse().unwrap()).unwrap();
            let mut buf = vec![0; 70_000];
            for _ in 0..100 {
                a.get_mut(h).unwrap().send(&[1; 100_000]);
                a.get_mut(h).unwrap().set_mtu(Time::MAX, n);
                for s in 0..2 {
                    let (x, y) = if s == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
                    let mut all = vec![];
                    x.poll_transmit(Time::MAX, |p| {
                        for i in 0..p.count() {
                            let n = p.write(i, &mut buf);
                            all.push(buf[..n].to_vec());
                        }
                        all.len() < 1000
                    });
                    all.iter().for_each(|p| {
                        y.handle_packet(Time::MAX, p);
                    });
                }
            }
            assert_eq!(a.get(h).unwrap().state(), State::Established, "{n}");
            let server = b.accept(80).unwrap();
            assert!(b.get(server).unwrap().receive_ready() >= 1024, "{n}");
        }
    }
}

#[test]
fn a_connection_given_up_before_its_syn_does_not_ask_to_be_polled_for_ever() {
    let mut s = stack(Limits::default(), 1);
    let h = s.connect(SEC, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap()).unwrap();
    s.get_mut(h).unwrap().shutdown();
    assert_eq!(packets(SEC, &mut s).len(), 0);
    assert_eq!((s.get(h).unwrap().state(), s.poll_timeout()), (State::Closed, None));
}

#[test]
fn a_connection_refused_before_it_opened_is_not_accepted() {
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(Limits::default(), 9));
    b.listen(80);
    let h = a.connect(SEC, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap()).unwrap();
    for p in packets(SEC, &mut a) {
        b.handle_packet(SEC, &p);
    }
    packets(SEC, &mut b);
    // The client resets in place of the last acknowledgment.
    let mut reset = packets(SEC, &mut a);
    assert!(reset.is_empty());
    let syn = tcp::segment::Burst {
        src: a.get(h).unwrap().local,
        dst: a.get(h).unwrap().remote,
        seq: 0,
        ack: 0,
        flags: tcp::segment::RST,
        window: 0,
        options: tcp::segment::Options::default(),
        ecn: 0,
        segment_size: 1,
        head: &[],
        tail: &[],
    };
    let mut again = stack(Limits::default(), 1);
    again.connect(SEC, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap()).unwrap();
    let first = packets(SEC, &mut again).remove(0);
    let seq = tcp::Segment::parse(&first, true).unwrap().seq.wrapping_add(1);
    let mut buf = vec![0; 100];
    let n = tcp::segment::Burst { seq, ..syn }.write(0, &mut buf);
    reset.push(buf[..n].to_vec());
    b.handle_packet(SEC, &reset[0]);
    assert_eq!((b.accept(80), b.accept_any(), b.counters().established), (None, None, 0));
    packets(SEC, &mut b);
    assert_eq!(b.len(), 0);
}

#[test]
fn a_port_listened_on_again_counts_its_own_connections_only() {
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(Limits { half_open: 2, ..Limits::default() }, 9));
    b.listen(80);
    let syns = |a: &mut Stack, n| {
        for _ in 0..n {
            a.connect(SEC, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap()).unwrap();
        }
        packets(SEC, a)
    };
    syns(&mut a, 2).iter().for_each(|p| {
        b.handle_packet(SEC, p);
    });
    // The old listener's half-open connections go while the new one has as many.
    b.unlisten(80);
    b.listen(80);
    syns(&mut a, 2).iter().for_each(|p| {
        b.handle_packet(SEC, p);
    });
    packets(SEC, &mut b);
    assert_eq!(b.len(), 2);
    syns(&mut a, 1).iter().for_each(|p| {
        b.handle_packet(SEC, p);
    });
    assert_eq!((b.len(), b.counters().cookies_sent), (2, 1), "the places are still taken");
}

#[test]
fn acknowledgments_out_of_the_blue_are_not_taken_for_cookies() {
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(Limits { half_open: 0, ..Limits::default() }, 9));
    b.listen(80);
    a.connect(SEC, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap()).unwrap();
    settle(SEC, &mut a, &mut b);
    assert_eq!(b.counters().cookies_redeemed, 1);
    // The same handshake to a twin that has the secret but never offered a cookie.
    let (mut a, mut b) = (stack(Limits::default(), 1), stack(Limits { half_open: 0, ..Limits::default() }, 9));
    let mut twin = stack(Limits { half_open: 0, ..Limits::default() }, 9);
    b.listen(80);
    twin.listen(80);
    a.connect(SEC, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap()).unwrap();
    for p in packets(SEC, &mut a) {
        b.handle_packet(SEC, &p);
    }
    for p in packets(SEC, &mut b) {
        a.handle_packet(SEC, &p);
    }
    for p in packets(SEC, &mut a) {
        twin.handle_packet(SEC, &p);
    }
    assert_eq!((twin.len(), twin.counters().resets_sent), (0, 1));
}

#[test]
fn memory_stays_within_the_budget_and_streams_still_move() {
    let budget = 4 << 20;
    let limits = Limits { buffer_bytes: budget, half_open: 256, ..Limits::default() };
    let (mut a, mut b) = (stack(limits, 1), stack(limits, 9));
    let mut now = SEC;
    b.listen(80);
    let connect = |a: &mut Stack, now| a.connect(now, ip("10.0.0.1"), "10.0.0.2:80".parse().unwrap());
    let handles: Vec<Handle> = (0..200).map(|_| connect(&mut a, now).unwrap()).collect();
    settle(now, &mut a, &mut b);
    let servers: Vec<Handle> = std::iter::from_fn(|| b.accept(80)).collect();
    assert_eq!(servers.len(), 200);
    // Everybody sends as much as it may, and nobody reads.
    for _ in 0..300 {
        for h in &handles {
            a.get_mut(*h).unwrap().send(&[5; 100_000]);
        }
        run(&mut now, 10 * MS, &mut a, &mut b);
        let smallest = 200 * tcp::config::MIN_BUFFER;
        assert!(a.buffer_bytes() <= budget + smallest && b.buffer_bytes() <= budget + smallest);
    }
    assert!(b.buffer_bytes() >= budget / 2 && b.counters().buffer_growth_refused > 0);
    assert!(a.counters().buffer_growth_refused > 0);
    let refused = if a.buffer_bytes() >= budget { Err(OpenError::Full) } else { Ok(()) };
    assert_eq!(connect(&mut a, now).map(|_| ()), refused);
    // Then everybody reads, and every stream moves on.
    let mut got = vec![0; servers.len()];
    for _ in 0..400 {
        for (h, got) in servers.iter().zip(&mut got) {
            *got += b.get_mut(*h).unwrap().recv(now, &mut [0; 30_000]);
        }
        for h in &handles {
            a.get_mut(*h).unwrap().send(&[5; 100_000]);
        }
        run(&mut now, 10 * MS, &mut a, &mut b);
    }
    assert!(got.iter().all(|n| *n > 200_000), "{:?}", got.iter().min());
    for (h, s) in handles.iter().zip(&servers) {
        a.abort(*h);
        b.abort(*s);
    }
    run(&mut now, 100 * MS, &mut a, &mut b);
    assert_eq!((a.buffer_bytes(), b.buffer_bytes()), (0, 0));
}

#[test]
fn room_that_is_named_is_taken() {
    let limits = Limits { buffer_bytes: 50_000, ..Limits::default() };
    let (mut a, mut b) = (stack(limits, 1), stack(Limits::default(), 9));
    b.listen(80);
    let server: SocketAddr = "10.0.0.2:80".parse().unwrap();
    let handles: Vec<Handle> = (0..3).map(|_| a.connect(SEC, ip("10.0.0.1"), server).unwrap()).collect();
    settle(SEC, &mut a, &mut b);
    for h in handles {
        let c = a.get_mut(h).unwrap();
        while c.send_room() > 0 {
            let room = c.send_room();
            assert_eq!(c.send(&vec![1; room + 100]), room);
        }
    }
}

#[test]
fn syn_with_fin_is_dropped() {
    let mut b = stack(Limits::default(), 9);
    b.listen(80);
    let mut buf = vec![0; 100];
    let n = tcp::segment::Burst {
        src: "10.0.0.1:1".parse().unwrap(),
        dst: "10.0.0.2:80".parse().unwrap(),
        seq: 0,
        ack: 0,
        flags: tcp::segment::SYN | tcp::segment::FIN,
        window: 0,
        options: tcp::segment::Options::default(),
        ecn: 0,
        segment_size: 1,
        head: &[],
        tail: &[],
    }
    .write(0, &mut buf);
    assert_eq!((b.handle_packet(SEC, &buf[..n]), b.len()), (None, 0));
    assert_eq!(packets(SEC, &mut b).len(), 0);
}
