//! Counts of what was dropped or refused, read by the host under the names of `wg/counters.ts`.

/// The index of a counter. The order is the contract with `wg/counters.ts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// A datagram that is no WireGuard message.
    Malformed,
    /// A handshake message whose MAC1 is not made with our public key.
    BadMac,
    /// A handshake message beyond the limit of its source.
    HandshakeLimited,
    /// Answered with a cookie because of load.
    CookieSent,
    /// An initiation that does not decrypt.
    BadInitiation,
    /// An initiation from a key that is no peer.
    UnknownPeer,
    /// A message for a receiver index that nobody has.
    UnknownIndex,
    /// A message that its peer's session or handshake refused: wrong tag, wrong index, no session.
    Refused,
    /// A packet or handshake seen before, or too old.
    Replayed,
    /// An inner packet whose source is outside the peer's AllowedIPs.
    SourceNotAllowed,
    /// An inner packet that is neither IPv4 nor IPv6, or not for one of our addresses.
    NotForUs,
    /// An inner packet to send for which no peer is responsible.
    NoRoute,
    /// An encrypted packet for a peer whose endpoint is not known.
    NoEndpoint,
    /// An inner packet dropped because a queue of the UDP and ICMP stack was full.
    QueueFull,
    /// An event dropped because the host did not read the others.
    EventLost,
    /// A datagram to send that found no room in the transmit buffer.
    TransmitFull,
    /// A packet from the kernel's interface that is no IP packet, or does not fit what the kernel says of it.
    TunMalformed,
    /// A packet from the kernel's interface whose source is not one of our addresses.
    TunSource,
    /// A packet for the kernel's interface that found no room.
    TunFull,
    /// A datagram of our own for a peer that the kernel has led back into the tunnel: the peer's endpoint is in its AllowedIPs.
    TunLoop,
    /// A packet from a peer's link-local address that is no probe for us.
    ProbeRefused,
    /// A peer's probe beyond what is answered in a second.
    ProbeLimited,
    /// A packet from the kernel's interface that the path to its peer does not carry; the kernel was told.
    TunTooBig,
    /// A packet from the kernel's interface that went to its peer in fragments, since the path carries less than every host may send.
    TunFragmented,
    /// A datagram for an open UDP port that is not as long as it says.
    UdpMalformed,
    /// A datagram for an open UDP port that found no room, since the host did not take the others.
    UdpFull,
    /// A packet that the policy does not let its peer send here.
    PolicyRefused,
    /// A fragment whose datagram the policy did not let in.
    PolicyFragment,
    /// A packet whose ports cannot be read, from a peer that may not send everything.
    PolicyMalformed,
    /// An answer or an ICMP error that belongs to nothing, from a peer that may not send everything.
    PolicyStray,
    /// A flow that was forgotten while it was in use, since there are too many.
    FlowEvicted,
    /// One more than the last.
    Count,
}

/// The counters, all in one place so that the host can read them as an array.
#[derive(Default)]
pub struct Counters {
    values: [f64; Counter::Count as usize],
}

impl Counters {
    /// Adds one.
    pub fn add(&mut self, counter: Counter) {
        self.values[counter as usize] += 1.0;
    }

    /// The present value.
    pub fn value(&self, counter: Counter) -> f64 {
        self.values[counter as usize]
    }

    /// Where the values lie, as `f64`, in the order of [`Counter`].
    pub fn pointer(&self) -> *const f64 {
        self.values.as_ptr()
    }
}
