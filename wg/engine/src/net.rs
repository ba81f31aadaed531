//! ICMP and IP inside the tunnel by smoltcp: echoes asked and answered, and what nobody takes refused.

use crate::counter::{Counter, Counters};
use crate::event::{Event, Events, Kind};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::icmp;
use smoltcp::time::Instant;
use smoltcp::wire::{
    HardwareAddress, Icmpv4Message, Icmpv4Packet, Icmpv4Repr, Icmpv6Message, Icmpv6Packet, Icmpv6Repr, IpAddress,
    IpCidr, Ipv4Address, Ipv6Address,
};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Our addresses inside the tunnel, at most (smoltcp's `iface-max-addr-count`).
pub const ADDRESSES_MAX: usize = 8;
/// Packets waiting on either side of smoltcp; the newest is dropped.
const QUEUE_MAX: usize = 256;
/// All echo requests of a node carry this identifier; the sequence number tells them apart.
pub const ECHO_IDENTIFIER: u16 = 0x6d79;
/// What the payload of an echo request is filled with.
pub const ECHO_FILL: u8 = 0x6d;

/// smoltcp's view of the tunnel: two queues.
struct Queues {
    received: VecDeque<Vec<u8>>,
    to_send: VecDeque<Vec<u8>>,
    mtu: usize,
}

struct Received(Vec<u8>);
struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl phy::Device for Queues {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        if self.to_send.len() >= QUEUE_MAX {
            return None;
        }
        Some((Received(self.received.pop_front()?), Sending(&mut self.to_send)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        (self.to_send.len() < QUEUE_MAX).then_some(Sending(&mut self.to_send))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut c = DeviceCapabilities::default();
        c.medium = Medium::Ip;
        c.max_transmission_unit = self.mtu;
        c
    }
}

/// ICMP and IP for the node's own addresses. A datagram that comes here has a port that is not open, and is answered so.
pub struct Control {
    interface: Interface,
    sockets: SocketSet<'static>,
    queues: Queues,
    echo: SocketHandle,
}

impl Control {
    /// A stack without addresses.
    pub fn new(now: u64, mtu: usize) -> Self {
        let mut queues = Queues { received: VecDeque::new(), to_send: VecDeque::new(), mtu };
        let interface = Interface::new(Config::new(HardwareAddress::Ip), &mut queues, instant(now));
        let mut sockets = SocketSet::new(Vec::new());
        let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 64], vec![0; 64 << 10]);
        let mut echo = icmp::Socket::new(buffer(), buffer());
        echo.bind(icmp::Endpoint::Ident(ECHO_IDENTIFIER)).expect("a new socket can be bound");
        let echo = sockets.add(echo);
        Control { interface, sockets, queues, echo }
    }

    /// Replaces our addresses.
    pub fn set_addresses(&mut self, addresses: &[IpAddr]) {
        self.interface.update_ip_addrs(|list| {
            list.clear();
            for a in addresses.iter().take(ADDRESSES_MAX) {
                let prefix = if a.is_ipv4() { 32 } else { 128 };
                // The list holds ADDRESSES_MAX, so there is room.
                let _ = list.push(IpCidr::new((*a).into(), prefix));
            }
        });
        // Everything else is behind the tunnel; a point-to-point link has no next hop, any address of the family will do.
        for a in addresses {
            let routes = self.interface.routes_mut();
            let _ = match a {
                IpAddr::V4(_) => routes.add_default_ipv4_route(Ipv4Address::new(0, 0, 0, 1)).map(|_| ()),
                IpAddr::V6(_) => {
                    routes.add_default_ipv6_route(Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)).map(|_| ())
                }
            };
        }
    }

    /// Takes a packet that is neither TCP nor for an open UDP port.
    pub fn receive(&mut self, counters: &mut Counters, packet: &[u8]) {
        if self.queues.received.len() >= QUEUE_MAX {
            return counters.add(Counter::QueueFull);
        }
        self.queues.received.push_back(packet.to_vec());
    }

    /// Lets smoltcp work; `send` takes each packet to encrypt. Says what arrived.
    pub fn poll(
        &mut self,
        now: u64,
        counters: &mut Counters,
        events: &mut Events,
        mut send: impl FnMut(&mut Counters, &mut Events, Vec<u8>),
    ) {
        self.interface.poll(instant(now), &mut self.queues, &mut self.sockets);
        self.report(counters, events);
        while let Some(packet) = self.queues.to_send.pop_front() {
            send(counters, events, packet);
        }
    }

    fn report(&mut self, counters: &mut Counters, events: &mut Events) {
        let socket = self.sockets.get_mut::<icmp::Socket>(self.echo);
        while let Ok((payload, from)) = socket.recv() {
            // A peer's echo requests carry the same identifier, and smoltcp hands them over too.
            let reply = match from {
                IpAddress::Ipv4(_) => Icmpv4Packet::new_checked(payload)
                    .ok()
                    .filter(|p| p.msg_type() == Icmpv4Message::EchoReply)
                    .map(|p| p.echo_seq_no()),
                IpAddress::Ipv6(_) => Icmpv6Packet::new_checked(payload)
                    .ok()
                    .filter(|p| p.msg_type() == Icmpv6Message::EchoReply)
                    .map(|p| p.echo_seq_no()),
            };
            let Some(sequence) = reply else { continue };
            let address = SocketAddr::new(from.into(), 0).into();
            events.push(counters, Event { a: u32::from(sequence), address, ..Event::new(Kind::EchoReply) });
        }
    }

    /// When [`poll`](Self::poll) wants to be called.
    pub fn poll_timeout(&mut self, now: u64) -> Option<u64> {
        if !self.queues.received.is_empty() || !self.queues.to_send.is_empty() {
            return Some(0);
        }
        let at = self.interface.poll_at(instant(now), &self.sockets)?;
        Some(at.total_micros().max(0) as u64)
    }

    /// Sends an echo request; false when there is no room or no address of that family.
    pub fn echo(&mut self, to: IpAddr, sequence: u16, length: usize) -> bool {
        let data = vec![ECHO_FILL; length.min(self.queues.mtu - 48)];
        let source = self.interface.get_source_address(&to.into());
        let socket = self.sockets.get_mut::<icmp::Socket>(self.echo);
        match (to, source) {
            (IpAddr::V4(_), Some(IpAddress::Ipv4(_))) => {
                let repr = Icmpv4Repr::EchoRequest { ident: ECHO_IDENTIFIER, seq_no: sequence, data: &data };
                let Ok(space) = socket.send(repr.buffer_len(), to.into()) else { return false };
                repr.emit(&mut Icmpv4Packet::new_unchecked(space), &phy::ChecksumCapabilities::default());
                true
            }
            (IpAddr::V6(to6), Some(IpAddress::Ipv6(from))) => {
                let repr = Icmpv6Repr::EchoRequest { ident: ECHO_IDENTIFIER, seq_no: sequence, data: &data };
                let Ok(space) = socket.send(repr.buffer_len(), to.into()) else { return false };
                repr.emit(&from, &to6, &mut Icmpv6Packet::new_unchecked(space), &phy::ChecksumCapabilities::default());
                true
            }
            _ => false,
        }
    }
}

fn instant(now: u64) -> Instant {
    Instant::from_micros(now as i64)
}
