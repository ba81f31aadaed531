//! The memory that all buffers of a stack share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

struct Inner {
    limit: usize,
    used: AtomicUsize,
    refused: AtomicU64,
}

/// Counts bytes of buffers against a limit. Clones share the count.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

impl Budget {
    pub fn new(limit: usize) -> Self {
        Budget(Arc::new(Inner { limit, used: AtomicUsize::new(0), refused: AtomicU64::new(0) }))
    }

    pub fn used(&self) -> usize {
        self.0.used.load(Relaxed)
    }

    /// Buffers that were not allowed to grow.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }

    pub fn exhausted(&self) -> bool {
        self.used() >= self.0.limit
    }

    /// More than half is in use: what can be given back should be.
    pub fn scarce(&self) -> bool {
        self.used() > self.0.limit / 2
    }

    pub fn fits(&self, more: usize) -> bool {
        self.used().saturating_add(more) <= self.0.limit
    }

    pub fn refuse(&self) {
        self.0.refused.fetch_add(1, Relaxed);
    }

    pub fn take(&self, bytes: usize) {
        self.0.used.fetch_add(bytes, Relaxed);
    }

    pub fn give(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Relaxed);
    }
}
