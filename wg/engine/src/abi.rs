//! The exports. Records are those of [`crate::transmit::Run`] and [`crate::event::Event`], little-endian.
//!
//! Batches cross in buffers whose addresses never change after [`start`]: the receive buffer with its table of runs, the
//! transmit buffer with its table of runs, the list of events, and a scratch area for arguments and stream bytes.
//! All memory that the data path needs is taken at `start`.

use crate::device::{Ask, PeerOptions};
use crate::engine::{Engine, Refusal, CLOSED};
use crate::event::{Address, Path};
use crate::filter::ports::{Protocol, Range, RANGES_MAX};
use crate::peer::Roaming;
use crate::transmit::Run;
use std::cell::UnsafeCell;
use std::net::IpAddr;

/// Bytes of received datagrams in one batch.
const RECEIVE_BYTES: usize = 1 << 20;
/// Received runs in one batch.
const RECEIVE_RUNS: usize = 1024;
/// Arguments and stream bytes.
const SCRATCH_BYTES: usize = 256 << 10;
/// Taken from the system once, so that the allocator does not have to grow the memory later.
const RESERVE_BYTES: usize = 24 << 20;

struct State {
    engine: Option<Engine>,
    receive: Box<[u8]>,
    receive_runs: Box<[Run]>,
    scratch: Box<[u8]>,
    /// Where [`receive`] goes on: the run, and the byte in it.
    received: (usize, usize),
}

struct Single(UnsafeCell<Option<State>>);
// SAFETY: a WebAssembly instance of this module runs on one thread, and no export calls another.
unsafe impl Sync for Single {}
static STATE: Single = Single(UnsafeCell::new(None));

fn state() -> &'static mut State {
    // SAFETY: as above: one thread, and no reference outlives an export.
    unsafe { &mut *STATE.0.get() }.get_or_insert_with(|| {
        drop(std::hint::black_box(Vec::<u8>::with_capacity(RESERVE_BYTES)));
        let run = Run { offset: 0, length: 0, segment: 0, peer: -1, kind: 0, to: Path::default() };
        State {
            engine: None,
            receive: vec![0; RECEIVE_BYTES].into_boxed_slice(),
            receive_runs: vec![run; RECEIVE_RUNS].into_boxed_slice(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            received: (0, 0),
        }
    })
}

fn engine() -> &'static mut Engine {
    state().engine.as_mut().expect("start() comes first")
}

fn scratch_key(at: usize) -> [u8; 32] {
    let mut key = [0; 32];
    let bytes = &mut state().scratch[at..at + 32];
    key.copy_from_slice(bytes);
    bytes.fill(0);
    key
}

fn scratch_address(at: usize) -> Address {
    let b = &state().scratch[at..at + 20];
    let mut ip = [0; 16];
    ip.copy_from_slice(&b[4..]);
    Address { family: u16::from_le_bytes([b[0], b[1]]), port: u16::from_le_bytes([b[2], b[3]]), ip }
}

/// An address with the local end behind it.
fn scratch_path(at: usize) -> Path {
    let local = &state().scratch[at + 20..at + 22];
    Path { remote: scratch_address(at), local: u16::from_le_bytes([local[0], local[1]]) }
}

fn put_address(at: usize, a: Address) {
    let b = &mut state().scratch[at..at + 20];
    b[..2].copy_from_slice(&a.family.to_le_bytes());
    b[2..4].copy_from_slice(&a.port.to_le_bytes());
    b[4..].copy_from_slice(&a.ip);
}

fn put_u32(at: usize, v: usize) {
    state().scratch[at..at + 4].copy_from_slice(&(v as u32).to_le_bytes());
}

/// The host seals and opens from now on, by its functions of module `aead`.
#[no_mangle]
pub extern "C" fn offer_aead() {
    #[cfg(target_arch = "wasm32")]
    ring::host::offer();
}

/// Begins an engine with the private key that lies in the scratch area, which is cleared.
#[no_mangle]
pub extern "C" fn start(now_us: f64, mtu: usize) {
    let key = scratch_key(0);
    state().engine = Some(Engine::new(now_us as u64, key, mtu));
}

/// Where the scratch area is.
#[no_mangle]
pub extern "C" fn scratch_pointer() -> *mut u8 {
    state().scratch.as_mut_ptr()
}

/// Where received datagrams are written.
#[no_mangle]
pub extern "C" fn receive_pointer() -> *mut u8 {
    state().receive.as_mut_ptr()
}

/// Where received datagrams are described; `offset` counts from [`receive_pointer`], `to` is where they came from.
#[no_mangle]
pub extern "C" fn receive_runs_pointer() -> *mut Run {
    state().receive_runs.as_mut_ptr()
}

/// Where the datagrams to send are.
#[no_mangle]
pub extern "C" fn transmit_pointer() -> *const u8 {
    engine().transmit.bytes().as_ptr()
}

/// Where the datagrams to send are described.
#[no_mangle]
pub extern "C" fn transmit_runs_pointer() -> *const Run {
    engine().transmit.runs().as_ptr()
}

/// How many runs there are to send.
#[no_mangle]
pub extern "C" fn transmit_runs() -> usize {
    engine().transmit.runs().len()
}

/// Everything was sent.
#[no_mangle]
pub extern "C" fn transmit_clear() {
    engine().transmit.clear();
}

/// Where the events are.
#[no_mangle]
pub extern "C" fn events_pointer() -> *const crate::event::Event {
    engine().events.list().as_ptr()
}

/// How many events there are.
#[no_mangle]
pub extern "C" fn events() -> usize {
    engine().events.list().len()
}

/// All events were read.
#[no_mangle]
pub extern "C" fn events_clear() {
    engine().events.clear();
}

/// Where the counters are: `f64`, in the order of [`crate::counter::Counter`].
#[no_mangle]
pub extern "C" fn counters_pointer() -> *const f64 {
    engine().counters.pointer()
}

/// How many counters there are.
#[no_mangle]
pub extern "C" fn counters() -> usize {
    crate::counter::Counter::Count as usize
}

/// Moves the clock.
#[no_mangle]
pub extern "C" fn set_now(now_us: f64) {
    engine().set_now(now_us as u64);
}

/// Takes the first `count` runs of the receive table. 1 when the packets for the kernel's interface must be written before the
/// rest can be taken: write, [`tun_clear`], and call again.
#[no_mangle]
pub extern "C" fn receive(count: usize) -> u32 {
    let s = state();
    let engine = s.engine.as_mut().expect("start() comes first");
    let (first, from) = std::mem::take(&mut s.received);
    for (i, run) in s.receive_runs[..count.min(RECEIVE_RUNS)].iter().enumerate().skip(first) {
        let end = (run.offset as usize).saturating_add(run.length as usize);
        let Some(bytes) = s.receive.get(run.offset as usize..end) else { continue };
        let segment = if run.segment == 0 { bytes.len() } else { run.segment as usize }.max(1);
        let mut at = if i == first { from } else { 0 };
        while at < bytes.len() {
            if engine.tun_full() {
                s.received = (i, at);
                return 1;
            }
            let next = (at + segment).min(bytes.len());
            engine.receive(run.to, &bytes[at..next]);
            at = next;
        }
    }
    0
}

/// Begins to serve a kernel interface that takes joined datagrams, or not; userspace connections leave from `ports` ports from
/// `first_port` on.
#[no_mangle]
pub extern "C" fn tun_open(udp: u32, first_port: u32, ports: u32) {
    engine().tun_open(udp != 0, first_port as u16, ports as u16);
}

/// Where the host reads a packet of the kernel to, virtio header first; as long as [`crate::tun::INPUT_BYTES`].
#[no_mangle]
pub extern "C" fn tun_input_pointer() -> *mut u8 {
    engine().tun().map_or(std::ptr::null_mut(), |t| t.input.as_mut_ptr())
}

/// Sends the `length` bytes in the input; 1 while there is room for another packet.
#[no_mangle]
pub extern "C" fn tun_send(length: usize) -> u32 {
    u32::from(engine().tun_send(length))
}

/// Finishes the packets for the kernel and says how many parts they have.
#[no_mangle]
pub extern "C" fn tun_finish() -> usize {
    engine().tun().map_or(0, |t| t.output.finish().len())
}

/// Where the parts of the packets for the kernel are described; `offset` counts from [`tun_output_pointer`].
#[no_mangle]
pub extern "C" fn tun_parts_pointer() -> *const crate::tun::gro::Part {
    engine().tun().map_or(std::ptr::null(), |t| t.output.parts().as_ptr())
}

/// Where the packets for the kernel are, each with its virtio header.
#[no_mangle]
pub extern "C" fn tun_output_pointer() -> *const u8 {
    engine().tun().map_or(std::ptr::null(), |t| t.output.arena().as_ptr())
}

/// Everything was written to the kernel.
#[no_mangle]
pub extern "C" fn tun_clear() {
    if let Some(tun) = engine().tun() {
        tun.output.clear();
    }
}

/// Runs everything that is due; 1 when the transmit buffer filled up: send, clear and call again.
#[no_mangle]
pub extern "C" fn poll() -> u32 {
    u32::from(engine().poll())
}

/// When `poll` wants to be called, in microseconds; -1 for never.
#[no_mangle]
pub extern "C" fn poll_timeout() -> f64 {
    engine().poll_timeout().map_or(-1.0, |t| t as f64)
}

/// Writes our public key to the scratch area.
#[no_mangle]
pub extern "C" fn public_key() {
    let key = engine().public_key();
    state().scratch[..32].copy_from_slice(&key);
}

/// Begins to hold what peers send against what they may reach.
#[no_mangle]
pub extern "C" fn filter_open() {
    engine().filter_open();
}

/// Says what a peer may reach here: `count` ranges in the scratch area, each protocol, first and last port and two unused bytes, as u16.
#[no_mangle]
pub extern "C" fn set_ports(peer: u32, count: usize) {
    let half = |at: usize| u16::from_le_bytes([state().scratch[at], state().scratch[at + 1]]);
    let ranges: Vec<Range> = (0..count.min(RANGES_MAX))
        .filter_map(|i| {
            let protocol = match half(8 * i) {
                0 => Protocol::Any,
                1 => Protocol::Tcp,
                2 => Protocol::Udp,
                3 => Protocol::Icmp,
                _ => return None,
            };
            Some(Range { protocol, first: half(8 * i + 2), last: half(8 * i + 4) })
        })
        .collect();
    engine().set_ports(peer, &ranges);
}

/// Resets the connections of peers that may not be any longer; how many there were.
#[no_mangle]
pub extern "C" fn cut_refused() -> usize {
    engine().cut_refused()
}

/// Writes to the scratch area how many packets of a peer did not pass, an `f64` for each [`crate::filter::Refusal`]; 0 when there is no
/// such peer.
#[no_mangle]
pub extern "C" fn peer_refused(peer: u32) -> u32 {
    let Some(refused) = engine().peer_refused(peer) else { return 0 };
    for (i, n) in refused.iter().enumerate() {
        state().scratch[8 * i..8 * i + 8].copy_from_slice(&n.to_le_bytes());
    }
    1
}

/// Replaces our addresses by the `count` in the scratch area; 0 when there are too many.
#[no_mangle]
pub extern "C" fn set_addresses(count: usize) -> u32 {
    let list: Vec<IpAddr> = (0..count).filter_map(|i| scratch_address(20 * i).ip_address()).collect();
    u32::from(engine().set_addresses(&list))
}

/// Adds a peer; its key is at 0 in the scratch area, the preshared key, if any, at 32. Its number, or -1.
#[no_mangle]
pub extern "C" fn add_peer(has_preshared_key: u32, keepalive_seconds: u32, host_roams: u32) -> i32 {
    let options = PeerOptions {
        public_key: scratch_key(0),
        preshared_key: (has_preshared_key != 0).then(|| scratch_key(32)),
        keepalive_seconds: keepalive_seconds.min(65_535) as u16,
        roaming: if host_roams != 0 { Roaming::Host } else { Roaming::Stock },
    };
    engine().add_peer(&options).map_or(-1, |p| p as i32)
}

/// Removes a peer.
#[no_mangle]
pub extern "C" fn remove_peer(peer: u32) {
    engine().remove_peer(peer);
}

/// Sets a peer's endpoint from the path in the scratch area.
#[no_mangle]
pub extern "C" fn set_endpoint(peer: u32) {
    engine().set_endpoint(peer, scratch_path(0));
}

/// The path to a peer carries inner packets of `mtu` bytes now, and the kernel may send it packets of `tun_mtu` bytes.
#[no_mangle]
pub extern "C" fn set_peer_mtu(peer: u32, mtu: usize, tun_mtu: usize) {
    engine().set_peer_mtu(peer, mtu, tun_mtu);
}

/// The path to a peer carries packets again after silence.
#[no_mangle]
pub extern "C" fn resume_streams(peer: u32) {
    engine().resume_streams(peer);
}

/// Sends a probe with an inner packet of `bytes` along the path in the scratch area; 0 when there is no session.
#[no_mangle]
pub extern "C" fn probe(peer: u32, sequence: u32, bytes: usize) -> u32 {
    u32::from(engine().probe(peer, Ask { path: scratch_path(0), sequence, bytes }))
}

/// Gives the prefix of the address in the scratch area to a peer; 0 when it is none or the table is full.
#[no_mangle]
pub extern "C" fn allow(peer: u32, prefix: u32) -> u32 {
    let Some(ip) = scratch_address(0).ip_address() else { return 0 };
    u32::from(u8::try_from(prefix).is_ok_and(|p| engine().allow(peer, ip, p)))
}

/// Sends a fresh initiation to a peer.
#[no_mangle]
pub extern "C" fn initiate(peer: u32) {
    engine().initiate(peer);
}

/// Writes to the scratch area: milliseconds since the handshake (-1: none), bytes sent, bytes received, each `f64`, and the
/// endpoint with its local end. 0 when there is no such peer.
#[no_mangle]
pub extern "C" fn peer_figures(peer: u32) -> u32 {
    let Some((figures, endpoint)) = engine().peer_figures(peer) else { return 0 };
    for (i, f) in figures.iter().enumerate() {
        state().scratch[8 * i..8 * i + 8].copy_from_slice(&f.to_le_bytes());
    }
    put_address(24, endpoint.remote);
    state().scratch[44..46].copy_from_slice(&endpoint.local.to_le_bytes());
    1
}

/// Opens a TCP connection to the address in the scratch area: its number, or a [`crate::engine::Refusal`].
#[no_mangle]
pub extern "C" fn connect() -> i32 {
    let Some(remote) = scratch_address(0).socket_address() else { return -3 };
    engine().connect(remote).map_or_else(|r| r as i32, |id| id as i32)
}

/// Listens on a TCP port; 0 when that is impossible.
#[no_mangle]
pub extern "C" fn listen(port: u32) -> u32 {
    u32::from(u16::try_from(port).is_ok_and(|p| engine().listen(p)))
}

/// Stops listening.
#[no_mangle]
pub extern "C" fn unlisten(port: u32) {
    engine().unlisten(port as u16);
}

/// State bits of a stream.
#[no_mangle]
pub extern "C" fn stream_state(id: u32) -> u32 {
    state().engine.as_ref().map_or(CLOSED, |e| e.stream_state(id))
}

/// Writes our end of a stream to the scratch area; 0 when there is no such stream.
#[no_mangle]
pub extern "C" fn stream_local(id: u32) -> u32 {
    let Some(local) = engine().stream_local(id) else { return 0 };
    put_address(0, local.into());
    1
}

/// Writes pointer and length of the two parts of what can be read to the scratch area; the sum of the lengths.
#[no_mangle]
pub extern "C" fn stream_peek(id: u32) -> usize {
    let (a, b) = engine().stream_peek(id);
    let parts = [a.as_ptr() as usize, a.len(), b.as_ptr() as usize, b.len()];
    for (i, v) in parts.into_iter().enumerate() {
        put_u32(4 * i, v);
    }
    parts[1] + parts[3]
}

/// Takes what was read.
#[no_mangle]
pub extern "C" fn stream_consume(id: u32, n: usize) {
    engine().stream_consume(id, n);
}

/// Queues the first `n` bytes of the scratch area; how many were taken.
#[no_mangle]
pub extern "C" fn stream_send(id: u32, n: usize) -> usize {
    let s = state();
    let engine = s.engine.as_mut().expect("start() comes first");
    engine.stream_send(id, &s.scratch[..n.min(SCRATCH_BYTES)])
}

/// Writes pointer and length of the first contiguous free part of a stream's send buffer to the scratch area; the length.
#[no_mangle]
pub extern "C" fn stream_space(id: u32) -> usize {
    let part = engine().stream_space(id);
    let (pointer, length) = (part.as_mut_ptr() as usize, part.len());
    put_u32(0, pointer);
    put_u32(4, length);
    length
}

/// Queues the first `n` bytes of that part.
#[no_mangle]
pub extern "C" fn stream_commit(id: u32, n: usize) {
    engine().stream_commit(id, n);
}

/// Ends our direction of a stream.
#[no_mangle]
pub extern "C" fn stream_shutdown(id: u32) {
    engine().stream_shutdown(id);
}

/// Lets go of a stream, in order or with a reset.
#[no_mangle]
pub extern "C" fn stream_release(id: u32, abort: u32) {
    engine().stream_release(id, abort != 0);
}

/// Sends an echo request to the address in the scratch area; 0 when that is impossible.
#[no_mangle]
pub extern "C" fn echo(sequence: u32, length: usize) -> u32 {
    let Some(to) = scratch_address(0).ip_address() else { return 0 };
    u32::from(engine().echo(to, sequence as u16, length))
}

/// Opens a UDP port; 0 when that is impossible.
#[no_mangle]
pub extern "C" fn udp_bind(port: u32) -> u32 {
    u32::from(u16::try_from(port).is_ok_and(|p| engine().udp().bind(p)))
}

/// Closes a UDP port.
#[no_mangle]
pub extern "C" fn udp_close(port: u32) {
    engine().udp().close(port as u16);
}

/// Where the host writes the payload of a datagram before [`udp_send`]; there is room for 65,535 bytes.
#[no_mangle]
pub extern "C" fn udp_payload_pointer() -> *mut u8 {
    engine().udp_payload().as_mut_ptr()
}

/// Sends `n` bytes of payload from an open port to the address in the scratch area: 0, or a [`crate::engine::Refusal`].
#[no_mangle]
pub extern "C" fn udp_send(port: u32, n: usize) -> i32 {
    let Some(to) = scratch_address(0).socket_address() else { return Refusal::NoRoute as i32 };
    engine().udp_send(port as u16, to, n).map_or_else(|r| r as i32, |()| 0)
}

/// The longest payload that a datagram to the address in the scratch area may have, or a [`crate::engine::Refusal`].
#[no_mangle]
pub extern "C" fn udp_limit() -> i32 {
    let Some(to) = scratch_address(0).ip_address() else { return Refusal::NoRoute as i32 };
    engine().udp_limit(to).map_or_else(|r| r as i32, |n| n as i32)
}

/// How many bytes of records there are for UDP ports (see [`crate::udp`]).
#[no_mangle]
pub extern "C" fn udp_received() -> usize {
    engine().udp().received().len()
}

/// Where they are.
#[no_mangle]
pub extern "C" fn udp_received_pointer() -> *const u8 {
    engine().udp().received().as_ptr()
}

/// All of them were taken.
#[no_mangle]
pub extern "C" fn udp_received_clear() {
    engine().udp().clear();
}
