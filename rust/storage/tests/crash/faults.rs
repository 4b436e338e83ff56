//! Disks that refuse: at every operation, with `EIO` and `ENOSPC`, once and for good.
