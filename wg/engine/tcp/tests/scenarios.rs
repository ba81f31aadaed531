//! Single behaviours, each named by the RFC section it comes from.
mod common;
use common::{World, A, B};
use std::cell::RefCell;
use std::rc::Rc;
use tcp::connection::Identity;
use tcp::segment::{Burst, Options, ACK, FIN, RST, SYN};
use tcp::sim::Impairment;
use tcp::{Algorithm, Config, Connection, Error, Segment, State, Time, MS, SEC};

type Log = Rc<RefCell<Vec<(usize, Time, u32, usize, u8)>>>;

fn world(algorithm: Algorithm) -> World {
    let config = Config { algorithm, ..Config::default() };
    World::new([config, config], [Impairment::round_trip(50); 2], 3)
}

/// Logs every segment and drops those for which `lose` says so.
fn watch(w: &mut World, mut lose: impl FnMut(usize, &Segment) -> bool + 'static) -> Log {
    let log: Log = Rc::default();
    let l = log.clone();
    w.drop = Some(Box::new(move |i, now, s| {
        l.borrow_mut().push((i, now, s.seq, s.payload.len(), s.flags));
        lose(i, s)
    }));
    log
}

fn data(log: &Log) -> Vec<(Time, u32)> {
    log.borrow().iter().filter(|e| e.0 == 0 && e.3 > 0).map(|e| (e.1, e.2)).collect()
}

/// Segments sent twice, with the time between.
fn repeats(log: &Log) -> Vec<(u32, Time)> {
    let d = data(log);
    let again = |i: usize| d[..i].iter().rev().find(|e| e.1 == d[i].1).map(|e| (d[i].1, d[i].0 - e.0));
    (0..d.len()).filter_map(again).collect()
}

fn lose_nth(n: usize) -> impl FnMut(usize, &Segment) -> bool {
    let mut seen = 0;
    move |i, s| {
        seen += usize::from(i == 0 && !s.payload.is_empty());
        i == 0 && !s.payload.is_empty() && seen == n
    }
}

#[test]
fn fast_retransmit_within_two_round_trips() {
    for algorithm in [Algorithm::Cubic, Algorithm::Bbr] {
        let mut w = world(algorithm);
        let log = watch(&mut w, lose_nth(20));
        w.ends[0].to_send = 200_000;
        assert!(w.until(20 * SEC, |w| w.complete()));
        let r = repeats(&log);
        assert_eq!(r.len(), 1, "{r:?}");
        assert!(r[0].1 < 110 * MS, "{r:?}");
    }
}

#[test]
fn tail_loss_probe_repairs_the_last_segment() {
    let mut w = world(Algorithm::Cubic);
    let log = watch(&mut w, lose_nth(8));
    w.ends[0].to_send = 8 * 1368;
    w.ends[0].close_when_done = false;
    assert!(w.until(20 * SEC, |w| w.ends[1].got == 8 * 1368));
    let r = repeats(&log);
    assert_eq!(r.len(), 1);
    assert!(r[0].1 < 200 * MS, "RFC 8985 section 7.2: before the timeout, {r:?}");
}

#[test]
fn timeout_backs_off_exponentially() {
    let mut w = world(Algorithm::Cubic);
    let log = watch(&mut w, |i, s| i == 0 && !s.payload.is_empty());
    w.ends[0].to_send = 1000;
    w.until(40 * SEC, |_| false);
    let gaps: Vec<Time> = repeats(&log).iter().map(|r| r.1).collect();
    assert!(
        gaps.len() > 4 && gaps[2..].windows(2).all(|g| g[1] >= 2 * g[0] - 5 * MS),
        "RFC 6298 section 5.5: {gaps:?}"
    );
}

#[test]
fn user_timeout_ends_the_connection() {
    let mut w = world(Algorithm::Bbr);
    watch(&mut w, |i, s| i == 0 && !s.payload.is_empty());
    w.ends[0].to_send = 1000;
    w.until(200 * SEC, |w| w.state(0) == State::Closed);
    assert_eq!(w.ends[0].c.as_ref().unwrap().error(), Some(Error::TimedOut));
}

#[test]
fn syn_is_retransmitted_then_given_up() {
    let mut w = world(Algorithm::Bbr);
    let log = watch(&mut w, |_, s| s.has(SYN));
    w.until(400 * SEC, |w| w.state(0) == State::Closed);
    assert_eq!(w.ends[0].c.as_ref().unwrap().error(), Some(Error::TimedOut));
    let times: Vec<Time> = log.borrow().iter().map(|e| e.1).collect();
    assert!(times.len() == 8 && times[2] - times[1] == 2 * (times[1] - times[0]), "{times:?}");
    assert!(w.now > 180 * SEC, "RFC 9293 section 3.8.3: at least 3 minutes, was {}", w.now);
}

#[test]
fn lost_syn_ack_is_repeated() {
    let mut w = world(Algorithm::Bbr);
    let mut first = true;
    watch(&mut w, move |i, s| i == 1 && s.has(SYN) && std::mem::take(&mut first));
    w.ends[0].to_send = 10;
    assert!(w.until(10 * SEC, |w| w.complete()));
}

#[test]
fn zero_window_is_probed_and_reopens() {
    let config = Config { receive_buffer_initial: 8000, receive_buffer_max: 8000, ..Config::default() };
    let mut w = World::new([config, config], [Impairment::round_trip(20); 2], 1);
    let log = watch(&mut w, |_, _| false);
    w.ends[0].to_send = 100_000;
    w.ends[1].read_limit = 0;
    w.until(300 * SEC, |_| false);
    let pure = log.borrow().iter().filter(|e| e.0 == 0 && e.3 == 0 && e.1 > 3 * SEC).count();
    assert!((5..40).contains(&pure), "probes {pure}");
    assert_eq!(w.ends[0].c.as_ref().unwrap().error(), None, "a peer that answers is not given up");
    w.ends[1].read_limit = usize::MAX;
    let end = w.now + 100 * SEC;
    assert!(w.until(end, |w| w.complete()));
}

#[test]
fn simultaneous_close() {
    let mut w = world(Algorithm::Bbr);
    w.ends[0].close_when_done = false;
    w.ends[1].close_when_done = false;
    w.until(3 * SEC, |_| false);
    for e in &mut w.ends {
        e.c.as_mut().unwrap().shutdown();
    }
    let end = w.now + SEC;
    w.until(end, |_| false);
    assert_eq!((w.state(0), w.state(1)), (State::TimeWait, State::TimeWait));
    let end = w.now + 100 * SEC;
    w.until(end, |_| false);
    assert_eq!((w.state(0), w.state(1)), (State::Closed, State::Closed));
}

fn pair(now: Time) -> (Connection, Connection) {
    let id = |iss| Identity { iss, stamp_offset: iss };
    let mut a = Connection::connect(Config::default(), A.parse().unwrap(), B.parse().unwrap(), id(100));
    let mut buf = [0; 2000];
    let n = a.poll_transmit(now).unwrap().write(0, &mut buf);
    let mut b = Connection::accept(now, Config::default(), &Segment::parse(&buf[..n], true).unwrap(), id(900));
    exchange(now, &mut a, &mut b);
    (a, b)
}

fn exchange(now: Time, a: &mut Connection, b: &mut Connection) {
    let mut buf = [0; 2000];
    loop {
        let mut any = false;
        for turn in 0..2 {
            let (x, y) = if turn == 0 { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            while let Some(p) = x.poll_transmit(now) {
                any = true;
                for i in 0..p.count() {
                    let n = p.write(i, &mut buf);
                    y.handle_segment(now, &Segment::parse(&buf[..n], true).unwrap());
                }
            }
        }
        if !any {
            return;
        }
    }
}

fn inject(now: Time, c: &mut Connection, seq: u32, ack: u32, flags: u8, payload: &[u8]) {
    let b = Burst {
        src: c.remote,
        dst: c.local,
        seq,
        ack,
        flags,
        window: 1000,
        segment_size: 1400,
        head: payload,
        tail: &[],
        options: Options { timestamps: Some(((now / MS) as u32 + 100, 0)), ..Options::default() },
    };
    let mut buf = [0; 2000];
    let n = b.write(0, &mut buf);
    c.handle_segment(now, &Segment::parse(&buf[..n], true).unwrap());
}

#[test]
fn resets_follow_rfc_5961() {
    let now = 5 * SEC;
    let (_, mut b) = pair(now);
    assert_eq!(b.state(), State::Established);
    inject(now, &mut b, 101 + 5000, 901, RST, &[]);
    assert_eq!(b.state(), State::Established, "in the window but not exact: challenged");
    assert_eq!(b.poll_transmit(now).map(|p| (p.flags, p.ack)), Some((ACK, 101)));
    inject(now, &mut b, 101u32.wrapping_sub(5000), 901, RST, &[]);
    assert!(b.poll_transmit(now).is_none() && b.state() == State::Established, "outside: ignored");
    inject(now + SEC, &mut b, 101, 901, SYN, &[]);
    assert_eq!(b.poll_transmit(now + SEC).map(|p| p.flags), Some(ACK), "a SYN is challenged");
    inject(now + SEC, &mut b, 101, 901, RST, &[]);
    assert_eq!((b.state(), b.error()), (State::Closed, Some(Error::Reset)));
}

#[test]
fn acknowledgment_of_unsent_data_is_challenged() {
    let now = 5 * SEC;
    let (_, mut b) = pair(now);
    inject(now, &mut b, 101, 901 + 7000, ACK, b"evil");
    assert_eq!(b.receive_ready(), 0, "RFC 5961 section 5");
    assert_eq!(b.poll_transmit(now).map(|p| p.ack), Some(101));
}

#[test]
fn half_close_still_receives() {
    let now = 5 * SEC;
    let (mut a, mut b) = pair(now);
    a.shutdown();
    exchange(now, &mut a, &mut b);
    assert_eq!((a.state(), b.state()), (State::FinWait2, State::CloseWait));
    assert!(b.receive_finished());
    b.send(b"late answer");
    b.shutdown();
    exchange(now + MS, &mut a, &mut b);
    let mut out = [0; 20];
    assert_eq!(a.recv(now, &mut out), 11);
    assert_eq!((a.state(), b.state()), (State::TimeWait, State::Closed));
}

#[test]
fn simultaneous_open() {
    let id = |iss| Identity { iss, stamp_offset: iss };
    let mut a = Connection::connect(Config::default(), A.parse().unwrap(), B.parse().unwrap(), id(1));
    let mut b = Connection::connect(Config::default(), B.parse().unwrap(), A.parse().unwrap(), id(2));
    let (mut x, mut y) = ([0; 100], [0; 100]);
    let n = a.poll_transmit(SEC).unwrap().write(0, &mut x);
    let m = b.poll_transmit(SEC).unwrap().write(0, &mut y);
    b.handle_segment(SEC, &Segment::parse(&x[..n], true).unwrap());
    a.handle_segment(SEC, &Segment::parse(&y[..m], true).unwrap());
    exchange(SEC, &mut a, &mut b);
    assert_eq!((a.state(), b.state()), (State::Established, State::Established));
    a.send(b"hello");
    exchange(SEC, &mut a, &mut b);
    assert_eq!(b.receive_ready(), 5);
}

#[test]
fn keepalive_gives_up_on_a_dead_peer() {
    let config = Config { keepalive: Some(30 * SEC), ..Config::default() };
    let mut w = World::new([config, Config::default()], [Impairment::round_trip(20); 2], 1);
    w.ends[0].close_when_done = false;
    w.ends[1].close_when_done = false;
    w.until(100 * SEC, |_| false);
    assert_eq!(w.state(0), State::Established);
    w.drop = Some(Box::new(|i, _, _| i == 1));
    w.until(400 * SEC, |_| false);
    assert_eq!(w.ends[0].c.as_ref().unwrap().error(), Some(Error::TimedOut));
}

#[test]
fn reordering_does_not_look_like_loss_for_long() {
    let i = Impairment { reorder: 10_000, ..Impairment::round_trip(66) };
    let mut w = World::new([Config::default(); 2], [i, Impairment::round_trip(66)], 5);
    w.ends[0].to_send = 20_000_000;
    assert!(w.until(60 * SEC, |w| w.complete()));
    let again = w.ends[0].c.as_ref().unwrap().figures().4;
    assert!(again < 150, "RFC 8985: of 14620 segments {again} were sent again");
}

#[test]
fn fin_is_counted_and_flags_stay_on_the_last_segment() {
    let now = 5 * SEC;
    let (mut a, _) = pair(now);
    a.send(&[1; 5000]);
    a.shutdown();
    let mut buf = [0; 2000];
    let mut fins = vec![];
    while let Some(p) = a.poll_transmit(now) {
        for i in 0..p.count() {
            let n = p.write(i, &mut buf);
            fins.push(Segment::parse(&buf[..n], true).unwrap().has(FIN));
        }
        if fins.len() >= 4 {
            break;
        }
    }
    assert_eq!(fins, [false, false, false, true]);
}
