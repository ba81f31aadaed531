//! Device, TCP, UDP and ICMP put together: what the exports in `abi` call.

use crate::counter::{Counter, Counters};
use crate::device::{Ask, Device, Io, PeerOptions};
use crate::event::{Event, Events, Kind, Path};
use crate::filter::ports::{Ports, Range};
use crate::filter::{Filter, REFUSALS};
use crate::net::{Control, ADDRESSES_MAX};
use crate::transmit::Transmit;
use crate::tun::division::{owner, udp_destination, Owner};
use crate::tun::fragments::Fragments;
use crate::tun::gso::Split;
use crate::tun::unreachable::Reason;
use crate::tun::{self, Tun};
use crate::udp::{self, Udp};
use boringtun::noise::Tunn;
use rand_core::{OsRng, RngCore};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tcp::stack::{Limits, OpenError};
use tcp::{Config, Handle, Stack, State};

/// Streams, at most.
pub const STREAMS_MAX: usize = 4096;
/// Connections of one port that wait for the application. A thousand at once are taken without a SYN sent again.
const BACKLOG: usize = 1024;
/// Of these, those whose handshake is under way: beyond them SYN cookies are used. Only peers get this far.
const HALF_OPEN: usize = 512;
/// Bytes that one connection buffers in each direction, at most.
const STREAM_BUFFER_BYTES: usize = 8 << 20;
/// Room for one fragment and its padding, before the packet that it is cut from.
const FRAGMENT_SPACE: usize = 2048;
/// IP protocol number of TCP.
const TCP: u8 = 6;
/// And of ICMP, whose errors may be about TCP.
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// Why a stream could not be opened, or a datagram not be sent. The numbers are the contract with `wg/engine.ts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Refusal {
    /// No peer is responsible for the address.
    NoRoute = -1,
    /// Too many streams, no free port, or no room to send.
    Full = -2,
    /// We have no address of that family.
    NoAddress = -3,
    /// The path does not carry a datagram of this size.
    TooBig = -4,
}

/// State bits of a stream, the contract with `wg/engine.ts`; the error is in the next byte.
pub const ESTABLISHED: u32 = 1;
pub const RECEIVE_FINISHED: u32 = 2;
pub const CLOSED: u32 = 4;

/// One engine: the keys, peers and sockets of a node.
pub struct Engine {
    device: Device,
    tcp: Stack,
    udp: Udp,
    control: Control,
    addresses: Vec<IpAddr>,
    streams: Vec<Option<Handle>>,
    stream_of: HashMap<Handle, u32>,
    /// Datagrams to send; the host clears it.
    pub transmit: Transmit,
    /// What happened; the host clears it.
    pub events: Events,
    /// What was dropped.
    pub counters: Counters,
    now: u64,
    mtu: usize,
    /// Where an inner packet is built, with room for padding.
    packet: Box<[u8]>,
    /// The kernel's interface, where this node has one.
    tun: Option<Tun>,
    /// The mesh's policy, where there is one.
    filter: Option<Filter>,
}

impl Engine {
    /// A node's engine. `mtu` is the largest inner packet, at least 1280.
    pub fn new(now: u64, private_key: [u8; 32], mtu: usize) -> Self {
        set_clock(now);
        let config = Config {
            mtu,
            verify_checksums: false, // the AEAD has
            send_buffer_max: STREAM_BUFFER_BYTES,
            receive_buffer_max: STREAM_BUFFER_BYTES,
            ..Config::default()
        };
        let limits = Limits { connections: STREAMS_MAX, backlog: BACKLOG, half_open: HALF_OPEN, ..Limits::default() };
        Engine {
            device: Device::new(private_key, mtu),
            tcp: Stack::new(config, limits, (OsRng.next_u64(), OsRng.next_u64())),
            udp: Udp::default(),
            control: Control::new(now, mtu),
            addresses: Vec::new(),
            streams: Vec::new(),
            stream_of: HashMap::new(),
            transmit: Transmit::default(),
            events: Events::default(),
            counters: Counters::default(),
            now,
            mtu,
            packet: vec![0; FRAGMENT_SPACE + 65_536 + 16].into_boxed_slice(),
            tun: None,
            filter: None,
        }
    }

    /// Moves the clock; it never goes back.
    pub fn set_now(&mut self, now: u64) {
        self.now = self.now.max(now);
        set_clock(self.now);
    }

    /// Our static public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.device.public_key()
    }

    /// Replaces our addresses inside the tunnel; at most [`ADDRESSES_MAX`].
    pub fn set_addresses(&mut self, addresses: &[IpAddr]) -> bool {
        if addresses.len() > ADDRESSES_MAX {
            return false;
        }
        self.addresses = addresses.to_vec();
        self.control.set_addresses(addresses);
        true
    }

    /// Adds a peer.
    pub fn add_peer(&mut self, options: &PeerOptions) -> Option<u32> {
        let slot = self.device.add_peer(options)?;
        if let (Some(_), Some(peer)) = (&self.filter, self.device.peer_mut(slot)) {
            peer.ports = Ports::default(); // until the host says what it may reach
        }
        Some(slot)
    }

    /// Removes a peer.
    pub fn remove_peer(&mut self, peer: u32) {
        self.device.remove_peer(peer);
        if let Some(filter) = &mut self.filter {
            filter.forget_peer(peer);
        }
    }

    /// From now on what peers send is held against what they may reach, and what begins here is remembered. Peers that there are may
    /// reach everything until told otherwise, those to come nothing.
    pub fn filter_open(&mut self) {
        self.filter.get_or_insert_default();
    }

    /// What a peer may reach here from now on.
    pub fn set_ports(&mut self, peer: u32, ranges: &[Range]) {
        if let Some(p) = self.device.peer_mut(peer) {
            p.ports = Ports::of(ranges);
        }
    }

    /// Resets the connections of peers that may not be any longer; how many there were.
    pub fn cut_refused(&mut self) -> usize {
        let Engine { device, tcp, .. } = self;
        tcp.cut_where(|local, remote| {
            device.peer_for(remote.ip()).is_some_and(|(_, peer)| !peer.ports.allow(TCP, local.port()))
        })
    }

    /// How many packets of a peer did not pass, by [`crate::filter::Refusal`].
    pub fn peer_refused(&mut self, peer: u32) -> Option<[f64; REFUSALS]> {
        self.device.peer_mut(peer).map(|p| p.refused)
    }

    /// A peer's endpoint, until it moves.
    pub fn set_endpoint(&mut self, peer: u32, endpoint: Path) {
        if let Some(p) = self.device.peer_mut(peer) {
            p.endpoint = endpoint;
        }
    }

    /// Gives a prefix to a peer.
    pub fn allow(&mut self, peer: u32, address: IpAddr, prefix: u8) -> bool {
        self.device.peer_mut(peer).is_some() && self.device.allowed_ips.insert(address, prefix, peer)
    }

    /// Milliseconds since the last confirmed handshake (-1: none), bytes sent, bytes received, and the endpoint.
    pub fn peer_figures(&mut self, peer: u32) -> Option<([f64; 3], Path)> {
        let now = self.now;
        let p = self.device.peer_mut(peer)?;
        let age = if p.handshake_at == 0 { -1.0 } else { (now - p.handshake_at) as f64 / 1000.0 };
        let (_, sent, received, _, _) = p.tunnel.stats();
        Some(([age, sent as f64, received as f64], p.endpoint))
    }

    /// Sends a fresh initiation.
    pub fn initiate(&mut self, peer: u32) {
        let mut io =
            Io { now: self.now, transmit: &mut self.transmit, events: &mut self.events, counters: &mut self.counters };
        self.device.initiate(&mut io, peer);
    }

    /// Sends a probe along one path; false without a session.
    pub fn probe(&mut self, peer: u32, ask: Ask) -> bool {
        let Engine { device, transmit, events, counters, packet, now, .. } = self;
        device.probe(&mut Io { now: *now, transmit, events, counters }, peer, ask, packet)
    }

    /// Encrypts any packet for a peer.
    #[cfg(test)]
    pub fn send_inner(&mut self, peer: u32, inner: &[u8]) {
        let Engine { device, transmit, events, counters, packet, now, .. } = self;
        packet[..inner.len()].copy_from_slice(inner);
        device.send_to(&mut Io { now: *now, transmit, events, counters }, peer, packet, inner.len());
    }

    /// Takes one datagram from the network.
    pub fn receive(&mut self, from: Path, datagram: &[u8]) {
        let Engine { device, tcp, udp, control, addresses, transmit, events, counters, now, tun, filter, .. } = self;
        let now = *now;
        let mut io = Io { now, transmit, events, counters };
        device.receive(&mut io, from, datagram, &mut |io, mut inbound| {
            let packet = inbound.packet;
            let to = destination(packet).map(|(to, protocol)| (addresses.contains(&to), protocol));
            if let (Some(filter), true) = (&mut *filter, to.is_some_and(|(ours, _)| ours || tun.is_some())) {
                if !filter.admit(now, &mut inbound, tcp, (io.counters, io.events)) {
                    return;
                }
            }
            let icmp = matches!(to, Some((true, ICMP | ICMP_V6)));
            if icmp && (tcp.handle_icmp(now, packet) || udp.handle_icmp(io.counters, packet)) {
                return;
            }
            let owner = match (to, &tun) {
                (None, _) | (Some((false, _)), None) => return io.counters.add(Counter::NotForUs),
                (Some((false, _)), Some(_)) => Owner::Kernel,
                (Some(_), Some(_)) => owner(packet, tcp, udp),
                (Some((_, TCP)), None) => Owner::Tcp,
                (Some(_), None) => Owner::Datagrams,
            };
            match owner {
                Owner::Tcp => {
                    tcp.handle_packet(now, packet);
                }
                Owner::Datagrams => {
                    if !udp.receive(io.counters, packet) {
                        control.receive(io.counters, packet);
                    }
                }
                Owner::Kernel => {
                    if !tun.as_mut().is_some_and(|t| t.output.push(packet)) {
                        io.counters.add(Counter::TunFull);
                    }
                }
            }
        });
    }

    /// Begins to serve a kernel interface. `udp`: whether it takes joined datagrams. Userspace connections go out from the
    /// `ports` ports from `first_port` on, which are to be none of the kernel's.
    pub fn tun_open(&mut self, udp: bool, first_port: u16, ports: u16) {
        self.tun = Some(Tun::new(udp));
        self.tcp.set_ephemeral_ports(first_port, ports);
    }

    /// The kernel's interface.
    pub fn tun(&mut self) -> Option<&mut Tun> {
        self.tun.as_mut()
    }

    /// Whether what was received for the kernel must be written before more is received.
    pub fn tun_full(&self) -> bool {
        self.tun.as_ref().is_some_and(|t| t.output.is_full())
    }

    /// Sends the packet of `length` bytes that the host has read from the kernel's interface, virtio header first. True while
    /// the transmit buffer has room for another.
    pub fn tun_send(&mut self, length: usize) -> bool {
        let Engine { device, addresses, transmit, events, counters, packet, now, tun, filter, .. } = self;
        let mut io = Io { now: *now, transmit, events, counters };
        let Some(tun) = tun else { return false };
        let Some(split) = tun.input.get(..length).and_then(Split::parse) else {
            io.counters.add(Counter::TunMalformed);
            return true;
        };
        let (from, to) = tun::ends(split.packet());
        if !addresses.contains(&from) {
            io.counters.add(Counter::TunSource);
            return true;
        }
        let Some((slot, peer)) = device.peer_for(to) else {
            io.counters.add(Counter::NoRoute);
            tun.refuse(*now, length, Reason::Nobody);
            return true;
        };
        if udp_destination(split.packet()).is_some_and(|to| peer.endpoint.remote == to.into()) {
            // Encrypted, it would come here again, for ever.
            io.counters.add(Counter::TunLoop);
            return true;
        }
        if let Some(mtu) = tun::smaller(&split, peer.tun_mtu) {
            io.counters.add(Counter::TunTooBig);
            tun.refuse(*now, length, Reason::TooBig(mtu));
            return true;
        }
        let mtu = peer.tun_mtu;
        if let Some(filter) = filter {
            filter.note_leaving(*now, slot, split.packet(), io.counters);
        }
        if split.longest() <= mtu {
            for i in 0..split.count() {
                let n = split.write(i, packet);
                device.send_to(&mut io, slot, packet, n);
            }
            return self.transmit.has_room();
        }
        // Nobody could be asked for less: the path is narrower than what every host may send.
        let (packet, whole) = packet.split_at_mut(FRAGMENT_SPACE);
        let mtu = mtu.min(FRAGMENT_SPACE - 16);
        for i in 0..split.count() {
            let n = split.write(i, whole);
            let Some(fragments) = Fragments::of(&whole[..n], mtu, tun.fragmented) else {
                device.send_to(&mut io, slot, whole, n);
                continue;
            };
            tun.fragmented = tun.fragmented.wrapping_add(1);
            io.counters.add(Counter::TunFragmented);
            for k in 0..fragments.count() {
                let n = fragments.write(k, packet);
                device.send_to(&mut io, slot, packet, n);
            }
        }
        self.transmit.has_room()
    }

    /// Runs timers and stacks and encrypts what they want to send. True when the transmit buffer is full before
    /// everything was said: flush it and call again.
    pub fn poll(&mut self) -> bool {
        let Engine { device, tcp, control, transmit, events, counters, packet, now, filter, .. } = self;
        let now = *now;
        device.tick(&mut Io { now, transmit, events, counters });
        if let Some(filter) = &mut *filter {
            while let Some((slot, n)) = filter.take_reply(packet) {
                device.send_to(&mut Io { now, transmit, events, counters }, slot, packet, n);
            }
        }
        control.poll(now, counters, events, |counters, events, p| {
            let n = p.len().min(packet.len() - 16);
            packet[..n].copy_from_slice(&p[..n]);
            let Some((slot, _)) = Tunn::dst_address(&p).and_then(|to| device.peer_for(to)) else {
                return counters.add(Counter::NoRoute);
            };
            if let Some(filter) = &mut *filter {
                filter.note_leaving(now, slot, &packet[..n], counters);
            }
            device.send_to(&mut Io { now, transmit, events, counters }, slot, packet, n);
        });
        if transmit.has_room() {
            tcp.poll_transmit(now, |burst| {
                for i in 0..burst.count() {
                    let n = burst.write(i, packet);
                    device.send(&mut Io { now, transmit, events, counters }, packet, n);
                }
                transmit.has_room()
            });
        }
        self.report();
        !self.transmit.has_room()
    }

    /// Tells the host which streams changed.
    fn report(&mut self) {
        while let Some((port, handle)) = self.tcp.accept_any() {
            let remote = self.tcp.get(handle).map(|c| c.remote);
            match (remote, self.insert(handle)) {
                (Some(remote), Some(id)) => {
                    let event =
                        Event { a: id, b: u32::from(port), address: remote.into(), ..Event::new(Kind::Accepted) };
                    self.events.push(&mut self.counters, event);
                }
                _ => self.tcp.abort(handle),
            }
        }
        while let Some(handle) = self.tcp.poll_activity() {
            if let Some(id) = self.stream_of.get(&handle) {
                self.events.push(&mut self.counters, Event { a: *id, ..Event::new(Kind::Stream) });
            }
        }
    }

    fn insert(&mut self, handle: Handle) -> Option<u32> {
        let id = self.streams.iter().position(Option::is_none).unwrap_or(self.streams.len());
        if id >= STREAMS_MAX {
            return None;
        }
        if id == self.streams.len() {
            self.streams.push(Some(handle));
        } else {
            self.streams[id] = Some(handle);
        }
        self.stream_of.insert(handle, id as u32);
        if let Some(connection) = self.tcp.get_mut(handle) {
            if let Some((_, peer)) = self.device.peer_for(connection.remote.ip()) {
                connection.set_mtu(self.now, peer.mtu);
            }
        }
        Some(id as u32)
    }

    /// When [`poll`](Self::poll) wants to be called, in microseconds; `None` for never.
    pub fn poll_timeout(&mut self) -> Option<u64> {
        let stacks = [self.tcp.poll_timeout(), self.control.poll_timeout(self.now), self.device.next_tick()];
        stacks.into_iter().flatten().min()
    }

    /// Opens a TCP connection.
    pub fn connect(&mut self, remote: SocketAddr) -> Result<u32, Refusal> {
        if self.device.allowed_ips.find(remote.ip()).is_none() {
            return Err(Refusal::NoRoute);
        }
        let local =
            self.addresses.iter().find(|a| a.is_ipv4() == remote.is_ipv4()).copied().ok_or(Refusal::NoAddress)?;
        let handle = self.tcp.connect(self.now, local, remote).map_err(|e| match e {
            OpenError::Full | OpenError::NoPort | OpenError::InUse => Refusal::Full,
        })?;
        self.insert(handle).ok_or_else(|| {
            self.tcp.abort(handle);
            Refusal::Full
        })
    }

    /// Listens on a TCP port; false when it is taken or there are too many.
    pub fn listen(&mut self, port: u16) -> bool {
        port != 0 && self.tcp.listen(port)
    }

    /// Stops listening.
    pub fn unlisten(&mut self, port: u16) {
        self.tcp.unlisten(port);
    }

    fn handle(&self, id: u32) -> Option<Handle> {
        *self.streams.get(id as usize)?
    }

    /// State bits, and the error in bits 8 to 15: 1 refused, 2 reset, 3 timed out, 4 aborted, 5 prohibited.
    pub fn stream_state(&self, id: u32) -> u32 {
        let Some(c) = self.handle(id).and_then(|h| self.tcp.get(h)) else { return CLOSED };
        let mut bits = if c.is_established() { ESTABLISHED } else { 0 };
        bits |= if c.receive_finished() { RECEIVE_FINISHED } else { 0 };
        bits |= if c.state() == State::Closed { CLOSED } else { 0 };
        bits | c.error().map_or(0, |e| match e {
            tcp::Error::Refused => 1 << 8,
            tcp::Error::Reset => 2 << 8,
            tcp::Error::TimedOut => 3 << 8,
            tcp::Error::Aborted => 4 << 8,
            tcp::Error::Prohibited => 5 << 8,
        })
    }

    /// Our end of a stream.
    pub fn stream_local(&self, id: u32) -> Option<SocketAddr> {
        self.handle(id).and_then(|h| self.tcp.get(h)).map(|c| c.local)
    }

    /// What can be read in place.
    pub fn stream_peek(&self, id: u32) -> (&[u8], &[u8]) {
        self.handle(id).and_then(|h| self.tcp.get(h)).map_or((&[], &[]), |c| c.peek())
    }

    /// Takes what was read.
    pub fn stream_consume(&mut self, id: u32, n: usize) {
        let now = self.now;
        if let Some(c) = self.handle(id).and_then(|h| self.tcp.get_mut(h)) {
            c.consume(now, n.min(c.receive_ready()));
        }
    }

    /// Queues bytes; how many were taken.
    pub fn stream_send(&mut self, id: u32, data: &[u8]) -> usize {
        self.handle(id).and_then(|h| self.tcp.get_mut(h)).map_or(0, |c| c.send(data))
    }

    /// The first contiguous free part of the send buffer, for bytes that [`stream_commit`](Self::stream_commit) queues.
    pub fn stream_space(&mut self, id: u32) -> &mut [u8] {
        self.handle(id).and_then(|h| self.tcp.get_mut(h)).map_or(&mut [], |c| c.send_space())
    }

    /// Queues the first `n` bytes of [`stream_space`](Self::stream_space), at most all of it.
    pub fn stream_commit(&mut self, id: u32, n: usize) {
        if let Some(c) = self.handle(id).and_then(|h| self.tcp.get_mut(h)) {
            c.send_commit(n);
        }
    }

    /// Ends our direction.
    pub fn stream_shutdown(&mut self, id: u32) {
        if let Some(c) = self.handle(id).and_then(|h| self.tcp.get_mut(h)) {
            c.shutdown();
        }
    }

    /// The path to a peer carries inner packets of `mtu` bytes now: streams follow, up and down within the engine's own largest
    /// packet, and send again what was larger. The kernel may send it packets of `tun_mtu` bytes.
    pub fn set_peer_mtu(&mut self, peer: u32, mtu: usize, tun_mtu: usize) {
        let Some(p) = self.device.peer_mut(peer) else { return };
        p.mtu = mtu;
        p.tun_mtu = tun_mtu;
        let Engine { device, tcp, now, .. } = self;
        tcp.set_path_mtu_where(*now, mtu, |remote| device.allowed_ips.find(remote) == Some(peer));
    }

    /// The path to a peer carries packets again after silence: its streams send at once what has timed out.
    pub fn resume_streams(&mut self, peer: u32) {
        let Engine { device, tcp, now, .. } = self;
        tcp.resume_where(*now, |remote| device.allowed_ips.find(remote) == Some(peer));
    }

    /// Lets go of a stream: in order, or with a reset.
    pub fn stream_release(&mut self, id: u32, abort: bool) {
        let Some(handle) = self.streams.get_mut(id as usize).and_then(Option::take) else { return };
        self.stream_of.remove(&handle);
        if abort {
            self.tcp.abort(handle);
        } else {
            self.tcp.release(self.now, handle);
        }
    }

    /// Sends an echo request.
    pub fn echo(&mut self, to: IpAddr, sequence: u16, length: usize) -> bool {
        self.device.allowed_ips.find(to).is_some() && self.control.echo(to, sequence, length)
    }

    /// UDP ports.
    pub fn udp(&mut self) -> &mut Udp {
        &mut self.udp
    }

    /// Where the host writes the payload of a datagram before [`udp_send`](Self::udp_send).
    pub fn udp_payload(&mut self) -> &mut [u8] {
        &mut self.packet[udp::HEADROOM..]
    }

    /// The longest payload that a datagram to `to` may have now.
    pub fn udp_limit(&mut self, to: IpAddr) -> Result<usize, Refusal> {
        self.udp_route(to).map(|(_, _, limit)| limit)
    }

    /// Our address, the peer, and the longest payload.
    fn udp_route(&mut self, to: IpAddr) -> Result<(IpAddr, u32, usize), Refusal> {
        let (slot, peer) = self.device.peer_for(to).ok_or(Refusal::NoRoute)?;
        let local = self.addresses.iter().find(|a| a.is_ipv4() == to.is_ipv4()).ok_or(Refusal::NoAddress)?;
        Ok((*local, slot, peer.mtu.min(self.mtu).saturating_sub(udp::overhead(to))))
    }

    /// Sends the first `length` bytes of [`udp_payload`](Self::udp_payload) from an open port.
    pub fn udp_send(&mut self, port: u16, to: SocketAddr, length: usize) -> Result<(), Refusal> {
        let (local, slot, limit) = self.udp_route(to.ip())?;
        if length > limit {
            return Err(Refusal::TooBig);
        }
        if !self.transmit.has_room() {
            return Err(Refusal::Full);
        }
        let Engine { device, transmit, events, counters, packet, now, filter, .. } = self;
        let (start, length) = udp::write_headers(packet, SocketAddr::new(local, port), to, length);
        if let Some(filter) = filter {
            filter.note_leaving(*now, slot, &packet[start..start + length], counters);
        }
        device.send_to(&mut Io { now: *now, transmit, events, counters }, slot, &mut packet[start..], length);
        Ok(())
    }
}

/// boringtun reads this clock.
fn set_clock(now: u64) {
    mock_instant::MockClock::set_time(Duration::from_micros(now));
}

/// Where an inner packet goes and its protocol; `None` for what is no IP packet.
fn destination(packet: &[u8]) -> Option<(IpAddr, u8)> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => {
            let to: [u8; 4] = packet[16..20].try_into().ok()?;
            Some((IpAddr::from(to), packet[9]))
        }
        6 if packet.len() >= 40 => {
            let to: [u8; 16] = packet[24..40].try_into().ok()?;
            Some((IpAddr::from(to), packet[6]))
        }
        _ => None,
    }
}
