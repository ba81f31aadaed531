//! moray's WireGuard engine: boringtun with the device layer it lacks, and a userspace network stack inside the tunnel.
//!
//! Everything is driven from outside: the host supplies time and entropy at the link boundary, writes received datagrams
//! into [`abi`]'s receive buffer, and sends what [`transmit`] describes. One engine for each WebAssembly instance.

#[cfg(target_arch = "wasm32")]
pub mod abi;
pub mod allowed_ips;
pub mod counter;
pub mod device;
pub mod engine;
pub mod event;
pub mod filter;
pub mod handshake_limit;
pub mod net;
pub mod peer;
pub mod probe;
pub mod recent_initiations;
pub mod transmit;
pub mod tun;
pub mod udp;

#[cfg(test)]
mod path_tests;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod tests;
