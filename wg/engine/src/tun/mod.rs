//! The packets of a kernel interface (a Linux TUN device with `IFF_VNET_HDR`), without the device itself: what the kernel hands
//! over is split, what comes out of the tunnel is joined, and the kernel's packets are told from the userspace network's.

pub mod checksum;
pub mod division;
pub mod fragments;
pub mod gro;
pub mod gso;
#[cfg(test)]
mod tests;
pub mod unreachable;
pub mod vnet;

use gro::Gro;
use gso::Split;
use std::net::IpAddr;
use unreachable::Reason;

/// The longest that one read from the device returns.
pub const INPUT_BYTES: usize = vnet::BYTES + vnet::PACKET_BYTES_MAX;

/// At least this lies between two errors, as if they came from a cautious router.
const ERROR_INTERVAL_US: u64 = 1_000;

/// In byte 6 of an IPv4 header.
const DO_NOT_FRAGMENT: u8 = 0x40;
const MTU_MIN_V4: usize = 576;
const MTU_MIN_V6: usize = 1280;

/// The state of an interface.
pub struct Tun {
    /// Where the host reads a packet of the kernel to.
    pub input: Box<[u8]>,
    /// What the host writes to the kernel.
    pub output: Gro,
    /// When the next error may be written.
    next_error_at: u64,
    /// Packets that were split for a narrow path: what the fragments of the next one are recognised by.
    pub fragmented: u32,
}

impl Tun {
    /// An interface without packets. `udp`: whether the kernel takes joined datagrams.
    pub fn new(udp: bool) -> Self {
        Tun { input: vec![0; INPUT_BYTES].into_boxed_slice(), output: Gro::new(udp), next_error_at: 0, fragmented: 0 }
    }

    /// Tells the kernel why the packet at the start of the input does not go, not too often.
    pub fn refuse(&mut self, now: u64, length: usize, reason: Reason) {
        let mut error = [0; unreachable::ERROR_BYTES_MAX];
        if now < self.next_error_at {
            return;
        }
        if let Some(n) = unreachable::write(&self.input[vnet::BYTES..length], reason, &mut error) {
            self.next_error_at = now + ERROR_INTERVAL_US;
            self.output.push(&error[..n]);
        }
    }
}

/// The size that the kernel is to make smaller packets of, if these are too big for a path that takes `mtu` bytes. No less is asked for
/// than every host must take (RFC 1122, RFC 8200): a kernel would not listen. What may be split on its way goes as it is.
pub fn smaller(split: &Split, mtu: usize) -> Option<usize> {
    let packet = split.packet();
    let (may_split, least) =
        if packet[0] >> 4 == 4 { (packet[6] & DO_NOT_FRAGMENT == 0, MTU_MIN_V4) } else { (false, MTU_MIN_V6) };
    let mtu = mtu.max(least);
    (!may_split && split.longest() > mtu).then_some(mtu)
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
