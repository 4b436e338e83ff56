//! The native listener: tokio + hyper. It has an issue of its own and is empty until then.
