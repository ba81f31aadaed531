#![allow(dead_code)]
//! Two connections over two simulated links.
pub mod flows;

use tcp::connection::Identity;
use tcp::sim::{Impairment, Link};
use tcp::{Config, Connection, Segment, State, Time, SEC};

pub fn byte(i: u64) -> u8 {
    (i.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

fn fill(from: u64, part: &mut [u8]) {
    for (k, b) in part.iter_mut().enumerate() {
        *b = byte(from + k as u64);
    }
}

pub struct End {
    pub c: Option<Connection>,
    pub config: Config,
    pub to_send: u64,
    pub sent: u64,
    pub got: u64,
    pub shut: bool,
    pub read_limit: usize,
    pub close_when_done: bool,
    /// Writes into the send buffer in place.
    pub in_place: bool,
}

/// Which end sends what and when: true when it is to be lost.
pub type Drop = Box<dyn FnMut(usize, Time, &Segment) -> bool>;

pub struct World {
    pub now: Time,
    pub ends: [End; 2],
    pub links: [Link; 2],
    pub buf: Vec<u8>,
    pub trace: bool,
    /// Both ends are woken at multiples of this only, as on a busy machine.
    pub grain: Time,
    /// Called for each packet; true drops it.
    pub drop: Option<Drop>,
}

pub const A: &str = "10.0.0.1:4000";
pub const B: &str = "10.0.0.2:80";

impl World {
    pub fn new(config: [Config; 2], imp: [Impairment; 2], seed: u64) -> Self {
        let end = |config| End {
            c: None,
            config,
            to_send: 0,
            sent: 0,
            got: 0,
            shut: false,
            read_limit: usize::MAX,
            close_when_done: true,
            in_place: seed % 2 == 1,
        };
        let [i0, i1] = imp;
        let mut w = World {
            now: 1_000_000,
            ends: [end(config[0]), end(config[1])],
            links: [Link::new(i0, seed), Link::new(i1, seed ^ 0xdead)],
            buf: vec![0; 65536],
            trace: false,
            grain: 1,
            drop: None,
        };
        let id = Identity { iss: (seed as u32).wrapping_mul(77777).wrapping_sub(5), stamp_offset: seed as u32 };
        w.ends[0].c = Some(Connection::connect(config[0], A.parse().unwrap(), B.parse().unwrap(), id));
        w
    }

    fn app(&mut self, i: usize) {
        let now = self.now;
        let e = &mut self.ends[i];
        let Some(c) = &mut e.c else { return };
        let mut chunk = [0u8; 8192];
        while e.sent < e.to_send && c.send_room() > 0 {
            let left = (e.to_send - e.sent).min(chunk.len() as u64) as usize;
            let k = if e.in_place {
                let room = c.send_room();
                let part = c.send_space();
                let n = part.len().min(left);
                assert!(n > 0 && part.len() <= room, "there is room, but no space, or too much");
                fill(e.sent, &mut part[..n]);
                c.send_commit(n);
                n
            } else {
                let n = c.send_room().min(left);
                fill(e.sent, &mut chunk[..n]);
                c.send(&chunk[..n])
            };
            e.sent += k as u64;
            if k == 0 {
                break;
            }
        }
        if e.sent == e.to_send && !e.shut && e.close_when_done && c.is_established() {
            c.shutdown();
            e.shut = true;
        }
        let mut budget = e.read_limit;
        loop {
            let n = chunk.len().min(budget);
            let n = c.recv(now, &mut chunk[..n]);
            if n == 0 {
                break;
            }
            budget -= n;
            for (k, b) in chunk[..n].iter().enumerate() {
                assert_eq!(*b, byte(e.got + k as u64), "wrong byte at {}", e.got + k as u64);
            }
            e.got += n as u64;
        }
    }

    fn transmit(&mut self, i: usize) {
        let now = self.now;
        let Some(c) = &mut self.ends[i].c else { return };
        while let Some(b) = c.poll_transmit(now) {
            for k in 0..b.count() {
                let n = b.write(k, &mut self.buf);
                let s = Segment::parse(&self.buf[..n], true).unwrap();
                if self.trace {
                    println!(
                        "{:>10} {} seq {} len {} flags {:02x} ack {} win {} sack {:?}",
                        now,
                        ["->", "<-"][i],
                        s.seq,
                        s.payload.len(),
                        s.flags,
                        s.ack,
                        s.window,
                        s.options.sack_blocks()
                    );
                }
                if self.drop.as_mut().is_some_and(|d| d(i, now, &s)) {
                    continue;
                }
                self.links[i].send(now, &self.buf[..n]);
            }
        }
        let c = self.ends[i].c.as_ref().expect("just used");
        assert!(
            c.poll_timeout().is_none_or(|t| t > now),
            "nothing to send, and yet wants to be called at once: {:?}",
            c.state()
        );
    }

    fn deliver(&mut self, i: usize) {
        let now = self.now;
        while let Some(p) = self.links[1 - i].receive(now) {
            let e = &mut self.ends[i];
            let s = Segment::parse(&p, e.config.verify_checksums).unwrap();
            match &mut e.c {
                Some(c) => c.handle_segment(now, &s),
                None => {
                    e.c = Some(Connection::accept(now, e.config, &s, Identity { iss: 0xffff_ff00, stamp_offset: 99 }))
                }
            }
            self.links[1 - i].recycle(p);
        }
    }

    /// One event; false when nothing can happen any more.
    pub fn step(&mut self) -> bool {
        for i in 0..2 {
            self.deliver(i);
            self.app(i);
            self.transmit(i);
        }
        let mut next: Option<Time> = None;
        let mut at = |t: Option<Time>| {
            if let Some(t) = t {
                next = Some(next.map_or(t, |n| n.min(t)));
            }
        };
        for i in 0..2 {
            at(self.links[i].next_at());
            if let Some(c) = &self.ends[i].c {
                at(c.poll_timeout());
                at((c.receive_ready() > 0).then_some(self.now + 1000));
            }
        }
        let Some(next) = next else { return false };
        self.now = next.max(self.now + 1).next_multiple_of(self.grain);
        true
    }

    pub fn until(&mut self, limit: Time, mut stop: impl FnMut(&World) -> bool) -> bool {
        while self.now < limit {
            if stop(self) {
                return true;
            }
            if !self.step() {
                break;
            }
        }
        stop(self)
    }

    pub fn state(&self, i: usize) -> State {
        self.ends[i].c.as_ref().map_or(State::Closed, |c| c.state())
    }

    pub fn complete(&self) -> bool {
        self.ends[0].got == self.ends[1].to_send
            && self.ends[1].got == self.ends[0].to_send
            && (0..2)
                .all(|i| self.ends[i].c.as_ref().is_some_and(|c| matches!(c.state(), State::Closed | State::TimeWait)))
    }
}

/// Mbit/s of a one-way stream, measured by the receiver over `seconds` after `skip`.
pub fn throughput(config: Config, imp: Impairment, seed: u64, skip: u64, seconds: u64) -> (f64, String) {
    let back = Impairment { loss: 0, reorder: 0, burst: (0, 0), ..imp };
    let mut w = World::new([config, config], [imp, back], seed);
    w.ends[0].to_send = u64::MAX;
    w.until(SEC + skip * SEC, |_| false);
    let (from, at) = (w.ends[1].got, w.now);
    w.until(SEC + (skip + seconds) * SEC, |_| false);
    let f = w.ends[0].c.as_ref().unwrap().figures();
    (
        (w.ends[1].got - from) as f64 * 8.0 / (w.now - at) as f64,
        format!(
            "cwnd {} pipe {} pace {:.1} Mbit/s srtt {} retr {} rwin {}",
            f.window,
            f.in_flight,
            f.pacing_rate as f64 * 8e-6,
            f.round_trip,
            f.retransmissions,
            w.ends[1].c.as_ref().unwrap().figures().receive_window
        ),
    )
}
