//! The `date` header's value, made once a second.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// The last second looked at, as text.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    text: String,
    second: u64,
}

impl Clock {
    /// Looks at the time.
    pub(crate) fn tick(&mut self) {
        let wall = SystemTime::now();
        let second = wall
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        if second != self.second {
            self.second = second;
            self.text = OffsetDateTime::from(wall).format(DATE).unwrap_or_default();
        }
    }

    /// The value as of the last look.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The value now.
    pub(crate) fn now(&mut self) -> &str {
        self.tick();
        &self.text
    }
}
