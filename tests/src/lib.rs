//! No library: every test is in the binary beside it.
