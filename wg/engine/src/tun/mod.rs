//! The packets of a kernel interface (a Linux TUN device with `IFF_VNET_HDR`), without the device itself: what the kernel hands
//! over is split, what comes out of the tunnel is joined, and the kernel's packets are told from the userspace network's.

mod checksum;
pub mod division;
pub mod gro;
pub mod gso;
#[cfg(test)]
mod tests;
pub mod vnet;

use gro::Gro;
use std::net::IpAddr;

/// The longest that one read from the device returns.
pub const INPUT_BYTES: usize = vnet::BYTES + vnet::PACKET_BYTES_MAX;

/// The state of an interface.
pub struct Tun {
    /// Where the host reads a packet of the kernel to.
    pub input: Box<[u8]>,
    /// What the host writes to the kernel.
    pub output: Gro,
}

impl Tun {
    /// An interface without packets. `udp`: whether the kernel takes joined datagrams.
    pub fn new(udp: bool) -> Self {
        Tun { input: vec![0; INPUT_BYTES].into_boxed_slice(), output: Gro::new(udp) }
    }
}

/// The source of an IP packet whose fixed header is whole.
pub fn source(packet: &[u8]) -> IpAddr {
    match *checksum::addresses(packet) {
        [a, b, c, d, ..] if packet[0] >> 4 == 4 => IpAddr::from([a, b, c, d]),
        ref both => {
            let mut ip = [0; 16];
            ip.copy_from_slice(&both[..16]);
            IpAddr::from(ip)
        }
    }
}
