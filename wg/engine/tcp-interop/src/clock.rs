//! Real time in the core's units.

use std::time::Instant;
use tcp::{Time, SEC};

pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Clock(Instant::now())
    }

    /// Microseconds; one second at the start.
    pub fn now(&self) -> Time {
        SEC + self.elapsed()
    }

    pub fn elapsed(&self) -> Time {
        self.0.elapsed().as_micros() as Time
    }
}
