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
        ecn: 0,
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

/// A batch with more holes than an acknowledgment tells of is answered by several: nothing that has arrived is sent again.
#[test]
fn every_second_segment_of_a_batch_lost_costs_no_more_than_those() {
    let mut w = world(Algorithm::Bbr);
    w.grain = 10 * MS;
    w.ends[0].to_send = 20_000_000;
    let lost: Rc<RefCell<Vec<u32>>> = Rc::default();
    let (seen, mut sent) = (lost.clone(), 0);
    w.drop = Some(Box::new(move |end, _, s| {
        if end != 0 || s.payload.is_empty() || seen.borrow().contains(&s.seq) {
            return false;
        }
        sent += 1;
        let lose = (3_000..5_000).contains(&sent) && sent % 2 == 0;
        if lose {
            seen.borrow_mut().push(s.seq);
        }
        lose
    }));
    assert!(w.until(60 * SEC, |w| w.complete()));
    let (again, lost) = (w.ends[0].c.as_ref().unwrap().figures().retransmissions as usize, lost.borrow().len());
    assert!(lost > 900 && again < lost * 11 / 10, "{lost} lost, {again} sent again");
}

#[test]
fn reordering_does_not_look_like_loss_for_long() {
    let i = Impairment { reorder: 10_000, ..Impairment::round_trip(66) };
    let mut w = World::new([Config::default(); 2], [i, Impairment::round_trip(66)], 5);
    w.ends[0].to_send = 20_000_000;
    assert!(w.until(60 * SEC, |w| w.complete()));
    let again = w.ends[0].c.as_ref().unwrap().figures().retransmissions;
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

#[test]
fn a_forged_old_fin_does_not_end_the_stream() {
    let now = 5 * SEC;
    let (_, mut b) = pair(now);
    inject(now, &mut b, 101, 901, ACK, b"0123456789");
    // From long ago, with an acknowledgment that nobody would send: RFC 5961 section 5.
    inject(now, &mut b, 103, 12345, ACK | FIN, b"ab");
    inject(now, &mut b, 101u32.wrapping_sub(20_000), 901, ACK | FIN, b"cd");
    let mut out = [0; 20];
    assert_eq!(b.recv(now, &mut out), 10);
    inject(now, &mut b, 111, 901, ACK, b"more");
    assert!(!b.receive_finished() && b.state() == State::Established);
    assert_eq!(b.recv(now, &mut out), 4);
}

#[test]
fn nothing_is_taken_beyond_a_fin() {
    let now = 5 * SEC;
    let (_, mut b) = pair(now);
    inject(now, &mut b, 106, 901, ACK | FIN, b"world");
    inject(now, &mut b, 112, 901, ACK, b"after the end");
    inject(now, &mut b, 108, 901, ACK | FIN, b"another end");
    inject(now, &mut b, 101, 901, ACK, b"hello");
    let mut out = [0; 50];
    assert_eq!(b.recv(now, &mut out), 10);
    assert_eq!((&out[..10], b.receive_finished(), b.state()), (&b"helloworld"[..], true, State::CloseWait));
    assert_eq!(b.poll_transmit(now).map(|p| p.ack), Some(112));
}

/// A segment with a chosen timestamp.
fn stamped(now: Time, c: &mut Connection, (seq, ack): (u32, u32), stamp: u32, payload: &[u8]) {
    let b = Burst {
        src: c.remote,
        dst: c.local,
        seq,
        ack,
        flags: ACK,
        window: 1000,
        ecn: 0,
        segment_size: 1400,
        head: payload,
        tail: &[],
        options: Options { timestamps: Some((stamp, 0)), ..Options::default() },
    };
    let mut buf = [0; 2000];
    let n = b.write(0, &mut buf);
    c.handle_segment(now, &Segment::parse(&buf[..n], true).unwrap());
}

#[test]
fn acknowledgments_with_old_timestamps_do_not_start_a_storm() {
    let now = 5 * SEC;
    let (_, mut b) = pair(now);
    let answers = (0..100)
        .filter(|i| {
            stamped(now + i, &mut b, (101, 901), 50, &[]);
            b.poll_transmit(now + i).is_some()
        })
        .count();
    assert_eq!(answers, 1, "RFC 5961 section 7");
    stamped(now, &mut b, (101, 901), 50, b"data is always answered");
    assert!(b.poll_transmit(now).is_some() && b.receive_ready() == 0, "RFC 7323 section 5.3");
}

#[test]
fn a_forged_timestamp_without_a_valid_acknowledgment_is_not_remembered() {
    let now = 5 * SEC;
    let (_, mut b) = pair(now);
    stamped(now, &mut b, (101, 901 + 70_000), 0x7000_0000, &[]);
    stamped(now, &mut b, (101, 901), 5300, b"real");
    assert_eq!(b.receive_ready(), 4);
}

#[test]
fn repeating_the_syn_does_not_keep_a_half_open_connection() {
    let mut a = Connection::connect(
        Config::default(),
        A.parse().unwrap(),
        B.parse().unwrap(),
        Identity { iss: 1, stamp_offset: 1 },
    );
    let mut buf = [0; 100];
    let n = a.poll_transmit(SEC).unwrap().write(0, &mut buf);
    let syn = Segment::parse(&buf[..n], true).unwrap();
    let mut b = Connection::accept(SEC, Config::default(), &syn, Identity { iss: 2, stamp_offset: 2 });
    let (mut now, mut answers) = (SEC, 0);
    while b.state() == State::SynReceived && now < 1000 * SEC {
        now += SEC / 2;
        b.handle_segment(now, &syn);
        while b.poll_transmit(now).is_some() {
            answers += 1;
        }
    }
    assert_eq!((b.state(), b.error()), (State::Closed, Some(Error::TimedOut)));
    assert!(now < 200 * SEC && answers > 20, "{now} {answers}");
}

/// One end sends into a window that its peer has shut; then `lose` decides what the sender hears.
fn shut_window(abandon: bool, lose: impl FnMut(usize, Time, &Segment) -> bool + 'static) -> World {
    let config = Config { receive_buffer_initial: 8192, receive_buffer_max: 8192, ..Config::default() };
    let mut w = World::new([config, config], [Impairment::round_trip(20); 2], 1);
    w.ends[0].to_send = 100_000;
    w.ends[0].close_when_done = false;
    w.ends[1].close_when_done = false;
    w.ends[1].read_limit = 0;
    w.until(20 * SEC, |_| false);
    assert_eq!(w.ends[0].c.as_ref().unwrap().figures().in_flight, 0);
    if abandon {
        w.ends[0].sent = w.ends[0].to_send;
        let now = w.now;
        w.ends[0].c.as_mut().unwrap().close(now);
    }
    w.drop = Some(Box::new(lose));
    w.until(400 * SEC, |_| false);
    w
}

#[test]
fn a_dead_peer_behind_a_shut_window_is_given_up() {
    let dead = shut_window(false, |_, _, _| true);
    assert_eq!(dead.ends[0].c.as_ref().unwrap().error(), Some(Error::TimedOut), "RFC 9293 section 3.8.6.1");
    let alive = shut_window(false, |_, _, _| false);
    assert_eq!(alive.state(0), State::Established);
    let abandoned = shut_window(true, |_, _, _| false);
    assert_eq!(abandoned.ends[0].c.as_ref().unwrap().error(), Some(Error::TimedOut), "nobody waits for it any more");
}

#[test]
fn keepalive_survives_a_leap_of_the_clock() {
    let now = 5 * SEC;
    let id = |iss| Identity { iss, stamp_offset: iss };
    let config = Config { keepalive: Some(30 * SEC), ..Config::default() };
    let mut a = Connection::connect(config, A.parse().unwrap(), B.parse().unwrap(), id(100));
    let mut buf = [0; 2000];
    let n = a.poll_transmit(now).unwrap().write(0, &mut buf);
    let mut b = Connection::accept(now, Config::default(), &Segment::parse(&buf[..n], true).unwrap(), id(900));
    exchange(now, &mut a, &mut b);
    // The machine slept for an hour: one probe, and time to answer it.
    let now = now + 3600 * SEC;
    let mut probes = 0;
    while a.poll_transmit(now).is_some() {
        probes += 1;
    }
    assert_eq!((probes, a.state()), (1, State::Established));
    assert_eq!(a.poll_timeout(), Some(now + 10 * SEC));
}

#[test]
fn an_old_acknowledgment_does_not_shut_the_window() {
    let now = 5 * SEC;
    let (mut a, _) = pair(now);
    let window = |a: &mut Connection, seq: u32, window: u16| {
        let b = Burst {
            src: a.remote,
            dst: a.local,
            seq,
            ack: 101,
            flags: ACK,
            window,
            ecn: 0,
            segment_size: 1400,
            head: &[],
            tail: &[],
            options: Options { timestamps: Some((1_000_000, 0)), ..Options::default() },
        };
        let mut buf = [0; 200];
        let n = b.write(0, &mut buf);
        a.handle_segment(now, &Segment::parse(&buf[..n], true).unwrap());
    };
    window(&mut a, 901, 60_000);
    // Sent before, arrives after: RFC 9293 section 3.10.7.4, SND.WL1.
    window(&mut a, 900, 0);
    window(&mut a, 901, 10);
    a.send(&[1; 10_000]);
    let mut sent = 0;
    while let Some(p) = a.poll_transmit(now) {
        sent += p.payload_length();
    }
    assert_eq!(sent, 10_000);
}

#[test]
fn a_reset_after_both_ends_finished_is_no_error() {
    let now = 5 * SEC;
    let (mut a, mut b) = pair(now);
    a.shutdown();
    b.shutdown();
    exchange(now, &mut a, &mut b);
    assert_eq!(a.state(), State::TimeWait);
    inject(now, &mut a, 902, 102, RST, &[]);
    assert_eq!((a.state(), a.error()), (State::Closed, None));
}

#[test]
fn a_trickle_does_not_make_the_next_burst_crawl() {
    for (algorithm, before) in
        [(Algorithm::Cubic, 0), (Algorithm::Cubic, 20_000_000), (Algorithm::Bbr, 0), (Algorithm::Bbr, 20_000_000)]
    {
        let config = Config { algorithm, ..Config::default() };
        let link = Impairment { rate: 12_500_000, queue: 400_000, ..Impairment::round_trip(40) };
        let mut w = World::new([config, config], [link; 2], 3);
        w.ends[0].close_when_done = false;
        w.ends[1].close_when_done = false;
        w.ends[0].to_send = before;
        assert!(w.until(30 * SEC, |w| w.ends[1].got == before && w.state(0) == State::Established));
        // A minute of keystrokes.
        for _ in 0..300 {
            w.ends[0].to_send += 3;
            let next = w.now + 200 * MS;
            w.until(next, |_| false);
        }
        let start = w.now;
        w.ends[0].to_send += 10_000_000;
        let want = w.ends[0].to_send;
        w.until(start + 60 * SEC, |w| w.ends[1].got == want);
        let seconds = (w.now - start) as f64 / SEC as f64;
        assert!(seconds < 2.0, "{algorithm:?} after {before}: {seconds} s for 10 MB at 100 Mbit/s");
    }
}

#[test]
fn late_wake_ups_cost_little() {
    for round_trip in [1, 20] {
        let link = Impairment { rate: 50_000_000, queue: 2_500_000, ..Impairment::round_trip(round_trip) };
        for grain in [1, 2 * MS, 5 * MS, 10 * MS] {
            let mut w = World::new([Config::default(); 2], [link; 2], 3);
            w.grain = grain;
            w.ends[0].to_send = u64::MAX;
            w.until(2 * SEC, |_| false);
            let (from, start) = (w.ends[1].got, w.now);
            w.until(start + SEC / 2, |_| false);
            let rate = (w.ends[1].got - from) as f64 * 8.0 / (w.now - start) as f64;
            assert!(rate > 350.0, "woken every {grain} us, round trip {round_trip} ms: {rate} of 400 Mbit/s");
        }
    }
}

/// Data in flight, and its acknowledgment, which waits while `a`'s process is stopped for so long. Returns when it goes on.
fn stopped(seconds: Time, a: &mut Connection, b: &mut Connection) -> (Time, Vec<u8>) {
    let now = 5 * SEC;
    let mut buf = [0; 2000];
    a.send(&[1; 8]);
    let n = a.poll_transmit(now).unwrap().write(0, &mut buf);
    b.handle_segment(now, &Segment::parse(&buf[..n], true).unwrap());
    let n = b.poll_transmit(now + 100 * MS).unwrap().write(0, &mut buf);
    (now + seconds * SEC, buf[..n].to_vec())
}

#[test]
fn a_sleep_is_no_round_trip() {
    for ack_first in [true, false] {
        let (mut a, mut b) = pair(5 * SEC);
        let (now, ack) = stopped(30, &mut a, &mut b);
        if !ack_first {
            while a.poll_transmit(now).is_some() {}
        }
        a.handle_segment(now, &Segment::parse(&ack, true).unwrap());
        assert_eq!(
            (a.figures().retransmissions, a.figures().in_flight),
            (0, 0),
            "what waits to be read is not sent again"
        );
        a.send(&[2; 8]);
        assert!(a.poll_transmit(now).is_some());
        let again = a.poll_timeout().unwrap();
        assert!(again - now < SEC, "sent again after {} ms only", (again - now) / MS);
    }
}

#[test]
fn a_long_sleep_ends_no_connection() {
    let (mut a, mut b) = pair(5 * SEC);
    let (now, ack) = stopped(3600, &mut a, &mut b);
    while a.poll_transmit(now).is_some() {}
    a.handle_segment(now, &Segment::parse(&ack, true).unwrap());
    assert_eq!((a.state(), a.error()), (State::Established, None));
}
