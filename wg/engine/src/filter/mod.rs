//! The mesh's policy at the receiver: what a peer sends is held against what it may reach, after decryption and before any stack or
//! the kernel gets it (DESIGN.md 2.7).
//!
//! Answers pass: to TCP connections that the userspace network opened, which its own stack knows; to everything else that began
//! here, which is remembered as a [`flows::Flow`]; and ICMP errors about what was sent. What a peer began at a port that it may
//! reach is remembered too, so that an answer to it is never taken for a beginning of ours.
//!
//! Lifetimes are those of RFC 6146 section 4, RFC 4787 REQ-5 and RFC 5508 REQ-1.

pub mod flows;
pub mod packet;
pub mod ports;
#[cfg(test)]
mod tests;

use crate::allowed_ips::AllowedIps;
use crate::counter::{Counter, Counters};
use crate::event::{Address, Event, Events, Kind};
use crate::peer::Peer;
use crate::tun::unreachable::{self, ERROR_BYTES_MAX};
use flows::{Flows, Key, Noted};
use packet::{Icmp, Packet, Part, TCP, UDP};
use std::collections::VecDeque;
use tcp::segment::{ACK, FIN, RST, SYN};
use tcp::Stack;

/// Flows that began here, at most, and those that peers began.
const OPENED_MAX: usize = 16_384;
const ENTERED_MAX: usize = 8192;
/// Datagrams of which fragments are awaited, at most.
const FRAGMENTED_MAX: usize = 1024;
/// Errors that wait to be sent, at most; the newest is dropped, since who sent the packet will try again.
const ERRORS_MAX: usize = 256;

const SECOND_US: u64 = 1_000_000;
/// A TCP connection that is established, and one that begins or has ended (RFC 6146: TCP_EST and TCP_TRANS).
const TCP_US: u64 = 7_440 * SECOND_US;
const TCP_TRANSITORY_US: u64 = 240 * SECOND_US;
/// UDP and what has no ports (RFC 4787 REQ-5).
const UDP_US: u64 = 300 * SECOND_US;
/// An echo (RFC 5508 REQ-1).
const ECHO_US: u64 = 60 * SECOND_US;
/// How long fragments of a datagram may come (RFC 8200 section 4.5).
const FRAGMENTS_US: u64 = 60 * SECOND_US;
/// What cannot begin later than in the second fragment: a TCP header without options (RFC 3128).
const TCP_HEADER_BYTES: usize = 20;
/// The host is told of a peer's refused packets at most this often.
const TOLD_US: u64 = SECOND_US;

/// Why a packet does not pass. The numbers are the contract with `wg/engine.ts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Refusal {
    /// The policy does not let the peer reach that.
    Policy = 0,
    /// A fragment of a datagram whose beginning did not pass, or has not come.
    Fragment = 1,
    /// Its ports cannot be read.
    Malformed = 2,
    /// An answer or an error that belongs to nothing.
    Stray = 3,
}

/// How many there are.
pub const REFUSALS: usize = 4;

/// A packet from a peer on its way in.
pub struct Inbound<'a> {
    /// The packet.
    pub packet: &'a [u8],
    /// The peer's number.
    pub slot: u32,
    /// The peer.
    pub peer: &'a mut Peer,
    /// Whose addresses are whose.
    pub allowed_ips: &'a AllowedIps,
}

/// An ICMP error for a peer.
struct Reply {
    slot: u32,
    packet: [u8; ERROR_BYTES_MAX],
    length: usize,
}

/// The filter of a node.
pub struct Filter {
    opened: Flows,
    entered: Flows,
    fragmented: Flows,
    replies: VecDeque<Reply>,
}

impl Default for Filter {
    fn default() -> Self {
        Filter {
            opened: Flows::new(OPENED_MAX),
            entered: Flows::new(ENTERED_MAX),
            fragmented: Flows::new(FRAGMENTED_MAX),
            replies: VecDeque::new(),
        }
    }
}

/// Whether it is TCP, as most packets are: without options, extension headers and fragments.
fn is_plain_tcp(packet: &[u8]) -> bool {
    match packet {
        [first, ..] if first >> 4 == 4 => packet.get(9) == Some(&TCP),
        [first, ..] if first >> 4 == 6 => packet.get(6) == Some(&TCP),
        _ => false,
    }
}

impl Filter {
    /// Whether a packet from a peer may pass. What may not is counted, told and answered.
    pub fn admit(
        &mut self,
        now: u64,
        inbound: &mut Inbound,
        tcp: &mut Stack,
        out: (&mut Counters, &mut Events),
    ) -> bool {
        // Nothing about TCP needs to be remembered where all of it passes.
        if inbound.peer.ports.is_all() && is_plain_tcp(inbound.packet) {
            return true;
        }
        let Some(packet) = Packet::parse(inbound.packet) else {
            if inbound.peer.ports.is_all() {
                return true;
            }
            return self.refuse(now, inbound, None, Refusal::Malformed, tcp, out);
        };
        match self.judge(now, inbound, &packet, tcp, out.0) {
            None => true,
            Some(refusal) => self.refuse(now, inbound, Some(&packet), refusal, tcp, out),
        }
    }

    /// Why a packet does not pass, if it does not.
    fn judge(
        &mut self,
        now: u64,
        Inbound { slot, peer, allowed_ips, .. }: &Inbound,
        p: &Packet,
        tcp: &mut Stack,
        counters: &mut Counters,
    ) -> Option<Refusal> {
        let (slot, ports) = (*slot, &peer.ports);
        if let Part::Later(id, offset) = p.part {
            let overlaps = p.protocol == TCP && offset < TCP_HEADER_BYTES;
            let passes =
                ports.is_all() || !overlaps && self.fragmented.find(now, &Key::fragments(slot, p, id)).is_some();
            return (!passes).then_some(Refusal::Fragment);
        }
        let refusal = if p.protocol == TCP {
            self.judge_tcp(now, slot, peer, p, tcp)
        } else if ports.allow(p.protocol, p.to.port()) {
            // ICMP has no answers that could be taken for a beginning.
            if p.icmp().is_none() {
                count(counters, self.entered.note(now, Key::entering(slot, p), UDP_US));
            }
            None
        } else {
            match p.icmp() {
                Some(Icmp::Error) => {
                    let about = Packet::quoted(&p.payload[8..]);
                    let ours = about.is_some_and(|q| {
                        let of_peer = allowed_ips.find(q.to.ip()) == Some(slot);
                        q.from.ip() == p.to.ip() && of_peer && self.is_ours(now, slot, peer, &q, tcp)
                    });
                    (!ours).then_some(Refusal::Stray)
                }
                Some(Icmp::EchoReply(_)) => {
                    let asked = self.opened.find(now, &Key::entering(slot, p)).is_some();
                    (!asked).then_some(Refusal::Stray)
                }
                _ => self.opened.find(now, &Key::entering(slot, p)).is_none().then_some(Refusal::Policy),
            }
        };
        if let (None, Part::First(id), false) = (refusal, p.part, ports.is_all()) {
            count(counters, self.fragmented.note(now, Key::fragments(slot, p, id), FRAGMENTS_US));
        }
        refusal
    }

    fn judge_tcp(&mut self, now: u64, slot: u32, peer: &Peer, p: &Packet, tcp: &mut Stack) -> Option<Refusal> {
        if peer.ports.allow(TCP, p.to.port()) {
            return None;
        }
        // A reset opens nothing, and ends what was cut on this side.
        if p.flags() & RST != 0 {
            self.track_tcp(now, &Key::entering(slot, p), p.flags(), 2);
            return None;
        }
        if p.opens() {
            return Some(Refusal::Policy);
        }
        let answer = tcp.has_connection(p.to, p.from) || self.track_tcp(now, &Key::entering(slot, p), p.flags(), 2);
        (!answer).then_some(Refusal::Policy)
    }

    /// A segment of a flow that began here, by one side: 1 ours, 2 the peer's. False where there is no such flow.
    fn track_tcp(&mut self, now: u64, key: &Key, flags: u8, side: u8) -> bool {
        let Some(flow) = self.opened.find(now, key) else { return false };
        if side == 1 && flags & (SYN | ACK | RST) == SYN {
            // Ports that are used again: another connection.
            (flow.ended, flow.answered) = (0, false);
        }
        if flags & RST != 0 {
            flow.ended = 3;
        } else if flags & FIN != 0 {
            flow.ended |= side;
        }
        // Until the peer has answered the connection has not begun.
        let established = flow.ended != 3 && (side == 2 || flow.answered);
        flow.answered |= side == 2;
        flow.refresh(now, if established { TCP_US } else { TCP_TRANSITORY_US });
        true
    }

    /// Whether a packet that an error quotes was sent by this node in a flow that may be.
    fn is_ours(&mut self, now: u64, slot: u32, peer: &Peer, q: &Packet, tcp: &mut Stack) -> bool {
        let asked = q.icmp().is_none() || matches!(q.icmp(), Some(Icmp::EchoRequest(_)));
        let answered = matches!(q.protocol, TCP | UDP) && peer.ports.allow(q.protocol, q.from.port());
        answered
            || q.protocol == TCP && tcp.has_connection(q.from, q.to)
            || asked && self.opened.find(now, &Key::leaving(slot, q)).is_some()
    }

    fn refuse(
        &mut self,
        now: u64,
        Inbound { packet, slot, peer, .. }: &mut Inbound,
        parsed: Option<&Packet>,
        refusal: Refusal,
        tcp: &mut Stack,
        (counters, events): (&mut Counters, &mut Events),
    ) -> bool {
        counters.add(match refusal {
            Refusal::Policy => Counter::PolicyRefused,
            Refusal::Fragment => Counter::PolicyFragment,
            Refusal::Malformed => Counter::PolicyMalformed,
            Refusal::Stray => Counter::PolicyStray,
        });
        peer.refused[refusal as usize] += 1.0;
        let (Some(p), Refusal::Policy) = (parsed, refusal) else { return false };
        if now >= peer.refusal_told_at + TOLD_US || peer.refusal_told_at == 0 {
            peer.refusal_told_at = now;
            let (a, b) = (u32::from(p.protocol), u32::from(p.to.port()));
            let event =
                Event { peer: *slot as i32, a, b, address: Address::from(p.from), ..Event::new(Kind::PolicyRefused) };
            events.push(counters, event);
        }
        if p.protocol == TCP && !p.opens() {
            // An error would not end a connection (RFC 5927 section 5.2).
            tcp.reject(packet);
        } else if self.replies.len() < ERRORS_MAX && peer.refusals.take(now) {
            let mut reply = Reply { slot: *slot, packet: [0; ERROR_BYTES_MAX], length: 0 };
            if let Some(n) = unreachable::write(packet, unreachable::Reason::Prohibited, &mut reply.packet) {
                reply.length = n;
                self.replies.push_back(reply);
            }
        }
        false
    }

    /// A packet leaves for a peer that the userspace TCP has not made: what it begins is remembered.
    pub fn note_leaving(&mut self, now: u64, slot: u32, packet: &[u8], counters: &mut Counters) {
        let Some(p) = Packet::parse(packet) else { return };
        if matches!(p.part, Part::Later(..)) {
            return;
        }
        let key = Key::leaving(slot, &p);
        if p.protocol == TCP {
            if !self.track_tcp(now, &key, p.flags(), 1) && p.opens() {
                count(counters, self.opened.note(now, key, TCP_TRANSITORY_US));
            }
            return;
        }
        let lifetime = match p.icmp() {
            None => UDP_US,
            Some(Icmp::EchoRequest(_)) => ECHO_US,
            Some(_) => return,
        };
        match self.entered.find(now, &key) {
            Some(flow) => flow.refresh(now, UDP_US),
            None => count(counters, self.opened.note(now, key, lifetime)),
        }
    }

    /// The next error to send, and the peer that it is for.
    pub fn take_reply(&mut self, out: &mut [u8]) -> Option<(u32, usize)> {
        let Reply { slot, packet, length } = self.replies.pop_front()?;
        out[..length].copy_from_slice(&packet[..length]);
        Some((slot, length))
    }

    /// Whether [`take_reply`](Self::take_reply) has one.
    pub fn has_reply(&self) -> bool {
        !self.replies.is_empty()
    }

    /// A peer is gone, and another may have its number.
    pub fn forget_peer(&mut self, slot: u32) {
        for flows in [&mut self.opened, &mut self.entered, &mut self.fragmented] {
            flows.forget_peer(slot);
        }
        self.replies.retain(|r| r.slot != slot);
    }
}

fn count(counters: &mut Counters, noted: Noted) {
    if noted == Noted::Evicted {
        counters.add(Counter::FlowEvicted);
    }
}
