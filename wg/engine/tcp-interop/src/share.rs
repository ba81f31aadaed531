//! Streams of the core and of a kernel side by side through one bottleneck, towards a second kernel.

use crate::clock::Clock;
use crate::core_end::CoreEnd;
use crate::stream::read_batch;
use crate::tun::{self, Tun};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{mpsc, Arc};
use tcp::sim::{Impairment, Link};
use tcp::{Algorithm, Time, MS, SEC};

const SINK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 1), 5001);
const CORE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const KERNEL: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);
const FIRST_PORT: u16 = 40_000;
const STREAMS_MAX: usize = 64;
const TICK: Time = 10 * MS;

/// One stream: who sends it, under which congestion control.
#[derive(Clone, Copy)]
struct Sender {
    core: bool,
    algorithm: Algorithm,
}

/// What is compared.
pub struct Plan {
    senders: Vec<Sender>,
    /// Each stream begins this long after the one before.
    gap: Time,
    /// The first figures are left out until all have run this long.
    settle: Time,
    seconds: u64,
}

impl Plan {
    /// `list` is like `core:bbr,kernel:cubic`.
    pub fn parse(list: &str, gap_ms: u64, settle_seconds: u64, seconds: u64) -> Option<Plan> {
        let sender = |word: &str| {
            let (end, algorithm) = word.split_once(':')?;
            let algorithm = match algorithm {
                "bbr" => Algorithm::Bbr,
                "cubic" => Algorithm::Cubic,
                _ => return None,
            };
            ["core", "kernel"].contains(&end).then_some(Sender { core: end == "core", algorithm })
        };
        let senders: Vec<Sender> = list.split(',').map(sender).collect::<Option<_>>()?;
        (senders.len() <= STREAMS_MAX).then_some(Plan {
            senders,
            gap: gap_ms * MS,
            settle: settle_seconds * SEC,
            seconds,
        })
    }
}

type Received = Arc<Vec<AtomicU64>>;

/// The sink counts by the port that a stream comes from.
fn sink(received: &Received) {
    let listener = TcpListener::bind(SINK).expect("the port is free in a new namespace");
    let received = received.clone();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { continue };
            let Ok(SocketAddr::V4(from)) = socket.peer_addr() else { continue };
            let received = received.clone();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 17];
                while let Ok(n @ 1..) = socket.read(&mut buffer) {
                    received[usize::from(from.port() - FIRST_PORT)].fetch_add(n as u64, Relaxed);
                }
            });
        }
    });
}

/// A second kernel's streams, in a namespace of its own; each begins when its number comes.
fn kernel_streams(senders: Vec<Sender>) -> (Tun, mpsc::Sender<usize>) {
    let (device_out, device_in) = mpsc::channel();
    let (begin, begins) = mpsc::channel::<usize>();
    std::thread::spawn(move || {
        tun::unshare();
        device_out.send(Tun::open("t1", "10.9.0.3/24")).expect("somebody waits for it");
        for i in begins {
            let algorithm = if senders[i].algorithm == Algorithm::Bbr { "bbr" } else { "cubic" };
            // A child thread stays in this one's namespace.
            std::thread::spawn(move || {
                let descriptor = tun::bound_socket(SocketAddrV4::new(KERNEL, FIRST_PORT + i as u16));
                tun::set_congestion(descriptor.as_raw_fd(), algorithm);
                tun::connect(&descriptor, SINK);
                // SAFETY: the descriptor is an open stream socket that nothing else owns any more.
                let mut socket = unsafe { TcpStream::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(descriptor)) };
                let data = vec![0; 1 << 17];
                while socket.write_all(&data).is_ok() {}
            });
        }
    });
    (device_in.recv().expect("the device opens"), begin)
}

struct World {
    clock: Clock,
    near: Tun,
    far: Tun,
    cores: Vec<(usize, CoreEnd)>,
    to_sink: Link,
    to_senders: Link,
    buffer: Vec<u8>,
}

impl World {
    fn step(&mut self) {
        let now = self.clock.now();
        read_batch(&self.near, now, &mut self.to_senders, &mut self.buffer);
        read_batch(&self.far, now, &mut self.to_sink, &mut self.buffer);
        while let Some(packet) = self.to_senders.receive(now) {
            if packet[16..20] == KERNEL.octets() {
                self.far.write(&packet);
            } else {
                let port = usize::from(u16::from_be_bytes([packet[22], packet[23]]).wrapping_sub(FIRST_PORT));
                if let Some((_, end)) = self.cores.iter_mut().find(|c| c.0 == port) {
                    end.input(now, &packet);
                }
            }
            self.to_senders.recycle(packet);
        }
        for (_, end) in &mut self.cores {
            end.poll(now, |packet| self.to_sink.send(now, packet));
        }
        while let Some(packet) = self.to_sink.receive(now) {
            self.near.write(&packet);
            self.to_sink.recycle(packet);
        }
        let deadlines = self.cores.iter().filter_map(|c| c.1.deadline());
        let links = [self.to_sink.next_at(), self.to_senders.next_at()];
        let next = deadlines.chain(links.into_iter().flatten()).fold(now + TICK, Time::min);
        let now = self.clock.now();
        if next > now {
            tun::wait(&[&self.near, &self.far], next - now);
        }
    }
}

/// Prints each stream's throughput, its share and Jain's index. True when the smallest share is at least `least` of an equal one.
pub fn run(plan: &Plan, link: Impairment, least: f64) -> bool {
    tun::unshare();
    let near = Tun::open("t0", "10.9.0.1/24");
    let count = plan.senders.len();
    let received: Received = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
    sink(&received);
    let (far, begin) = kernel_streams(plan.senders.clone());
    let clean = Impairment { loss: 0, reorder: 0, rate: 0, ..link };
    let mut world = World {
        clock: Clock::start(),
        near,
        far,
        cores: Vec::new(),
        to_sink: Link::new(link, 1),
        to_senders: Link::new(clean, 2),
        buffer: vec![0; 65536],
    };
    for (i, sender) in plan.senders.iter().enumerate() {
        if sender.core {
            let local = SocketAddr::from((CORE, FIRST_PORT + i as u16));
            world.cores.push((i, CoreEnd::new(local, SINK.into(), sender.algorithm, u64::MAX, false, link.mark > 0)));
        } else if begin.send(i).is_err() {
            return false;
        }
        let until = world.clock.elapsed() + plan.gap;
        while world.clock.elapsed() < until {
            world.step();
        }
    }
    let until = world.clock.elapsed() + plan.settle;
    while world.clock.elapsed() < until {
        world.step();
    }
    let count_now = || -> Vec<u64> { received.iter().map(|r| r.load(Relaxed)).collect() };
    let (before, from) = (count_now(), world.clock.elapsed());
    while world.clock.elapsed() < from + plan.seconds * SEC {
        world.step();
    }
    let time = (world.clock.elapsed() - from) as f64;
    let rates: Vec<f64> = before.iter().zip(count_now()).map(|(a, b)| (b - a) as f64 * 8.0 / time).collect();
    report(plan, &rates, least)
}

fn report(plan: &Plan, rates: &[f64], least: f64) -> bool {
    let sum: f64 = rates.iter().sum();
    let jain = sum * sum / (rates.len() as f64 * rates.iter().map(|r| r * r).sum::<f64>());
    for (sender, rate) in plan.senders.iter().zip(rates) {
        let end = if sender.core { "core" } else { "kernel" };
        println!("share {end} {:?}: {rate:.1} Mbit/s, {:.0} %", sender.algorithm, 100.0 * rate / sum);
    }
    println!("share of {}: sum {sum:.1} Mbit/s, Jain {jain:.3}", rates.len());
    rates.iter().all(|r| *r >= least * sum / rates.len() as f64)
}
