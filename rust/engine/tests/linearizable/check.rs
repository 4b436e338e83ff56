//! Looks for a sequential order of one path's calls.

use std::collections::HashSet;

use super::model::{Answer, Ask, Model};

/// A call, its answer, and when it began and ended, by a clock that all threads share.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) ask: Ask,
    pub(crate) answer: Answer,
}

/// Whether some order of the calls, none put before one that had ended when it began, gives just
/// these answers.
pub(crate) fn is_linearizable(calls: &[Call]) -> bool {
    assert!(calls.len() <= 64, "one bit for each");
    let all = u64::MAX.checked_shr(64 - calls.len() as u32).unwrap_or(0);
    let mut seen = HashSet::new();
    let mut open = vec![(0_u64, Model::default())];
    while let Some((done, model)) = open.pop() {
        if done == all {
            return true;
        }
        let rest = || {
            calls
                .iter()
                .enumerate()
                .filter(|(at, _)| done & (1 << at) == 0)
        };
        let first_end = rest().map(|(_, call)| call.ended).min().unwrap_or(u64::MAX);
        for (at, call) in rest().filter(|(_, call)| call.began < first_end) {
            if let Some(next) = model.after(&call.ask, &call.answer) {
                let step = (done | 1 << at, next);
                if seen.insert(step.clone()) {
                    open.push(step);
                }
            }
        }
    }
    false
}
