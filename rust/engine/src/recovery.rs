//! From a data directory to a state: the checkpoint, then every event after it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use durastream_storage::fs::Fs;
use durastream_storage::{OpenError, Placed, Recovering, RecoveryReport, Store, StoreOptions};

use crate::checkpoint;
use crate::core::Core;
use crate::event::Event;
use crate::rules::apply;
use crate::state::State;
use crate::watch::Wakes;

/// What an engine runs on.
pub(crate) struct Recovered {
    pub(crate) core: Arc<Core>,
    pub(crate) store: Store,
    pub(crate) report: RecoveryReport,
}

/// Opens a directory, replays it and starts its log.
pub(crate) fn recover(
    fs: Arc<dyn Fs>,
    dir: &Path,
    options: StoreOptions,
) -> Result<Recovered, OpenError> {
    let holder = format!("process {}", std::process::id());
    let mut recovering = Recovering::open(fs, dir, options, &holder)?;
    let mut state = match recovering.checkpoint() {
        None => State::default(),
        Some(bytes) => checkpoint::decode(&bytes).map_err(|malformed| OpenError::Replay {
            lsn: 0,
            detail: format!("checkpoint {malformed}"),
        })?,
    };
    let mut effects = VecDeque::new();
    let report = recovering.replay(&mut |frame| {
        let event = Event::decode(&frame.head).map_err(|malformed| malformed.to_string())?;
        let placed = Placed {
            lsn: frame.lsn,
            end: frame.end,
        };
        apply(
            &mut state,
            &event,
            frame.payload.len(),
            placed,
            &mut effects,
        )
        .map_err(|impossible| impossible.to_string())?;
        for effect in effects.drain(..) {
            state.settle(&effect);
        }
        Ok(())
    })?;
    let core = Arc::new(Core::new(state));
    recovering.set_tenancy(Arc::clone(&core) as _);
    let store = recovering.start(Arc::clone(&core) as _)?;
    {
        let mut inner = core.lock();
        inner.state.set_forgettable(store.forgettable());
        inner.state.recovered();
    }
    core.advance(store.durable().max(report.end), &mut Wakes::default());
    Ok(Recovered {
        core,
        store,
        report,
    })
}
