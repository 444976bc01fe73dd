//! The numashock command.
fn main() {}
