#![allow(missing_docs, clippy::unwrap_used, reason = "a test binary")]
