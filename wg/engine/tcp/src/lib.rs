//! A sans-IO TCP core: no clock, no threads, no sockets. The caller feeds IP packets and the time
//! (microseconds since any origin) and takes packets and deadlines out.
//!
//! Positions in a stream are `u64` (see [`seq`]); they meet the 32-bit wire numbers only in
//! `connection`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod budget;
pub mod checksum;
pub mod config;
mod congestion;
pub mod connection;
mod delivery;
pub mod icmp;
mod rack;
mod range;
mod receiver;
mod ring;
mod rtt;
mod scoreboard;
pub mod segment;
mod sender;
mod seq;
pub mod sim;
mod siphash;
pub mod stack;

pub use config::{Algorithm, Config};
pub use connection::{Connection, Error, Figures, State};
pub use segment::{Burst, Segment};
pub use stack::{Counters, Handle, Limits, OpenError, Stack};

/// Microseconds since an origin chosen by the caller.
pub type Time = u64;
/// One millisecond in [`Time`] units.
pub const MS: Time = 1_000;
/// One second in [`Time`] units.
pub const SEC: Time = 1_000_000;

/// No clock gets here; deadlines can be added to it without overflow.
pub(crate) const TIME_MAX: Time = 1 << 62;

/// The earlier of two optional deadlines.
pub(crate) fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(x), Some(y)) => Some(x.min(y)),
        (x, y) => x.or(y),
    }
}
