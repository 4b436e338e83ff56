//! What is done to a data directory beside running it: check, repair, dump. Everything but a repair
//! changes no byte.

mod dump;
mod examine;
mod fault;
mod holdings;
mod repair;

pub use dump::{Dumped, DumpedFrame, dump};
pub use examine::{Depth, Examined, examine};
pub use fault::{Fault, FaultKind};
pub use repair::{Loss, RepairError, Repaired, repair, sweep};
