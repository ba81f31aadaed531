//! The core against the Linux kernel over a TUN device, with a simulated link between. Needs root and /dev/net/tun; works in
//! network namespaces of its own.
//!
//! ```text
//! tcp-interop check up|down bbr|cubic MIB [LINK]        a stream with every byte checked, to or from the kernel
//! tcp-interop many COUNT HALF_OPEN [LINK]               short connections both ways; HALF_OPEN 0 for SYN cookies only
//! tcp-interop rate core|kernel up|down bbr|cubic SECONDS [LINK]   throughput, of the core or of a second kernel
//! tcp-interop share END:ALGORITHM,... GAP_MS SETTLE SECONDS LEAST [LINK]   streams through one bottleneck, each begun GAP_MS
//!     after the one before, measured for SECONDS once all have run for SETTLE seconds; LEAST is the smallest share wanted of
//!     each, in percent of an equal one
//! LINK: rtt=MS loss=PERCENT reorder=PERCENT rate=MBIT queue=MS jitter=MS mark=MS (of queue, for ECN)
//! ```
//!
//! Exit code 0 when everything arrived (or was shared), 1 when not, 2 for wrong arguments.

mod clock;
mod core_end;
mod many;
mod share;
mod stream;
mod tun;

use std::process::ExitCode;
use tcp::sim::Impairment;
use tcp::Time;

/// The link that `rtt=66 loss=1 ...` describe; its queue holds 50 ms unless it says otherwise.
fn link(args: &[String]) -> Option<Impairment> {
    let mut link = Impairment { reorder_by: 10_000, ..Impairment::default() };
    let (mut queue, mut mark) = (50.0, 0.0);
    for arg in args {
        let (key, value) = arg.split_once('=')?;
        let value: f64 = value.parse().ok()?;
        match key {
            "rtt" => link.delay = (value * 500.0) as Time,
            "loss" => link.loss = (value * 10_000.0) as u32,
            "reorder" => link.reorder = (value * 10_000.0) as u32,
            "jitter" => link.jitter = (value * 1000.0) as Time,
            "rate" => link.rate = (value * 125_000.0) as u64,
            "queue" => queue = value,
            "mark" => mark = value,
            _ => return None,
        }
    }
    link.queue = (link.rate as f64 * queue / 1000.0) as u64;
    link.mark = (link.rate as f64 * mark / 1000.0) as u64;
    Some(link)
}

fn run(args: &[String]) -> Option<bool> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["check", direction, algorithm, mib, ..] => {
            stream::check(&stream::Plan::parse("core", direction, algorithm)?, mib.parse().ok()?, link(&args[4..])?)
        }
        ["many", count, half_open, ..] => many::run(count.parse().ok()?, half_open.parse().ok()?, link(&args[3..])?),
        ["rate", end, direction, algorithm, seconds, ..] => {
            stream::rate(&stream::Plan::parse(end, direction, algorithm)?, seconds.parse().ok()?, link(&args[5..])?)
        }
        ["share", list, gap, settle, seconds, least, ..] => {
            let plan = share::Plan::parse(list, gap.parse().ok()?, settle.parse().ok()?, seconds.parse().ok()?)?;
            share::run(&plan, link(&args[6..])?, least.parse::<f64>().ok()? / 100.0)
        }
        _ => return None,
    }
    .into()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None => {
            eprintln!("usage: see the head of main.rs");
            ExitCode::from(2)
        }
    }
}
