//! The packets of a kernel interface (a Linux TUN device with `IFF_VNET_HDR`), without the device itself: what the kernel hands
//! over is split, what comes out of the tunnel is joined, and the kernel's packets are told from the userspace network's.

mod checksum;
pub mod division;
pub mod gro;
pub mod gso;
#[cfg(test)]
mod tests;
pub mod unreachable;
pub mod vnet;

use gro::Gro;
use std::net::IpAddr;

/// The longest that one read from the device returns.
pub const INPUT_BYTES: usize = vnet::BYTES + vnet::PACKET_BYTES_MAX;

/// At least this lies between two errors, as if they came from a cautious router.
const ERROR_INTERVAL_US: u64 = 1_000;

/// The state of an interface.
pub struct Tun {
    /// Where the host reads a packet of the kernel to.
    pub input: Box<[u8]>,
    /// What the host writes to the kernel.
    pub output: Gro,
    /// When the next error may be written.
    next_error_at: u64,
}

impl Tun {
    /// An interface without packets. `udp`: whether the kernel takes joined datagrams.
    pub fn new(udp: bool) -> Self {
        Tun { input: vec![0; INPUT_BYTES].into_boxed_slice(), output: Gro::new(udp), next_error_at: 0 }
    }

    /// Tells the kernel that nobody is where the packet at the start of the input goes to, not too often.
    pub fn refuse(&mut self, now: u64, length: usize) {
        let mut error = [0; unreachable::ERROR_BYTES_MAX];
        if now < self.next_error_at {
            return;
        }
        if let Some(n) = unreachable::write(&self.input[vnet::BYTES..length], &mut error) {
            self.next_error_at = now + ERROR_INTERVAL_US;
            self.output.push(&error[..n]);
        }
    }
}

/// Source and destination of an IP packet whose fixed header is whole.
pub fn ends(packet: &[u8]) -> (IpAddr, IpAddr) {
    let (from, to) = checksum::addresses(packet).split_at(if packet[0] >> 4 == 4 { 4 } else { 16 });
    (address(from), address(to))
}

/// An address of 4 or 16 bytes.
fn address(bytes: &[u8]) -> IpAddr {
    match *bytes {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => {
            let mut ip = [0; 16];
            ip.copy_from_slice(bytes);
            IpAddr::from(ip)
        }
    }
}
