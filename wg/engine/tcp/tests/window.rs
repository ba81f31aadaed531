//! How the receive window follows the application.
mod common;
use common::World;
use tcp::sim::Impairment;
use tcp::{Config, MS, SEC};

/// The receive window after half a second in which one early segment is lost again and again, and the most that it began with.
fn window_behind_a_hole(read_limit: usize) -> (u64, u64) {
    let link = Impairment { rate: 10_000_000, queue: 1_000_000, ..Impairment::round_trip(40) };
    let config = Config::default();
    let mut w = World::new([config; 2], [link; 2], 3);
    w.ends[0].to_send = u64::MAX;
    w.ends[1].read_limit = read_limit;
    let mut segments = 0;
    let mut hole = None;
    w.drop = Some(Box::new(move |i, _, s| {
        if i == 1 || s.payload.is_empty() {
            return false;
        }
        segments += 1;
        if segments == 40 {
            hole = Some(s.seq);
        }
        hole == Some(s.seq)
    }));
    w.until(w.now + SEC / 2, |_| false);
    assert!(w.ends[1].got < 100_000, "the hole is open");
    let figures = w.ends[1].c.as_ref().unwrap().figures();
    (figures.receive_window, config.receive_buffer_initial as u64)
}

#[test]
fn a_window_grows_while_a_hole_keeps_the_application_from_reading() {
    let (window, initial) = window_behind_a_hole(usize::MAX);
    assert!(window > 4 * initial, "{window}");
}

#[test]
fn a_window_does_not_grow_where_nobody_reads() {
    let (window, initial) = window_behind_a_hole(0);
    assert!(window <= initial, "{window}");
}

#[test]
fn a_start_over_a_link_that_loses_finds_the_window_open() {
    let link = Impairment { loss: 10_000, rate: 2_500_000, queue: 750_000, ..Impairment::round_trip(300) };
    let mut w = World::new([Config::default(); 2], [link, Impairment::round_trip(300)], 1);
    w.ends[0].to_send = u64::MAX;
    let begin = w.now;
    let mut shut = 0;
    while w.now < begin + 4 * SEC {
        w.until(w.now + 10 * MS, |_| false);
        let [a, b] = [0, 1].map(|i| w.ends[i].c.as_ref().map(|c| c.figures()));
        let (Some(a), Some(b)) = (a, b) else { continue };
        if b.receive_window < a.window {
            shut += 1;
        }
    }
    assert!(shut < 20, "the window was smaller than the sender's own for {} ms", 10 * shut);
}
