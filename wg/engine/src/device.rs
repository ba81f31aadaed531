//! The device layer that boringtun lacks outside its own `device` module: peers by key and by receiver index,
//! AllowedIPs, handshakes of strangers, limits, endpoints.

use crate::allowed_ips::AllowedIps;
use crate::counter::{Counter, Counters};
use crate::event::{Event, Events, Kind, Path};
use crate::filter::Inbound;
use crate::handshake_limit::HandshakeLimit;
use crate::peer::{Peer, Roaming};
use crate::probe::{self, Probe};
use crate::recent_initiations::RecentInitiations;
use crate::transmit::{Transmit, DATA, INITIATION, RESPONSE};
use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use rand_core::{OsRng, RngCore};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// Peers, at most.
pub const PEERS_MAX: usize = 10_000;
/// Handshake messages a second before cookies are asked for, over all sources.
const LOAD_PER_SECOND: u64 = 100;
/// boringtun's timers have no next deadline; they are looked at this often.
pub const TICK_US: u64 = 250_000;
/// No UDP datagram is longer.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Inner packets are padded to a multiple of this (WireGuard paper, section 5.4.6).
const PADDING: usize = 16;

/// What a peer is made of.
pub struct PeerOptions {
    /// Static public key.
    pub public_key: [u8; 32],
    /// Preshared key.
    pub preshared_key: Option<[u8; 32]>,
    /// Seconds, 0 for none.
    pub keepalive_seconds: u16,
    /// How the endpoint moves.
    pub roaming: Roaming,
}

/// Hashes a receiver index by itself: we have drawn the indices in the table, so nobody can make them collide.
#[derive(Default)]
struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn finish(&self) -> u64 {
        // The table takes the place from the low bits and a tag from the top ones.
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u32(u32::from(*b)));
    }

    fn write_u32(&mut self, i: u32) {
        self.0 = self.0 << 8 ^ u64::from(i);
    }
}

/// A probe to send.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Along which path.
    pub path: Path,
    /// What the reply will say.
    pub sequence: u32,
    /// Length of the inner packet.
    pub bytes: usize,
}

/// What a call works with besides the device.
pub struct Io<'a> {
    /// Microseconds on the host's monotonic clock.
    pub now: u64,
    /// Datagrams out.
    pub transmit: &'a mut Transmit,
    /// Events out.
    pub events: &'a mut Events,
    /// Counts.
    pub counters: &'a mut Counters,
}

/// Peers and keys.
pub struct Device {
    private_key: StaticSecret,
    public_key: PublicKey,
    peers: Vec<Option<Peer>>,
    by_key: HashMap<[u8; 32], u32>,
    /// From the upper 24 bits of a receiver index.
    by_index: HashMap<u32, u32, BuildHasherDefault<IndexHasher>>,
    /// Who may be where inside the tunnel.
    pub allowed_ips: AllowedIps,
    limit: HandshakeLimit,
    recent: RecentInitiations,
    load: RateLimiter,
    /// boringtun checks every handshake again; the decision has been made by then.
    unlimited: Arc<RateLimiter>,
    ticked_at: u64,
    /// Our address for probes.
    link_local: [u8; 16],
    /// Largest inner packet.
    mtu: usize,
    /// Where a datagram is decrypted to.
    plain: Box<[u8]>,
}

impl Device {
    /// A device without peers.
    pub fn new(private_key: [u8; 32], mtu: usize) -> Self {
        let private_key = StaticSecret::from(private_key);
        let public_key = PublicKey::from(&private_key);
        Device {
            load: RateLimiter::new(&public_key, LOAD_PER_SECOND),
            unlimited: Arc::new(RateLimiter::new(&public_key, u64::MAX)),
            link_local: probe::link_local(public_key.as_bytes()),
            private_key,
            public_key,
            peers: Vec::new(),
            by_key: HashMap::new(),
            by_index: HashMap::default(),
            allowed_ips: AllowedIps::default(),
            limit: HandshakeLimit::default(),
            recent: RecentInitiations::default(),
            ticked_at: 0,
            mtu,
            plain: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
        }
    }

    /// Our static public key.
    pub fn public_key(&self) -> [u8; 32] {
        *self.public_key.as_bytes()
    }

    /// Adds a peer; `None` when it exists, is ourselves, or there are too many.
    pub fn add_peer(&mut self, options: &PeerOptions) -> Option<u32> {
        let full = self.by_key.len() >= PEERS_MAX;
        if full || options.public_key == self.public_key() || self.by_key.contains_key(&options.public_key) {
            return None;
        }
        let index = loop {
            let index = OsRng.next_u32() >> 8;
            if !self.by_index.contains_key(&index) {
                break index;
            }
        };
        let keepalive = (options.keepalive_seconds > 0).then_some(options.keepalive_seconds);
        let key = PublicKey::from(options.public_key);
        let tunnel = Tunn::new(
            self.private_key.clone(),
            key,
            options.preshared_key,
            keepalive,
            index,
            Some(self.unlimited.clone()),
        );
        let peer = Peer::new(tunnel, options.public_key, index, options.roaming, options.keepalive_seconds);
        let slot = match self.peers.iter().position(Option::is_none) {
            Some(free) => {
                self.peers[free] = Some(peer);
                free
            }
            None => {
                self.peers.push(Some(peer));
                self.peers.len() - 1
            }
        };
        self.by_key.insert(options.public_key, slot as u32);
        self.by_index.insert(index, slot as u32);
        Some(slot as u32)
    }

    /// Forgets a peer, its sessions and its AllowedIPs.
    pub fn remove_peer(&mut self, slot: u32) {
        if let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::take) {
            self.by_key.remove(&peer.public_key);
            self.by_index.remove(&peer.index);
            self.allowed_ips.remove_peer(slot);
            // The peer may be added again, and what it sends then is new to it.
            self.recent = RecentInitiations::default();
        }
    }

    /// A peer by its number.
    pub fn peer_mut(&mut self, slot: u32) -> Option<&mut Peer> {
        self.peers.get_mut(slot as usize)?.as_mut()
    }

    /// Takes a datagram from the network. An inner packet goes to `inner` with its peer.
    pub fn receive(&mut self, io: &mut Io, from: Path, datagram: &[u8], inner: &mut dyn FnMut(&mut Io, Inbound)) {
        let Some(source) = from.remote.ip_address() else { return io.counters.add(Counter::Malformed) };
        let slot = match Tunn::parse_incoming_packet(datagram) {
            Err(_) => return io.counters.add(Counter::Malformed),
            Ok(Packet::HandshakeInit(_)) => match self.admit_initiation(io, from, source, datagram) {
                Some(slot) => slot,
                None => return,
            },
            Ok(Packet::HandshakeResponse(p)) => {
                if !self.pass_limits(io, from, source, datagram) {
                    return;
                }
                match self.by_index.get(&(p.receiver_idx >> 8)) {
                    Some(slot) => *slot,
                    None => return io.counters.add(Counter::UnknownIndex),
                }
            }
            Ok(Packet::PacketCookieReply(p)) => match self.by_index.get(&(p.receiver_idx >> 8)) {
                Some(slot) => *slot,
                None => return io.counters.add(Counter::UnknownIndex),
            },
            Ok(Packet::PacketData(p)) => match self.by_index.get(&(p.receiver_idx >> 8)) {
                Some(slot) => *slot,
                None => return io.counters.add(Counter::UnknownIndex),
            },
        };
        self.decrypt(io, slot, from, source, datagram, inner);
    }

    /// The limits in front of the expensive part of a handshake. Also checks MAC1.
    fn pass_limits(&mut self, io: &mut Io, from: Path, source: IpAddr, datagram: &[u8]) -> bool {
        if !self.limit.allow(io.now, source) {
            io.counters.add(Counter::HandshakeLimited);
            return false;
        }
        let mut cookie = [0; 64];
        match self.load.verify_packet(Some(source), datagram, &mut cookie) {
            Ok(_) => true,
            Err(TunnResult::WriteToNetwork(reply)) => {
                io.counters.add(Counter::CookieSent);
                if let Some(space) = io.transmit.space(io.counters, reply.len()) {
                    space[..reply.len()].copy_from_slice(reply);
                    io.transmit.commit(reply.len(), -1, from);
                }
                false
            }
            Err(_) => {
                io.counters.add(Counter::BadMac);
                false
            }
        }
    }

    /// Whose initiation it is; strangers are reported to the host.
    fn admit_initiation(&mut self, io: &mut Io, from: Path, source: IpAddr, datagram: &[u8]) -> Option<u32> {
        if self.recent.contains(datagram) {
            io.counters.add(Counter::Replayed);
            return None;
        }
        if !self.pass_limits(io, from, source, datagram) {
            return None;
        }
        let Ok(Packet::HandshakeInit(initiation)) = Tunn::parse_incoming_packet(datagram) else { return None };
        let Ok(half) = parse_handshake_anon(&self.private_key, &self.public_key, &initiation) else {
            io.counters.add(Counter::BadInitiation);
            return None;
        };
        let slot = self.by_key.get(&half.peer_static_public).copied();
        if slot.is_none() {
            io.counters.add(Counter::UnknownPeer);
            let key = half.peer_static_public;
            let event = Event { address: from.remote, b: u32::from(from.local), key, ..Event::new(Kind::UnknownPeer) };
            io.events.push(io.counters, event);
        }
        slot
    }

    fn decrypt(
        &mut self,
        io: &mut Io,
        slot: u32,
        from: Path,
        source: IpAddr,
        datagram: &[u8],
        inner: &mut dyn FnMut(&mut Io, Inbound),
    ) {
        let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let (source, length) = match peer.tunnel.decapsulate(Some(source), datagram, &mut self.plain) {
            TunnResult::Err(e) => return io.counters.add(counter_of(&e)),
            TunnResult::WriteToNetwork(reply) => {
                // An initiation or a response has been authenticated. It may still be a copy from elsewhere that overtook the peer's own.
                peer.seen_at(from);
                if datagram[0] == INITIATION {
                    self.recent.accept(datagram);
                    peer.answered(index_at(reply));
                }
                if let Some(space) = io.transmit.space(io.counters, reply.len()) {
                    space[..reply.len()].copy_from_slice(reply);
                    io.transmit.commit(reply.len(), slot as i32, from);
                }
                if datagram[0] == RESPONSE {
                    established(peer, slot, io, from);
                }
                return self.flush(io, slot);
            }
            TunnResult::Done => {
                // A keepalive, or a cookie, which does not tell where the peer is.
                if datagram[0] == DATA {
                    heard(peer, slot, io, from, peer.confirms(index_at(datagram)));
                    self.flush(io, slot);
                }
                return;
            }
            TunnResult::WriteToTunnelV4(packet, ip) => (IpAddr::V4(ip), packet.len()),
            TunnResult::WriteToTunnelV6(packet, ip) => (IpAddr::V6(ip), packet.len()),
        };
        let confirms = peer.confirms(index_at(datagram));
        let is_probe = matches!(source, IpAddr::V6(ip) if ip.octets() == peer.link_local);
        heard(peer, slot, io, from, confirms);
        if confirms {
            self.flush(io, slot);
        }
        if is_probe {
            return self.take_probe(io, slot, from, length);
        }
        if self.allowed_ips.find(source) != Some(slot) {
            return io.counters.add(Counter::SourceNotAllowed);
        }
        let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        inner(io, Inbound { packet: &self.plain[..length], slot, peer, allowed_ips: &self.allowed_ips });
    }

    /// A packet of `length` bytes in the plain buffer is from the peer's link-local address. A request is answered at once to where it came
    /// from, and in short: the way back need not carry what the way here did.
    fn take_probe(&mut self, io: &mut Io, slot: u32, from: Path, length: usize) {
        let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        match Probe::parse(&self.plain[..length], &self.link_local) {
            None => io.counters.add(Counter::ProbeRefused),
            Some(Probe::Reply(sequence)) => {
                io.events.push(io.counters, Event { a: sequence, ..Event::from(Kind::ProbeReply, slot, from) });
            }
            Some(Probe::Request(_)) if !peer.answers.take(io.now) => io.counters.add(Counter::ProbeLimited),
            Some(Probe::Request(sequence)) => {
                if !std::mem::replace(&mut peer.probed, true) {
                    io.events.push(io.counters, Event::from(Kind::Probed, slot, from));
                }
                let mut reply = [0; probe::PROBE_BYTES_MIN];
                Probe::Reply(sequence).write(&self.link_local, &peer.link_local, &mut reply);
                let Some(space) = io.transmit.space(io.counters, reply.len()) else { return };
                if let TunnResult::WriteToNetwork(out) = peer.tunnel.encapsulate(&reply, space) {
                    let length = out.len();
                    io.transmit.commit_probe(length, slot as i32, from);
                }
            }
        }
    }

    /// Sends a probe that is `bytes` long inside along one path; false without a session, and where that cannot be. `packet` is where
    /// it is built.
    pub fn probe(&mut self, io: &mut Io, slot: u32, Ask { path, sequence, bytes }: Ask, packet: &mut [u8]) -> bool {
        let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::as_mut) else { return false };
        let possible = (probe::PROBE_BYTES_MIN..=probe::PROBE_BYTES_MAX).contains(&bytes) && path.remote.family != 0;
        if !possible || peer.tunnel.time_since_last_handshake().is_none() {
            return false;
        }
        let Some(space) = io.transmit.space(io.counters, bytes) else { return false };
        Probe::Request(sequence).write(&self.link_local, &peer.link_local, &mut packet[..bytes]);
        let TunnResult::WriteToNetwork(out) = peer.tunnel.encapsulate(&packet[..bytes], space) else { return false };
        let length = out.len();
        io.transmit.commit_probe(length, slot as i32, path);
        true
    }

    /// Sends what waited for the session. The plain buffer may hold a packet, so this writes straight to the transmit buffer.
    fn flush(&mut self, io: &mut Io, slot: u32) {
        let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        while io.transmit.has_room() {
            let Some(space) = io.transmit.space(io.counters, self.mtu + PADDING) else { return };
            let TunnResult::WriteToNetwork(out) = peer.tunnel.decapsulate(None, &[], space) else { return };
            let (length, kind) = (out.len(), out[0]);
            emit(peer, slot, io, length, kind);
        }
    }

    /// Who is responsible for an inner address.
    pub fn peer_for(&mut self, inner: IpAddr) -> Option<(u32, &Peer)> {
        let slot = self.allowed_ips.find(inner)?;
        self.peer_mut(slot).map(|p| (slot, &*p))
    }

    /// Encrypts an inner packet for whoever is responsible for its destination. `packet` has room for the padding
    /// behind its `length` bytes.
    pub fn send(&mut self, io: &mut Io, packet: &mut [u8], length: usize) {
        let Some(slot) = Tunn::dst_address(&packet[..length]).and_then(|ip| self.allowed_ips.find(ip)) else {
            return io.counters.add(Counter::NoRoute);
        };
        self.send_to(io, slot, packet, length);
    }

    /// As [`send`](Self::send), for a peer that is known to be responsible.
    pub fn send_to(&mut self, io: &mut Io, slot: u32, packet: &mut [u8], length: usize) {
        let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let padded = length.next_multiple_of(PADDING).min(self.mtu.min(peer.mtu).max(length)).min(packet.len());
        packet[length..padded].fill(0);
        let Some(space) = io.transmit.space(io.counters, padded) else { return };
        if let TunnResult::WriteToNetwork(out) = peer.tunnel.encapsulate(&packet[..padded], space) {
            let (length, kind) = (out.len(), out[0]);
            emit(peer, slot, io, length, kind);
        }
    }

    /// Begins a handshake with a fresh initiation, even if one is under way.
    pub fn initiate(&mut self, io: &mut Io, slot: u32) {
        let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        initiate(peer, slot, io);
    }

    /// boringtun's timers, for every peer, when due.
    pub fn tick(&mut self, io: &mut Io) {
        if io.now < self.ticked_at + TICK_US && self.ticked_at != 0 {
            return;
        }
        self.ticked_at = io.now;
        self.load.reset_count();
        for slot in 0..self.peers.len() {
            let Some(peer) = self.peers[slot].as_mut() else { continue };
            let slot = slot as u32;
            let Some(space) = io.transmit.space(io.counters, 0) else { return };
            match peer.tunnel.update_timers(space) {
                TunnResult::WriteToNetwork(out) => {
                    let (length, kind) = (out.len(), out[0]);
                    emit(peer, slot, io, length, kind);
                }
                TunnResult::Err(WireGuardError::ConnectionExpired) => {
                    if peer.revive_at == 0 {
                        peer.gave_up(io.now);
                    }
                    // A peer with a keepalive is tried for ever, as the kernel does.
                    if peer.roaming == Roaming::Stock && peer.keepalive_seconds > 0 && io.now >= peer.revive_at {
                        peer.revive_at = 0;
                        initiate(peer, slot, io);
                    }
                }
                _ => {
                    if peer.retry_due(io.now) {
                        initiate(peer, slot, io);
                    }
                }
            }
        }
    }

    /// When [`tick`](Self::tick) wants to be called; `None` without peers.
    pub fn next_tick(&self) -> Option<u64> {
        (!self.by_key.is_empty()).then_some(self.ticked_at + TICK_US)
    }
}

fn initiate(peer: &mut Peer, slot: u32, io: &mut Io) {
    let Some(space) = io.transmit.space(io.counters, 0) else { return };
    if let TunnResult::WriteToNetwork(out) = peer.tunnel.format_handshake_initiation(space, true) {
        let (length, kind) = (out.len(), out[0]);
        emit(peer, slot, io, length, kind);
    }
}

/// Commits what boringtun wrote for a peer. Only an initiation may go without an endpoint: the host knows where to.
fn emit(peer: &mut Peer, slot: u32, io: &mut Io, length: usize, kind: u8) {
    if kind == INITIATION {
        peer.initiation_sent(io.now);
    } else if peer.endpoint.remote.family == 0 {
        return io.counters.add(Counter::NoEndpoint);
    }
    io.transmit.commit(length, slot as i32, peer.endpoint);
}

fn counter_of(error: &WireGuardError) -> Counter {
    match error {
        WireGuardError::InvalidCounter | WireGuardError::DuplicateCounter | WireGuardError::WrongTai64nTimestamp => {
            Counter::Replayed
        }
        WireGuardError::InvalidMac => Counter::BadMac,
        _ => Counter::Refused,
    }
}

fn established(peer: &mut Peer, slot: u32, io: &mut Io, from: Path) {
    peer.seen_at(from);
    peer.handshake_done(io.now, from);
    io.events.push(io.counters, Event::from(Kind::Handshake, slot, from));
}

/// A data packet was authenticated; `confirms`: the first one in a session that we answered.
fn heard(peer: &mut Peer, slot: u32, io: &mut Io, from: Path, confirms: bool) {
    peer.seen_at(from);
    if confirms {
        return established(peer, slot, io, from);
    }
    if peer.heard_along(io.now, from) {
        io.events.push(io.counters, Event::from(Kind::Heard, slot, from));
    }
}

/// Bytes 4 to 8 of a message: the receiver index of data, the sender index of a response.
fn index_at(message: &[u8]) -> u32 {
    message.get(4..8).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}
