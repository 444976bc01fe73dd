//! No library: every bench is a target of its own beside it.
