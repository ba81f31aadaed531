//! What the path takes: ICMP errors, black holes, and what the caller says about it.
mod common;
use common::{World, A, B};
use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use tcp::checksum;
use tcp::icmp::{Report, Verdict};
use tcp::sim::{Impairment, Random};
use tcp::stack::{Limits, Stack};
use tcp::{Config, Error, Segment, MS, SEC};

/// An ICMP error from a router about a packet, which it quotes in part.
fn icmp(kind: u8, code: u8, field: u32, quoted: &[u8], quote: usize) -> Vec<u8> {
    let v4 = quoted[0] >> 4 == 4;
    let mut message = vec![kind, code, 0, 0];
    message.extend(field.to_be_bytes());
    message.extend(&quoted[..quote.min(quoted.len())]);
    let (mut packet, pseudo) = if v4 {
        let total = (20 + message.len()) as u16;
        let mut header = vec![0x45, 0];
        header.extend(total.to_be_bytes());
        header.extend([0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 9]);
        header.extend(&quoted[12..16]);
        (header, 0)
    } else {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend((message.len() as u16).to_be_bytes());
        header.extend([58, 64]);
        let router: IpAddr = "2001:db8::9".parse().unwrap();
        let IpAddr::V6(octets) = router else { unreachable!() };
        header.extend(octets.octets());
        header.extend(&quoted[8..24]);
        let to: [u8; 16] = quoted[8..24].try_into().unwrap();
        (header, checksum::pseudo_of(58, router, to.into(), message.len()))
    };
    let sum = checksum::finish(checksum::sum(pseudo, &message));
    message[2..4].copy_from_slice(&sum);
    packet.extend(message);
    packet
}

/// One way of a stream of `bytes` to a path on which packets above `mtu` vanish.
fn narrow(config: Config, mtu: usize, bytes: u64) -> World {
    let link = Impairment { mtu, ..Impairment::round_trip(40) };
    let mut w = World::new([config, config], [link, Impairment::round_trip(40)], 3);
    w.ends[0].to_send = bytes;
    w
}

#[test]
fn a_path_that_swallows_full_segments_is_found_out() {
    for (mtu, limit) in [(1300, 10), (1000, 25)] {
        let mut w = narrow(Config::default(), mtu, 1_000_000);
        assert!(w.until(limit * SEC, |w| w.ends[1].got == 1_000_000), "{mtu}: {} at {}", w.ends[1].got, w.now);
    }
}

#[test]
fn an_outage_costs_full_segments_for_a_minute_only() {
    let mut w = World::new([Config::default(); 2], [Impairment::round_trip(40); 2], 3);
    w.ends[0].to_send = u64::MAX;
    w.until(3 * SEC, |_| false);
    w.links[0].impairment.loss = 1_000_000;
    w.until(8 * SEC, |_| false);
    w.links[0].impairment = Impairment { rate: 1_000_000, queue: 100_000, ..Impairment::round_trip(40) };
    let largest = Rc::new(Cell::new(0));
    let seen = largest.clone();
    w.drop = Some(Box::new(move |i, _, s| {
        if i == 0 {
            seen.set(seen.get().max(s.payload.len()));
        }
        false
    }));
    w.until(20 * SEC, |_| false);
    assert_eq!(largest.get(), 1280 - 52);
    w.until(80 * SEC, |_| false);
    assert_eq!(largest.get(), 1420 - 52);
}

#[test]
fn a_path_that_is_back_is_used_at_once_when_the_caller_says_so() {
    let link = Impairment { rate: 1_000_000, queue: 100_000, ..Impairment::round_trip(40) };
    let mut w = World::new([Config::default(); 2], [link; 2], 3);
    w.ends[0].to_send = 10_000_000;
    w.until(SEC, |_| false);
    w.links[0].impairment.loss = 1_000_000;
    let mut last = w.now;
    while w.now < last + 4 * SEC {
        last = w.now;
        assert!(w.step() && w.now < 60 * SEC);
    }
    // Between two timeouts, of which the next is seconds away.
    let now = last + SEC;
    w.now = now;
    w.links[0].impairment.loss = 0;
    let c = w.ends[0].c.as_mut().unwrap();
    assert!(c.poll_timeout().is_some_and(|t| t >= now + 3 * SEC), "its timer has backed off");
    assert!(c.resume(now));
    assert!(c.poll_timeout().is_some_and(|t| t <= now), "what is lost goes again now");
    let before = w.ends[1].got;
    assert!(w.until(now + SEC / 2, |w| w.ends[1].got > before));
}

#[test]
fn resuming_changes_nothing_while_nothing_has_timed_out() {
    let mut w = World::new([Config::default(); 2], [Impairment::round_trip(40); 2], 3);
    w.ends[0].to_send = u64::MAX;
    w.until(3 * SEC, |_| false);
    let c = w.ends[0].c.as_mut().unwrap();
    let sent = c.figures().retransmissions;
    assert!(!c.resume(w.now));
    w.until(4 * SEC, |_| false);
    assert_eq!(w.ends[0].c.as_ref().unwrap().figures().retransmissions, sent);
}

#[test]
fn a_connection_that_opens_asks_again_at_once_when_the_path_is_back() {
    let mut w = World::new([Config::default(); 2], [Impairment::round_trip(40); 2], 3);
    w.links[0].impairment.loss = 1_000_000;
    w.until(14 * SEC, |_| false);
    w.links[0].impairment.loss = 0;
    assert!(w.ends[0].c.as_mut().unwrap().resume(w.now));
    w.ends[0].to_send = 1_000;
    assert!(w.until(w.now + SEC / 2, |w| w.ends[1].got == 1_000));
}

#[test]
fn packet_too_big_lowers_the_segment_size_without_a_slower_pace() {
    // The router drops what is above 1000 and says so 20 ms later.
    let mut w = narrow(Config::default(), 0, 3_000_000);
    let refused = Rc::new(Cell::new(None));
    let (note, at) = (refused.clone(), refused);
    w.drop = Some(Box::new(move |i, now, s: &Segment| {
        let drop = i == 0 && s.payload.len() > 1000 - 52;
        if drop && note.get().is_none() {
            note.set(Some((now + 20 * MS, s.seq)));
        }
        drop
    }));
    let done = loop {
        if w.ends[1].got == 3_000_000 || w.now > 10 * SEC {
            break w.now;
        }
        w.step();
        if let Some((due, seq)) = at.get().filter(|x| x.0 <= w.now) {
            at.set(None);
            w.ends[0].c.as_mut().unwrap().handle_icmp(due, seq, Verdict::TooBig(1000));
        }
    };
    assert!(done < 3 * SEC, "{done}");
}

#[test]
fn icmp_errors_are_believed_within_bounds_only() {
    let mut w = narrow(Config::default(), 0, 10_000_000);
    w.until(2 * SEC, |w| w.ends[1].got > 100_000);
    let largest = Rc::new(Cell::new((0, 0)));
    let seen = largest.clone();
    w.drop = Some(Box::new(move |i, _, s| {
        if i == 0 {
            seen.set((seen.get().0.max(s.payload.len()), s.seq));
        }
        false
    }));
    let size = |w: &mut World, verdict: Verdict, off: u32| {
        w.until(w.now + SEC / 4, |_| false);
        let (_, seq) = largest.get();
        let taken = w.ends[0].c.as_mut().unwrap().handle_icmp(w.now, seq.wrapping_add(off), verdict);
        largest.set((0, 0));
        w.until(w.now + SEC / 4, |_| false);
        (taken, largest.get().0)
    };
    let full = 1420 - 52;
    w.ends[0].to_send = u64::MAX;
    assert_eq!(size(&mut w, Verdict::TooBig(1000), 100_000_000), (false, full), "outside of what is in flight");
    assert_eq!(size(&mut w, Verdict::TooBig(1500), 0), (false, full), "larger than what is sent");
    assert_eq!(size(&mut w, Verdict::Refused, 0), (false, full), "an open connection outlives a hard error");
    assert_eq!(w.ends[0].c.as_ref().unwrap().error(), None);
    assert_eq!(size(&mut w, Verdict::TooBig(1100), 0), (true, 1100 - 52));
    assert_eq!(size(&mut w, Verdict::TooBig(1200), 0), (false, 1100 - 52));
    assert_eq!(size(&mut w, Verdict::TooBig(68), 0), (true, 576 - 52), "not below what IPv4 paths carry");
}

#[test]
fn the_caller_lowers_and_raises_the_path_mtu() {
    let link = Impairment::round_trip(40);
    let mut w = World::new([Config::default(); 2], [link; 2], 3);
    w.ends[0].to_send = u64::MAX;
    w.until(2 * SEC, |_| false);
    // What is in flight is gone, and everything of that size to come.
    w.links[0].impairment.mtu = 1280;
    w.until(w.now + 30 * MS, |_| false);
    w.ends[0].c.as_mut().unwrap().set_mtu(w.now, 1280);
    let got = w.ends[1].got;
    w.until(w.now + 500 * MS, |_| false);
    assert!(w.ends[1].got > got + 1_000_000, "{} then {}", got, w.ends[1].got);
    let largest = Rc::new(Cell::new(0));
    let seen = largest.clone();
    w.drop = Some(Box::new(move |_, _, s| {
        seen.set(seen.get().max(s.payload.len()));
        false
    }));
    w.until(w.now + 100 * MS, |_| false);
    assert_eq!(largest.get(), 1280 - 52);
    w.links[0].impairment.mtu = 0;
    w.ends[0].c.as_mut().unwrap().set_mtu(w.now, 9000);
    w.until(w.now + 100 * MS, |_| false);
    assert_eq!(largest.get(), 1420 - 52, "never above what both ends agreed on");
}

#[test]
fn a_size_that_a_router_named_is_forgotten_in_favour_of_what_the_caller_says() {
    let link = Impairment { rate: 20_000, queue: 10_000, ..Impairment::round_trip(40) };
    let mut w = World::new([Config::default(); 2], [link; 2], 3);
    w.ends[0].to_send = u64::MAX;
    w.until(2 * SEC, |_| false);
    w.ends[0].c.as_mut().unwrap().set_mtu(w.now, 1300);
    let largest = Rc::new(Cell::new((0, 0)));
    let seen = largest.clone();
    w.drop = Some(Box::new(move |i, _, s| {
        if i == 0 {
            seen.set((seen.get().0.max(s.payload.len()), s.seq));
        }
        false
    }));
    let largest_until = |w: &mut World, time| {
        largest.set((0, 0));
        w.until(time, |_| false);
        largest.get().0
    };
    assert_eq!(largest_until(&mut w, 3 * SEC), 1300 - 52);
    let seq = largest.get().1;
    assert!(w.ends[0].c.as_mut().unwrap().handle_icmp(w.now, seq, Verdict::TooBig(1100)));
    assert_eq!(largest_until(&mut w, 600 * SEC), 1100 - 52);
    assert_eq!(largest_until(&mut w, 610 * SEC), 1300 - 52);
}

/// The first packet that a stack sends to a peer.
fn first_packet(stack: &mut Stack) -> Vec<u8> {
    let mut buf = vec![0; 2000];
    let mut packet = vec![];
    stack.poll_transmit(0, |b| {
        let n = b.write(0, &mut buf);
        packet = buf[..n].to_vec();
        true
    });
    packet
}

#[test]
fn a_refused_port_ends_the_attempt_and_an_unreachable_host_does_not() {
    for (local, remote, refused, unreachable) in
        [("10.0.0.1", "10.0.0.2:80", (3, 3), (3, 1)), ("fd00::1", "[fd00::2]:80", (1, 4), (1, 0))]
    {
        let mut stack = Stack::new(Config::default(), Limits::default(), (1, 2));
        let h = stack.connect(0, local.parse().unwrap(), remote.parse().unwrap()).unwrap();
        let syn = first_packet(&mut stack);
        assert!(stack.handle_icmp(MS, &icmp(unreachable.0, unreachable.1, 0, &syn, 100)));
        assert_eq!(stack.get(h).unwrap().error(), None);
        let mut forged = syn.clone();
        let at = if local.contains(':') { 44 } else { 24 };
        forged[at] ^= 1;
        assert!(stack.handle_icmp(MS, &icmp(refused.0, refused.1, 0, &forged, 100)));
        assert_eq!(stack.get(h).unwrap().error(), None, "another sequence number");
        let quote = if local.contains(':') { 48 } else { 28 };
        assert!(!stack.handle_icmp(MS, &icmp(refused.0, refused.1, 0, &syn, quote - 1)), "too short a quotation");
        assert!(stack.handle_icmp(MS, &icmp(refused.0, refused.1, 0, &syn, quote)));
        assert_eq!(stack.error(h), Some(Error::Refused));
        assert_eq!((stack.counters().icmp_errors, stack.counters().icmp_errors_heeded), (3, 1));
    }
}

#[test]
fn connections_to_come_start_with_what_the_path_takes() {
    let mut stack = Stack::new(Config::default(), Limits::default(), (1, 2));
    let mut other = Stack::new(Config::default(), Limits::default(), (3, 4));
    other.listen(80);
    stack.set_path_mtu(0, None, 1280);
    let h = stack.connect(0, "10.0.0.1".parse().unwrap(), "10.0.0.2:80".parse().unwrap()).unwrap();
    let mut buf = vec![0; 2000];
    let mut largest = 0;
    for now in 0..10 {
        stack.get_mut(h).unwrap().send(&[1; 5000]);
        for turn in 0..2 {
            let (x, y) = if turn == 0 { (&mut stack, &mut other) } else { (&mut other, &mut stack) };
            x.poll_transmit(now, |b| {
                for i in 0..b.count() {
                    let n = b.write(i, &mut buf);
                    largest = largest.max(n);
                    y.handle_packet(now, &buf[..n]);
                }
                true
            });
        }
    }
    assert_eq!(largest, 1280);
}

#[test]
fn no_bytes_upset_the_parser_of_errors() {
    let mut stack = Stack::new(Config::default(), Limits::default(), (1, 2));
    stack.connect(0, "10.0.0.1".parse().unwrap(), "10.0.0.2:80".parse().unwrap()).unwrap();
    let syn = first_packet(&mut stack);
    let good = icmp(3, 4, 1000, &syn, 100);
    let report = Report::parse(&good, true).unwrap();
    assert_eq!((report.local, report.remote), (report.local, B.parse().unwrap()));
    assert_ne!(report.local, A.parse().unwrap(), "an ephemeral port");
    assert_eq!(report.verdict, Verdict::TooBig(1000));
    let mut r = Random(1);
    for _ in 0..20_000 {
        let mut bad = good.clone();
        bad.truncate(r.below(good.len() as u64 + 1) as usize);
        for _ in 0..r.below(4) {
            if !bad.is_empty() {
                let at = r.below(bad.len() as u64) as usize;
                bad[at] = r.bits() as u8;
            }
        }
        Report::parse(&bad, false);
        stack.handle_icmp(MS, &bad);
    }
}
