#![allow(dead_code)]
//! Many one-way streams through one bottleneck.
use tcp::connection::Identity;
use tcp::sim::{Impairment, Link, Random};
use tcp::{Config, Connection, Segment, Time, MS, SEC};

/// One stream to be: its settings, and when it begins.
#[derive(Clone, Copy)]
pub struct Plan {
    pub config: Config,
    pub start: Time,
}

struct Flow {
    plan: Plan,
    ends: [Option<Connection>; 2],
    due: [Option<Time>; 2],
    got: u64,
}

pub struct Flows {
    pub now: Time,
    flows: Vec<Flow>,
    /// There and back.
    pub links: [Link; 2],
    /// Times that a sender sent one segment, and several together.
    pub sent: [u64; 2],
    buf: Vec<u8>,
    touched: Vec<(usize, usize)>,
    seed: u64,
    late: Random,
}

const ORIGIN: Time = SEC;
const FIRST_PORT: u16 = 4000;
/// A timer comes late by less than this, as `ppoll` does. Without, streams that pace evenly keep step, and one finds the full queue always.
const LATE_MAX: Time = 80;

impl Flows {
    pub fn new(plans: &[Plan], link: Impairment, seed: u64) -> Self {
        let back = Impairment { delay: link.delay, jitter: link.jitter, ..Impairment::default() };
        Flows {
            now: ORIGIN,
            flows: plans
                .iter()
                .map(|p| Flow { plan: *p, ends: [None, None], due: [Some(ORIGIN + p.start), None], got: 0 })
                .collect(),
            links: [Link::new(link, seed), Link::new(back, seed ^ 0xbeef)],
            sent: [0; 2],
            buf: vec![0; 65536],
            touched: Vec::new(),
            seed,
            late: Random(!seed),
        }
    }

    fn identity(&self, end: u64) -> Identity {
        let bits = Random(end ^ self.seed << 32).bits();
        Identity { iss: bits as u32, stamp_offset: (bits >> 32) as u32 }
    }

    fn deliver(&mut self, side: usize) {
        while let Some(p) = self.links[1 - side].receive(self.now) {
            let s = Segment::parse(&p, false).expect("we wrote it");
            let port = if side == 0 { s.dst.port() } else { s.src.port() };
            let i = usize::from(port - FIRST_PORT);
            let id = self.identity(!(i as u64));
            let flow = &mut self.flows[i];
            match &mut flow.ends[side] {
                Some(c) => c.handle_segment(self.now, &s),
                None => {
                    flow.ends[side] = Some(Connection::accept(self.now, flow.plan.config, &s, id));
                }
            }
            if !self.touched.contains(&(i, side)) {
                self.touched.push((i, side));
            }
            self.links[1 - side].recycle(p);
        }
    }

    fn run_end(&mut self, i: usize, side: usize) {
        let now = self.now;
        let id = self.identity(i as u64);
        let late = self.late.bits() % LATE_MAX;
        let flow = &mut self.flows[i];
        if side == 0 && flow.ends[0].is_none() {
            let local = format!("10.0.0.1:{}", usize::from(FIRST_PORT) + i).parse().unwrap();
            flow.ends[0] = Some(Connection::connect(flow.plan.config, local, "10.0.0.2:80".parse().unwrap(), id));
        }
        let Some(c) = &mut flow.ends[side] else { return };
        if side == 0 {
            loop {
                let n = c.send_space().len();
                if n == 0 {
                    break;
                }
                c.send_commit(n);
            }
        } else {
            let n = c.receive_ready();
            if n > 0 {
                c.consume(now, n);
                flow.got += n as u64;
            }
        }
        let mut together = 0;
        while let Some(b) = c.poll_transmit(now) {
            together += b.count();
            for k in 0..b.count() {
                let n = b.write(k, &mut self.buf);
                self.links[side].send(now, &self.buf[..n]);
            }
        }
        if side == 0 && together > 0 {
            self.sent[usize::from(together > 1)] += 1;
        }
        flow.due[side] = c.poll_timeout().map(|at| if at > now { at + late } else { at });
    }

    pub fn step(&mut self) {
        self.deliver(0);
        self.deliver(1);
        let mut touched = std::mem::take(&mut self.touched);
        for (i, flow) in self.flows.iter().enumerate() {
            for side in 0..2 {
                if flow.due[side].is_some_and(|t| t <= self.now) && !touched.contains(&(i, side)) {
                    touched.push((i, side));
                }
            }
        }
        for (i, side) in touched.drain(..) {
            self.run_end(i, side);
        }
        self.touched = touched;
        let due = self.flows.iter().flat_map(|f| f.due).flatten();
        let next = due.chain(self.links.iter().filter_map(Link::next_at)).min().unwrap_or(Time::MAX);
        self.now = next.max(self.now + 1);
    }

    /// Runs until this long after the start; what each stream received so far.
    pub fn until(&mut self, time: Time) -> Vec<u64> {
        while self.now < ORIGIN + time {
            self.step();
        }
        self.flows.iter().map(|f| f.got).collect()
    }

    /// Mbit/s of each stream from one time to another.
    pub fn rates(&mut self, from: Time, to: Time) -> Vec<f64> {
        let before = self.until(from);
        let after = self.until(to);
        before.iter().zip(&after).map(|(a, b)| (b - a) as f64 * 8.0 / (to - from) as f64).collect()
    }
}

/// Jain's index: 1 for equal shares, 1/n when one has all.
pub fn jain(rates: &[f64]) -> f64 {
    let (sum, squares) = rates.iter().fold((0.0, 0.0), |(a, b), r| (a + r, b + r * r));
    sum * sum / (rates.len() as f64 * squares)
}

/// A bottleneck of `mbit` Mbit/s whose queue holds `queue` round trips' worth.
pub fn bottleneck(mbit: f64, round_trip: f64, queue: f64) -> Impairment {
    let rate = (mbit * 125_000.0) as u64;
    Impairment {
        rate,
        queue: ((rate as f64 * round_trip / 1000.0 * queue) as u64).max(20_000),
        delay: (round_trip * 500.0) as Time,
        reorder_by: 10 * MS,
        ..Impairment::default()
    }
}
