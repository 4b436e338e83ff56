//! Threads of a store.

use std::path::Path;
use std::thread;

use super::Store;
use crate::error::{During, OpenError};

/// Of the threads that seal and merge: a tenth of the processor time of the others, while those want all of it.
#[cfg(target_os = "linux")]
const BACKGROUND_NICENESS: i32 = 10;

impl Store {
    /// Starts one, to be joined at the end.
    pub(super) fn spawn(
        &self,
        name: &str,
        dir: &Path,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), OpenError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.during("start of a thread", dir)?;
        self.inner.threads.lock().push(thread);
        Ok(())
    }
}

/// Has the work take what processor time others leave. On Linux alone is a priority a thread's own.
pub(super) fn behind(work: impl FnOnce() + Send + 'static) -> impl FnOnce() + Send + 'static {
    move || {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::setpriority_process(None, BACKGROUND_NICENESS) {
            tracing::debug!(%error, "a background thread keeps its priority");
        }
        work();
    }
}
