//! A TUN device and small system calls.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

/// TUNSETIFF, and IFF_TUN with IFF_NO_PI.
const SET_INTERFACE: libc::c_ulong = 0x4004_54ca;
const TUN_WITHOUT_HEADER: u16 = 0x1001;
const MTU: usize = 1420;

pub struct Tun(File);

impl Tun {
    /// Opens a device in the present namespace; `address` is the kernel's end.
    pub fn open(name: &str, address: &str) -> Tun {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open("/dev/net/tun").expect("/dev/net/tun opens");
        let mut request = [0u8; 40];
        request[..name.len()].copy_from_slice(name.as_bytes());
        request[16..18].copy_from_slice(&TUN_WITHOUT_HEADER.to_ne_bytes());
        // SAFETY: TUNSETIFF reads and writes one ifreq of 40 bytes, which `request` is.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), SET_INTERFACE as _, request.as_mut_ptr()) };
        assert_eq!(result, 0, "TUNSETIFF");
        let ip = |args: &str| assert!(Command::new("ip").args(args.split(' ')).status().unwrap().success(), "{args}");
        ip(&format!("addr add {address} dev {name}"));
        ip(&format!("link set {name} mtu {MTU} txqueuelen 20000 up"));
        ip("link set lo up");
        // As large as the core's own default, so that the kernel's buffers are not what is measured.
        std::fs::write("/proc/sys/net/ipv4/tcp_wmem", "4096 65536 33554432").expect("tcp_wmem");
        Tun(file)
    }

    pub fn read(&self, buffer: &mut [u8]) -> Option<usize> {
        (&self.0).read(buffer).ok()
    }

    /// A packet that the device has no room for is lost, as on any link.
    pub fn write(&self, packet: &[u8]) {
        let _ = (&self.0).write(packet);
    }
}

/// Waits for input on any of the devices, or until the time is over.
pub fn wait(devices: &[&Tun], micros: u64) {
    let entry = |t: &&Tun| libc::pollfd { fd: t.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut entries: Vec<libc::pollfd> = devices.iter().map(entry).collect();
    let time =
        libc::timespec { tv_sec: (micros / 1_000_000) as libc::time_t, tv_nsec: (micros % 1_000_000 * 1000) as _ };
    // SAFETY: the descriptors live in `entries`, and `time` outlives the call.
    unsafe { libc::ppoll(entries.as_mut_ptr(), entries.len() as _, &time, std::ptr::null()) };
}

/// Moves the calling thread into a new network namespace.
pub fn unshare() {
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "a network namespace of its own (needs root)");
}

/// A stream socket with this local address.
pub fn bound_socket(local: SocketAddrV4) -> OwnedFd {
    // SAFETY: the result is checked, and owned by nobody else.
    let socket = unsafe {
        let descriptor = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(descriptor >= 0, "socket");
        OwnedFd::from_raw_fd(descriptor)
    };
    let address = raw_address(local);
    // SAFETY: pointer and length describe `address`.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) };
    assert_eq!(result, 0, "bind to {local}");
    socket
}

/// Connects it; a failure shows when it is used.
pub fn connect(socket: &OwnedFd, remote: SocketAddrV4) {
    let address = raw_address(remote);
    // SAFETY: pointer and length describe `address`.
    let result =
        unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) };
    if result != 0 {
        eprintln!("connect to {remote}: {}", std::io::Error::last_os_error());
    }
}

fn raw_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

/// Chooses the kernel's congestion control; says so when it does not have it.
pub fn set_congestion(descriptor: RawFd, name: &str) {
    // SAFETY: the pointer and length describe `name`.
    let result = unsafe {
        libc::setsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    };
    if result != 0 {
        eprintln!("the kernel has no {name}: its own default is used on its side");
    }
}
