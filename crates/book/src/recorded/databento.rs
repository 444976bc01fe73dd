//! Databento.
