//! Explicit congestion notification (RFC 3168, RFC 6040).
mod common;
use common::flows::{bottleneck, Flows, Plan};
use common::World;
use std::cell::RefCell;
use std::rc::Rc;
use tcp::segment::{decapsulate_ecn, ecn, Burst, Options, ACK, CE, CWR, ECE, ECT, NOT_ECT, SYN};
use tcp::sim::Impairment;
use tcp::{Algorithm, Config, Segment, SEC};

fn config(algorithm: Algorithm, ecn: bool) -> Config {
    Config { algorithm, ecn, ..Config::default() }
}

#[test]
fn a_marking_queue_slows_streams_down_without_loss() {
    for algorithm in [Algorithm::Cubic, Algorithm::Bbr] {
        let link = Impairment { mark: 100_000, ..bottleneck(50.0, 40.0, 4.0) };
        let plan = |on| [Plan { config: config(algorithm, on), start: 0 }];
        let mut world = Flows::new(&plan(true), link, 7);
        let rate = world.rates(3 * SEC, 13 * SEC)[0];
        assert!(rate > 40.0 && world.links[0].dropped == 0 && world.links[0].marked > 0, "{algorithm:?}: {rate}");
        let mut world = Flows::new(&plan(false), link, 7);
        world.until(3 * SEC);
        assert_eq!(world.links[0].marked, 0);
    }
}

#[test]
fn both_ends_have_to_agree_and_both_say_what_they_saw() {
    for (first, second) in [(true, true), (true, false), (false, true)] {
        let link = Impairment { rate: 1_000_000, queue: 400_000, mark: 20_000, ..Impairment::round_trip(40) };
        let configs = [config(Algorithm::Cubic, first), config(Algorithm::Cubic, second)];
        let mut w = World::new(configs, [link, Impairment::round_trip(40)], 2);
        let seen: Rc<RefCell<Vec<(usize, u8, bool)>>> = Rc::default();
        let log = seen.clone();
        w.drop = Some(Box::new(move |i, _, s: &Segment| {
            log.borrow_mut().push((i, s.flags, s.payload.is_empty()));
            false
        }));
        w.ends[0].to_send = 3_000_000;
        assert!(w.until(60 * SEC, |w| w.complete()));
        let seen = seen.borrow();
        let syn = seen.iter().find(|x| x.0 == 0).unwrap().1;
        let answer = seen.iter().find(|x| x.0 == 1).unwrap().1;
        assert_eq!(syn, if first { SYN | ECE | CWR } else { SYN });
        assert_eq!(answer, SYN | ACK | if first && second { ECE } else { 0 });
        let later = || seen.iter().filter(|x| x.1 & SYN == 0);
        let (echoes, answers) =
            (later().filter(|x| x.1 & ECE != 0).count(), later().filter(|x| x.1 & CWR != 0).count());
        if first && second {
            assert!(w.links[0].marked > 0 && echoes > 0 && answers > 0 && answers < 50, "{echoes} {answers}");
            assert!(later().all(|x| x.1 & CWR == 0 || !x.2 && x.0 == 0), "data says that it slowed down");
        } else {
            assert_eq!((w.links[0].marked, echoes, answers), (0, 0, 0));
        }
    }
}

#[test]
fn a_syn_that_was_lost_is_repeated_without() {
    let mut w = World::new([config(Algorithm::Bbr, true); 2], [Impairment::round_trip(40); 2], 2);
    let flags: Rc<RefCell<Vec<u8>>> = Rc::default();
    let log = flags.clone();
    w.drop = Some(Box::new(move |i, _, s: &Segment| {
        if i == 0 && s.flags & SYN != 0 {
            log.borrow_mut().push(s.flags);
            return s.flags & ECE != 0;
        }
        false
    }));
    w.ends[0].to_send = 100_000;
    assert!(w.until(20 * SEC, |w| w.complete()));
    assert_eq!(*flags.borrow(), [SYN | ECE | CWR, SYN]);
}

#[test]
fn tunnels_pass_marks_on_and_drop_what_nobody_would_understand() {
    let mut buf = [0; 200];
    for (src, dst) in [("10.0.0.1:1", "10.0.0.2:2"), ("[fd00::1]:1", "[fd00::2]:2")] {
        for (inner, outer, result) in [
            (NOT_ECT, NOT_ECT, Some(NOT_ECT)),
            (NOT_ECT, ECT, Some(NOT_ECT)),
            (NOT_ECT, CE, None),
            (ECT, NOT_ECT, Some(ECT)),
            (ECT, 1, Some(1)),
            (ECT, CE, Some(CE)),
            (1, ECT, Some(1)),
            (1, CE, Some(CE)),
            (CE, NOT_ECT, Some(CE)),
        ] {
            let burst = Burst {
                src: src.parse().unwrap(),
                dst: dst.parse().unwrap(),
                seq: 1,
                ack: 2,
                flags: ACK | CWR,
                window: 3,
                options: Options::default(),
                ecn: inner,
                segment_size: 5,
                head: b"hello",
                tail: b"again",
            };
            assert_eq!(burst.count(), 2);
            let n = burst.write(1, &mut buf);
            assert_eq!(Segment::parse(&buf[..n], true).unwrap().flags, ACK, "CWR goes on the first segment");
            let n = burst.write(0, &mut buf);
            assert_eq!(ecn(&buf[..n]), inner);
            assert_eq!(decapsulate_ecn(&mut buf[..n], outer).then(|| ecn(&buf[..n])), result, "{inner} in {outer}");
            let s = Segment::parse(&buf[..n], true).unwrap();
            assert_eq!((s.flags, s.marked), (ACK | CWR, ecn(&buf[..n]) == CE));
            if src.starts_with('1') {
                let header = tcp::checksum::fold(tcp::checksum::sum(0, &buf[..20]));
                assert_eq!(header, 0xffff, "the header's checksum follows");
            }
        }
    }
}
