//! One stream between the kernel and the core, or between two kernels to compare.

use crate::clock::Clock;
use crate::core_end::{pattern, CoreEnd, PATTERN};
use crate::tun::{self, Tun};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::sync::Arc;
use tcp::sim::{Impairment, Link};
use tcp::{Algorithm, Time, MS, SEC};

const NEAR: &str = "10.9.0.1:5001";
const FAR: &str = "10.9.0.2:40000";
/// A stream that is checked and takes longer than this has failed.
const CHECK_LIMIT: Time = 30 * SEC;
/// A rate is measured after this long.
const WARM_UP: Time = 2 * SEC;
/// Packets read from a device before the others have their turn.
const BATCH: usize = 256;
/// Longest wait, so that progress in other threads is noticed.
const TICK: Time = 10 * MS;

/// Who talks to the kernel, which way the data goes, and under which congestion control.
pub struct Plan {
    core: bool,
    up: bool,
    algorithm: Algorithm,
}

impl Plan {
    pub fn parse(end: &str, direction: &str, algorithm: &str) -> Option<Plan> {
        let one_of = |word: &str, yes: &str, no: &str| [yes, no].contains(&word).then_some(word == yes);
        Some(Plan {
            core: one_of(end, "core", "kernel")?,
            up: one_of(direction, "up", "down")?,
            algorithm: if one_of(algorithm, "bbr", "cubic")? { Algorithm::Bbr } else { Algorithm::Cubic },
        })
    }

    fn kernel_algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Bbr => "bbr",
            Algorithm::Cubic => "cubic",
        }
    }

    fn describe(&self) -> String {
        let end = if self.core { "core" } else { "kernel" };
        format!("{end} {} {}", if self.up { "up" } else { "down" }, self.kernel_algorithm())
    }
}

/// What a kernel's end has done.
#[derive(Default)]
struct Progress {
    received: AtomicU64,
    wrong: AtomicBool,
    finished: AtomicBool,
}

/// A kernel's end: writes `total`, then reads everything.
fn kernel_end(mut socket: TcpStream, total: u64, check: bool, progress: &Progress) -> std::io::Result<()> {
    let pattern = pattern();
    let mut sent = 0;
    while sent < total {
        let at = sent as usize % PATTERN;
        sent += socket.write(&pattern[at..at + 65536.min((total - sent) as usize)])? as u64;
    }
    if total > 0 {
        socket.shutdown(Shutdown::Write)?;
    }
    let mut buffer = vec![0; 1 << 18];
    let mut received = 0;
    loop {
        let n = socket.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        let at = received as usize % PATTERN;
        if check && buffer[..n] != pattern[at..at + n] {
            progress.wrong.store(true, Relaxed);
        }
        received += n as u64;
        progress.received.store(received, Relaxed);
    }
    progress.finished.store(true, Relaxed);
    Ok(())
}

enum FarEnd {
    Core(Box<CoreEnd>),
    Kernel(Tun, Arc<Progress>),
}

/// Both ends and the link between them.
struct World {
    clock: Clock,
    near: Tun,
    near_progress: Arc<Progress>,
    far: FarEnd,
    to_far: Link,
    to_near: Link,
    buffer: Vec<u8>,
}

impl World {
    fn new(plan: &Plan, total: u64, check: bool, link: Impairment) -> World {
        tun::unshare();
        let near = Tun::open("t0", "10.9.0.1/24");
        let listener = TcpListener::bind(NEAR).expect("the port is free in a new namespace");
        tun::set_congestion(listener.as_raw_fd(), plan.kernel_algorithm());
        let near_progress = Arc::new(Progress::default());
        let progress = near_progress.clone();
        let near_total = if plan.up { 0 } else { total };
        std::thread::spawn(move || {
            let ended = listener.accept().and_then(|(socket, _)| kernel_end(socket, near_total, check, &progress));
            if let Err(error) = ended {
                eprintln!("near kernel: {error}");
            }
        });
        let far_total = if plan.up { total } else { 0 };
        let far = if plan.core {
            let address = |text: &str| text.parse().expect("an address");
            FarEnd::Core(Box::new(CoreEnd::new(
                address(FAR),
                address(NEAR),
                plan.algorithm,
                far_total,
                check,
                link.mark > 0,
            )))
        } else {
            far_kernel(plan.kernel_algorithm(), far_total)
        };
        // The impairments are in the direction of the data.
        let clean = Impairment { loss: 0, reorder: 0, ..link };
        let (forth, back) = if plan.up { (clean, link) } else { (link, clean) };
        World {
            clock: Clock::start(),
            near,
            near_progress,
            far,
            to_far: Link::new(forth, 1),
            to_near: Link::new(back, 2),
            buffer: vec![0; 65536],
        }
    }

    /// Carries what is due and waits for more.
    fn step(&mut self) {
        let now = self.clock.now();
        read_batch(&self.near, now, &mut self.to_far, &mut self.buffer);
        if let FarEnd::Kernel(device, _) = &self.far {
            read_batch(device, now, &mut self.to_near, &mut self.buffer);
        }
        while let Some(packet) = self.to_far.receive(now) {
            match &mut self.far {
                FarEnd::Core(end) => end.input(now, &packet),
                FarEnd::Kernel(device, _) => device.write(&packet),
            }
            self.to_far.recycle(packet);
        }
        if let FarEnd::Core(end) = &mut self.far {
            end.poll(now, |packet| self.to_near.send(now, packet));
        }
        while let Some(packet) = self.to_near.receive(now) {
            self.near.write(&packet);
            self.to_near.recycle(packet);
        }
        self.wait(now + TICK);
    }

    fn wait(&self, limit: Time) {
        let deadline = if let FarEnd::Core(end) = &self.far { end.deadline() } else { None };
        let next =
            [self.to_far.next_at(), self.to_near.next_at(), deadline].into_iter().flatten().fold(limit, Time::min);
        let now = self.clock.now();
        if next <= now {
            return;
        }
        match &self.far {
            FarEnd::Core(_) => tun::wait(&[&self.near], next - now),
            FarEnd::Kernel(device, _) => tun::wait(&[&self.near, device], next - now),
        }
    }

    fn received(&self, up: bool) -> u64 {
        match &self.far {
            _ if up => self.near_progress.received.load(Relaxed),
            FarEnd::Core(end) => end.received,
            FarEnd::Kernel(_, progress) => progress.received.load(Relaxed),
        }
    }

    fn describe(&self) -> String {
        let dropped = self.to_far.dropped + self.to_near.dropped;
        let marked = self.to_far.marked + self.to_near.marked;
        match &self.far {
            FarEnd::Core(end) => format!("{dropped} packets dropped, {marked} marked, {}", end.describe()),
            FarEnd::Kernel(..) => format!("{dropped} packets dropped, {marked} marked"),
        }
    }
}

/// A second kernel, in a namespace of its own, that connects to the near one.
fn far_kernel(algorithm: &'static str, total: u64) -> FarEnd {
    let progress = Arc::new(Progress::default());
    let theirs = progress.clone();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        tun::unshare();
        sender.send(Tun::open("t1", "10.9.0.2/24")).expect("somebody waits for it");
        let ended = TcpStream::connect(NEAR).and_then(|socket| {
            tun::set_congestion(socket.as_raw_fd(), algorithm);
            kernel_end(socket, total, false, &theirs)
        });
        if let Err(error) = ended {
            eprintln!("far kernel: {error}");
        }
    });
    FarEnd::Kernel(receiver.recv().expect("the device opens"), progress)
}

pub fn read_batch(device: &Tun, now: Time, link: &mut Link, buffer: &mut [u8]) {
    for _ in 0..BATCH {
        let Some(n) = device.read(buffer) else { break };
        // The kernel also sends what its IPv6 has to say.
        if buffer[0] >> 4 == 4 && i32::from(buffer[9]) == libc::IPPROTO_TCP {
            link.send(now, &buffer[..n]);
        }
    }
}

/// A stream of `mib` with every byte checked, and an orderly end. True when all of it arrived.
pub fn check(plan: &Plan, mib: u64, link: Impairment) -> bool {
    let total = mib << 20;
    let mut world = World::new(plan, total, true, link);
    loop {
        world.step();
        let FarEnd::Core(end) = &world.far else { return false };
        let wrong = end.wrong || world.near_progress.wrong.load(Relaxed);
        let received = world.received(plan.up);
        let done = received == total && end.done() && world.near_progress.finished.load(Relaxed);
        if wrong || done || world.clock.elapsed() > CHECK_LIMIT {
            let outcome = match (wrong, done) {
                (true, _) => "WRONG DATA",
                (_, true) => "complete",
                _ => "INCOMPLETE",
            };
            println!(
                "check {}: {outcome}, {} of {mib} MiB in {:.1} s, {}",
                plan.describe(),
                received >> 20,
                world.clock.elapsed() as f64 / 1e6,
                world.describe()
            );
            return done && !wrong;
        }
    }
}

/// Throughput over some seconds. True when anything arrived.
pub fn rate(plan: &Plan, seconds: u64, link: Impairment) -> bool {
    let mut world = World::new(plan, u64::MAX, false, link);
    while world.clock.elapsed() < WARM_UP {
        world.step();
    }
    let (from, start) = (world.received(plan.up), world.clock.elapsed());
    while world.clock.elapsed() < start + seconds * SEC {
        world.step();
    }
    let (bytes, time) = (world.received(plan.up) - from, world.clock.elapsed() - start);
    println!("rate {}: {:.1} Mbit/s, {}", plan.describe(), bytes as f64 * 8.0 / time as f64, world.describe());
    bytes > 0
}
