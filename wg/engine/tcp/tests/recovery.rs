//! What ends a recovery, and what is taken for a sign that it was a mistake (RFC 3522).
mod common;
use common::flows::{bottleneck, Flows, Plan};
use common::World;
use std::cell::Cell;
use std::rc::Rc;
use tcp::sim::Impairment;
use tcp::{Algorithm, Config, Segment, Time, MS, SEC};

type Lose = Box<dyn FnMut(usize, Time, &Segment) -> bool>;

const ROUND_TRIP: Time = 50 * MS;

/// Loses what makes a recovery end while what is lost beyond its end is still being repaired: the segment of this number and its first
/// repetition, one sent half a round trip after that, and one in the next round trip. Tells when the repetition was sent.
fn overlapping(number: usize) -> (Lose, Rc<Cell<Option<Time>>>) {
    let repeated: Rc<Cell<Option<Time>>> = Rc::default();
    let told = repeated.clone();
    let (mut fresh, mut next, mut chosen) = (0, None, None);
    let mut later = [ROUND_TRIP / 2, ROUND_TRIP * 6 / 5].into_iter().peekable();
    let lose = move |end: usize, now: Time, s: &Segment| {
        if end != 0 || s.payload.is_empty() {
            return false;
        }
        if next.is_some_and(|next| s.seq != next) {
            let first = chosen == Some(s.seq) && told.get().is_none();
            if first {
                told.set(Some(now));
            }
            return first;
        }
        fresh += 1;
        next = Some(s.seq.wrapping_add(s.payload.len() as u32));
        if fresh == number {
            chosen = Some(s.seq);
            return true;
        }
        later.next_if(|after| told.get().is_some_and(|at| now >= at + after)).is_some()
    };
    (Box::new(lose), repeated)
}

#[test]
fn what_repairs_a_loss_beyond_a_recovery_does_not_undo_the_next() {
    let config = Config { algorithm: Algorithm::Cubic, ..Config::default() };
    let mut w = World::new([config, config], [Impairment::round_trip(50); 2], 3);
    let (lose, repeated) = overlapping(200);
    w.drop = Some(lose);
    w.ends[0].to_send = 20_000_000;
    let window = |w: &World| w.ends[0].c.as_ref().unwrap().figures().window;
    assert!(w.until(10 * SEC, |_| repeated.get().is_some()));
    let (at, before) = (repeated.get().unwrap(), window(&w));
    assert!(w.until(10 * SEC, |w| w.now > at + 5 * ROUND_TRIP));
    // Seven tenths, twice.
    let after = window(&w);
    assert!(after < before * 6 / 10, "{after} of {before}");
}

#[test]
fn what_was_only_late_is_undone() {
    let link = Impairment { reorder: 10_000, ..bottleneck(100.0, 40.0, 1.0) };
    let (send_buffer_max, receive_buffer_max) = (8 << 20, 8 << 20);
    let config = Config { algorithm: Algorithm::Cubic, send_buffer_max, receive_buffer_max, ..Config::default() };
    let rate = Flows::new(&[Plan { config, start: 0 }], link, 7).rates(2 * SEC, 32 * SEC)[0];
    assert!(rate > 90.0, "{rate}");
}
