//! The one place where blocking code meets asynchronous stores.
//!
//! Owns a small tokio runtime. The engines are threads; a [`crate::Store`] is asynchronous; everything that crosses goes
//! through [`Runtime`].

use std::{
    future::Future,
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::StoreError;

/// How long an interrupt may go unnoticed while the store is waited for.
const INTERRUPT_POLL: Duration = Duration::from_millis(50);

/// Runs the futures of stores for blocking callers. May be shared by threads.
#[derive(Debug)]
pub struct Runtime {
    inner: tokio::runtime::Runtime,
}

impl Runtime {
    /// Starts the runtime's threads.
    pub fn new() -> io::Result<Self> {
        let inner = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("headstart-io")
            .enable_all()
            .build()?;
        Ok(Runtime { inner })
    }

    /// Waits for `future`. Not to be called from within the runtime's own threads.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.inner.block_on(future)
    }

    /// Waits for `future`, or drops it soon after `interrupt` is set.
    pub fn run<T>(
        &self,
        interrupt: &AtomicBool,
        future: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.inner.block_on(async {
            tokio::select! {
                biased;
                result = future => result,
                () = interrupted(interrupt) => Err(StoreError::Interrupted),
            }
        })
    }
}

async fn interrupted(interrupt: &AtomicBool) {
    while !interrupt.load(Ordering::Relaxed) {
        tokio::time::sleep(INTERRUPT_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_ends_the_wait_for_a_store_that_hangs() {
        let runtime = Runtime::new().unwrap();
        let interrupt = AtomicBool::new(true);
        let never = std::future::pending::<Result<(), StoreError>>();
        assert!(matches!(
            runtime.run(&interrupt, never),
            Err(StoreError::Interrupted)
        ));
        assert!(runtime.run(&interrupt, async { Ok(1) }).is_ok());
    }
}
