//! Faults that others found in themselves.
