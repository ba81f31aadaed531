//! The userspace end: one connection of the core, with a source or a sink on top.

use std::net::SocketAddr;
use tcp::connection::Identity;
use tcp::{Algorithm, Config, Connection, Segment, State, Time};

/// The data: this much, over and over.
pub const PATTERN: usize = 1 << 20;

/// The pattern twice, so that any stretch of up to its length is one slice.
pub fn pattern() -> Vec<u8> {
    let mut random = tcp::sim::Random(1);
    let once: Vec<u8> = (0..PATTERN).map(|_| random.bits() as u8).collect();
    [once.clone(), once].concat()
}

pub struct CoreEnd {
    connection: Connection,
    total: u64,
    sent: u64,
    pub received: u64,
    pub wrong: bool,
    check: bool,
    pattern: Vec<u8>,
    buffer: Vec<u8>,
}

impl CoreEnd {
    /// Sends `total` bytes, or receives when that is zero.
    pub fn new(
        local: SocketAddr,
        remote: SocketAddr,
        algorithm: Algorithm,
        total: u64,
        check: bool,
        ecn: bool,
    ) -> Self {
        let iss = std::process::id().wrapping_mul(2_654_435_761);
        let config = Config { algorithm, ecn, ..Config::default() };
        CoreEnd {
            connection: Connection::connect(config, local, remote, Identity { iss, stamp_offset: iss }),
            total,
            sent: 0,
            received: 0,
            wrong: false,
            check,
            pattern: pattern(),
            buffer: vec![0; 65536],
        }
    }

    pub fn input(&mut self, now: Time, packet: &[u8]) {
        let Ok(segment) = Segment::parse(packet, true) else { return };
        if segment.dst == self.connection.local && segment.src == self.connection.remote {
            self.connection.handle_segment(now, &segment);
        }
    }

    pub fn poll(&mut self, now: Time, mut out: impl FnMut(&[u8])) {
        self.write();
        self.read(now);
        while let Some(burst) = self.connection.poll_transmit(now) {
            for i in 0..burst.count() {
                let n = burst.write(i, &mut self.buffer);
                out(&self.buffer[..n]);
            }
        }
    }

    fn write(&mut self) {
        while self.sent < self.total {
            let at = self.sent as usize % PATTERN;
            let n = (self.total - self.sent).min(65536) as usize;
            let taken = self.connection.send(&self.pattern[at..at + n]);
            self.sent += taken as u64;
            if taken == 0 {
                break;
            }
        }
        if self.sent == self.total && self.total > 0 && self.connection.state() == State::Established {
            self.connection.shutdown();
        }
    }

    fn read(&mut self, now: Time) {
        loop {
            let n = self.connection.recv(now, &mut self.buffer);
            if n == 0 {
                break;
            }
            let at = self.received as usize % PATTERN;
            self.wrong |= self.check && self.buffer[..n] != self.pattern[at..at + n];
            self.received += n as u64;
        }
        if self.connection.receive_finished() && self.connection.state() == State::CloseWait {
            self.connection.shutdown();
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        self.connection.poll_timeout()
    }

    /// Both directions ended in order.
    pub fn done(&self) -> bool {
        self.connection.error().is_none() && matches!(self.connection.state(), State::Closed | State::TimeWait)
    }

    pub fn describe(&self) -> String {
        format!("{:?} {:?} {:?}", self.connection.state(), self.connection.error(), self.connection.figures())
    }
}
