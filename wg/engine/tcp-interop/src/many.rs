//! Short connections both ways between the stack and the kernel, each with a half close.

use crate::clock::Clock;
use crate::tun::{self, Tun};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use tcp::sim::{Impairment, Link};
use tcp::{Config, Handle, Limits, Stack, State, Time, MS, SEC};

const KERNEL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)), 81);
const STACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2)), 80);
const REQUEST: usize = 1000;
const REPLY: usize = 5000;
const THREADS: usize = 8;
const CONCURRENT: usize = 64;
/// Connections that are not done by then have failed.
const LIMIT: Time = 40 * SEC;
const TICK: Time = 5 * MS;

fn request(i: usize) -> Vec<u8> {
    (0..REQUEST).map(|k| (k * 7 + i) as u8).collect()
}

fn reply(request: &[u8]) -> Vec<u8> {
    (0..REPLY).map(|k| request[k % request.len()] ^ 0x55).collect()
}

/// What the kernel's clients have done.
#[derive(Default)]
struct Progress {
    good: AtomicUsize,
    ended: AtomicUsize,
}

/// One exchange of a kernel client with the stack.
fn ask(i: usize) -> std::io::Result<bool> {
    let mut socket = TcpStream::connect(STACK)?;
    socket.write_all(&request(i))?;
    socket.shutdown(Shutdown::Write)?;
    let mut received = vec![];
    socket.read_to_end(&mut received)?;
    Ok(received == reply(&request(i)))
}

fn kernel_clients(count: usize, progress: &Arc<Progress>) {
    for thread in 0..THREADS {
        let progress = progress.clone();
        std::thread::spawn(move || {
            for i in (thread..count).step_by(THREADS) {
                match ask(i) {
                    Ok(true) => _ = progress.good.fetch_add(1, Relaxed),
                    other => eprintln!("kernel client {i}: {other:?}"),
                }
                progress.ended.fetch_add(1, Relaxed);
            }
        });
    }
}

fn kernel_server(listener: TcpListener) {
    for socket in listener.incoming() {
        let Ok(mut socket) = socket else { continue };
        std::thread::spawn(move || {
            let mut received = vec![];
            if socket.read_to_end(&mut received).is_ok() && received.len() == REQUEST {
                // A client that has gone counts as a failure on its own side.
                let _ = socket.write_all(&reply(&received));
            }
        });
    }
}

/// The stack and what its applications are doing.
struct Ends {
    stack: Stack,
    serving: HashMap<Handle, Vec<u8>>,
    asking: HashMap<Handle, (usize, Vec<u8>)>,
    asked: usize,
    good: usize,
    bad: usize,
}

impl Ends {
    fn accept(&mut self) {
        while let Some((_, handle)) = self.stack.accept_any() {
            self.serving.insert(handle, vec![]);
        }
    }

    fn connect(&mut self, now: Time, count: usize) {
        while self.asked < count && self.asking.len() < CONCURRENT {
            let Ok(handle) = self.stack.connect(now, STACK.ip(), KERNEL) else { break };
            if let Some(connection) = self.stack.get_mut(handle) {
                connection.send(&request(self.asked));
            }
            self.asking.insert(handle, (self.asked, vec![]));
            self.asked += 1;
        }
    }

    /// Looks only at what the stack says was touched.
    fn work(&mut self, now: Time) {
        while let Some(handle) = self.stack.poll_activity() {
            if self.serving.contains_key(&handle) {
                self.serve(now, handle);
            } else if self.asking.contains_key(&handle) {
                self.hear(now, handle);
            }
        }
    }

    fn serve(&mut self, now: Time, handle: Handle) {
        let (Some(received), Some(connection)) = (self.serving.get_mut(&handle), self.stack.get_mut(handle)) else {
            return;
        };
        if !read_all(now, connection, received) {
            return;
        }
        if received.len() == REQUEST {
            assert_eq!(connection.send(&reply(received)), REPLY);
        } else {
            eprintln!("stack server: {} bytes, {:?}", received.len(), connection.error());
        }
        self.serving.remove(&handle);
        self.stack.release(now, handle);
    }

    fn hear(&mut self, now: Time, handle: Handle) {
        let (Some((i, received)), Some(connection)) = (self.asking.get_mut(&handle), self.stack.get_mut(handle)) else {
            return;
        };
        if connection.state() == State::Established {
            connection.shutdown();
        }
        if !read_all(now, connection, received) {
            return;
        }
        if *received == reply(&request(*i)) {
            self.good += 1;
        } else {
            self.bad += 1;
            eprintln!("stack client {i}: {} bytes, {:?}", received.len(), connection.error());
        }
        self.asking.remove(&handle);
        self.stack.release(now, handle);
    }
}

/// Reads what there is; true at the end of the stream.
fn read_all(now: Time, connection: &mut tcp::Connection, received: &mut Vec<u8>) -> bool {
    let (a, b) = connection.peek();
    received.extend_from_slice(a);
    received.extend_from_slice(b);
    let n = a.len() + b.len();
    connection.consume(now, n);
    connection.receive_finished()
}

/// `count` exchanges each way. True when all of them were right.
pub fn run(count: usize, half_open: usize, link: Impairment) -> bool {
    tun::unshare();
    let device = Tun::open("t0", "10.9.0.1/24");
    let listener = TcpListener::bind(KERNEL).expect("the port is free in a new namespace");
    std::thread::spawn(move || kernel_server(listener));
    let limits = Limits { half_open, ..Limits::default() };
    let mut stack = Stack::new(Config::default(), limits, (std::process::id().into(), 7));
    stack.listen(STACK.port());
    let progress = Arc::new(Progress::default());
    kernel_clients(count, &progress);
    let mut ends = Ends { stack, serving: HashMap::new(), asking: HashMap::new(), asked: 0, good: 0, bad: 0 };
    let (mut to_stack, mut to_kernel) = (Link::new(link, 3), Link::new(link, 4));
    let clock = Clock::start();
    let (mut buffer, mut packet) = (vec![0; 65536], vec![0; 2048]);
    while (progress.ended.load(Relaxed) < count || ends.good + ends.bad < count) && clock.elapsed() < LIMIT {
        let now = clock.now();
        while let Some(n) = device.read(&mut buffer) {
            to_stack.send(now, &buffer[..n]);
        }
        while let Some(p) = to_stack.receive(now) {
            ends.stack.handle_packet(now, &p);
            to_stack.recycle(p);
        }
        ends.accept();
        ends.connect(now, count);
        ends.work(now);
        ends.stack.poll_transmit(now, |burst| {
            for i in 0..burst.count() {
                let n = burst.write(i, &mut packet);
                to_kernel.send(now, &packet[..n]);
            }
            true
        });
        ends.work(now);
        while let Some(p) = to_kernel.receive(now) {
            device.write(&p);
            to_kernel.recycle(p);
        }
        let deadlines = [to_stack.next_at(), to_kernel.next_at(), ends.stack.poll_timeout()];
        let next = deadlines.into_iter().flatten().fold(now + TICK, Time::min);
        let now = clock.now();
        if next > now {
            tun::wait(&[&device], next - now);
        }
    }
    let kernel_good = progress.good.load(Relaxed);
    println!(
        "many: kernel to stack {kernel_good} of {count}, stack to kernel {} of {count}, {:.1} s, {:?}",
        ends.good,
        clock.elapsed() as f64 / 1e6,
        ends.stack.counters()
    );
    kernel_good == count && ends.good == count
}
