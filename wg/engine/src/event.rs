//! What the host is told: records in a bounded queue, read after each call.
//!
//! ```text
//!  0 kind u32      4 peer i32 (-1: none)   8 a u32   12 b u32
//! 16 family u16 (0 none, 4, 6)   18 port u16   20 address, 16 bytes (IPv4 in the first four)
//! 36 key, 32 bytes                                                                      (68 in all, little-endian)
//!
//! A path is an address and the number of a local end: family u16, port u16, address 16 bytes, local u16 (22 in all).
//! ```

use crate::counter::{Counter, Counters};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Events kept for the host, at most; further ones are dropped and counted.
pub const EVENTS_MAX: usize = 4096;

/// An address in the form that crosses the boundary.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address {
    /// 0 for none, 4 or 6.
    pub family: u16,
    /// The port, in host order.
    pub port: u16,
    /// IPv4 in the first four bytes.
    pub ip: [u8; 16],
}

impl From<SocketAddr> for Address {
    fn from(a: SocketAddr) -> Self {
        let mut ip = [0; 16];
        let family = match a.ip() {
            IpAddr::V4(v4) => {
                ip[..4].copy_from_slice(&v4.octets());
                4
            }
            IpAddr::V6(v6) => {
                ip = v6.octets();
                6
            }
        };
        Address { family, port: a.port(), ip }
    }
}

impl Address {
    /// The address, unless there is none.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.ip_address()?, self.port))
    }

    /// The address without its port.
    pub fn ip_address(&self) -> Option<IpAddr> {
        match self.family {
            4 => Some(IpAddr::V4(Ipv4Addr::new(self.ip[0], self.ip[1], self.ip[2], self.ip[3]))),
            6 => Some(IpAddr::V6(Ipv6Addr::from(self.ip))),
            _ => None,
        }
    }
}

/// Where a datagram goes or came from.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path {
    /// The other end.
    pub remote: Address,
    /// Which of the host's sockets: 0 for the node's own.
    pub local: u16,
}

impl From<SocketAddr> for Path {
    fn from(a: SocketAddr) -> Self {
        Path { remote: a.into(), local: 0 }
    }
}

/// The kinds of event. The numbers are the contract with `wg/engine.ts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A session exists and the peer holds it too. `address` and local end `b`: where from.
    Handshake = 1,
    /// A packet was authenticated; at most every [`crate::peer::HEARD_INTERVAL_US`] for one path. `address` and local end `b`:
    /// where from.
    Heard = 2,
    /// An initiation from `key`, which is no peer. `address` and local end `b`: where from.
    UnknownPeer = 3,
    /// Stream `a` may have bytes, room or another state.
    Stream = 4,
    /// Stream `a` was accepted on port `b`. `address`: its other end.
    Accepted = 5,
    /// An echo reply with sequence number `a` from `address`.
    EchoReply = 6,
    /// The peer has answered probe `a`. `address` and local end `b`: where from.
    ProbeReply = 8,
    /// The peer has sent its first probe of a session, so it knows them. `address` and local end `b`: where from.
    Probed = 9,
    /// The policy has refused a peer's packet of IP protocol `a` to port `b`; at most one a second for each peer. `address`: its source.
    PolicyRefused = 10,
}

/// One event as the host reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// A [`Kind`].
    pub kind: u32,
    /// The peer's number, or -1.
    pub peer: i32,
    /// By kind.
    pub a: u32,
    /// By kind.
    pub b: u32,
    /// By kind.
    pub address: Address,
    /// By kind.
    pub key: [u8; 32],
}

impl Event {
    /// An event without values.
    pub fn new(kind: Kind) -> Self {
        Event { kind: kind as u32, peer: -1, a: 0, b: 0, address: Address::default(), key: [0; 32] }
    }

    /// An event about a peer that was heard from along `path`.
    pub fn from(kind: Kind, peer: u32, path: Path) -> Self {
        Event { peer: peer as i32, b: u32::from(path.local), address: path.remote, ..Event::new(kind) }
    }
}

/// The events not yet read.
pub struct Events {
    list: Vec<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Events { list: Vec::with_capacity(EVENTS_MAX) }
    }
}

impl Events {
    /// Adds an event, or counts it as lost.
    pub fn push(&mut self, counters: &mut Counters, event: Event) {
        if self.list.len() < EVENTS_MAX {
            self.list.push(event);
        } else {
            counters.add(Counter::EventLost);
        }
    }

    /// The events; they stay until [`clear`](Self::clear).
    pub fn list(&self) -> &[Event] {
        &self.list
    }

    /// The host has read everything.
    pub fn clear(&mut self) {
        self.list.clear();
    }
}
