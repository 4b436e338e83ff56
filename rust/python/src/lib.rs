//! PyO3 bindings, thin: no rules of any kind live here.
