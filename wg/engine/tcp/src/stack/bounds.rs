//! What bounds a stack, and what it counts.

#[cfg(doc)]
use super::Stack;

/// Bounds of a stack.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections in any state.
    pub connections: usize,
    /// Ports listened on.
    pub listeners: usize,
    /// Connections not yet accepted by the application, for each listener.
    pub backlog: usize,
    /// Of these, how many may be half open before cookies are used.
    pub half_open: usize,
    /// Bytes of all buffers together. Beyond it no buffer grows above the smallest (16 KiB each way) and no connection begins, so
    /// that memory stays below this and the smallest buffers of the connections there are.
    pub buffer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { connections: 16_384, listeners: 1024, backlog: 256, half_open: 128, buffer_bytes: 256 << 20 }
    }
}

/// What happened since the stack was made; every drop and every refusal is in here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets given to [`Stack::handle_packet`].
    pub packets_in: u64,
    /// Of these, what was not a whole, valid TCP segment.
    pub malformed: u64,
    /// Connections that [`Stack::connect`] began.
    pub opened: u64,
    /// Connections that reached a listener's queue.
    pub established: u64,
    /// Connections that the application took from a listener.
    pub accepted: u64,
    /// SYNs that found the backlog, the table or the memory full.
    pub syn_dropped_backlog: u64,
    /// SYNs answered without keeping anything.
    pub cookies_sent: u64,
    /// Cookies that came back and became connections.
    pub cookies_redeemed: u64,
    /// Resets for segments that belong to no connection.
    pub resets_sent: u64,
    /// Resets and cookies that found the queue of replies full.
    pub refused_replies_dropped: u64,
    /// Buffers that wanted to grow when [`Limits::buffer_bytes`] were in use.
    pub buffer_growth_refused: u64,
    /// ICMP errors given to [`Stack::handle_icmp`] that were about a connection of ours, and those of them that changed something.
    pub icmp_errors: u64,
    /// See above.
    pub icmp_errors_heeded: u64,
    /// Connections whose TIME-WAIT was cut short because another needed their place.
    pub time_wait_cut: u64,
    /// Calls whose time lay before that of an earlier call.
    pub clock_went_back: u64,
}
