//! The one place that knows bincode: frames to bytes and back. Its `legacy` configuration is a fixed format.

use bincode::config::{self, Configuration, Fixint, Limit, LittleEndian};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// No frame is longer, and bincode allocates no more for what a frame says is in it.
const FRAME_BYTES: usize = 1 << 20;
const CONFIGURATION: Configuration<LittleEndian, Fixint, Limit<FRAME_BYTES>> =
    config::legacy().with_limit::<FRAME_BYTES>();

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, config::legacy()).expect("plain data always has bytes")
}

/// The first frame of `bytes`, which moves on behind it.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, String> {
    assert!(size_of::<T>() > 0, "what takes no bytes could be counted without end");
    let (value, used) = bincode::serde::decode_from_slice(bytes, CONFIGURATION)
        .map_err(|error| format!("bytes that are none: {error}"))?;
    *bytes = &bytes[used..];
    Ok(value)
}

/// The only frame of `bytes`: nothing may follow it.
pub(crate) fn decode_whole<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T, String> {
    let value = decode(&mut bytes)?;
    if bytes.is_empty() { Ok(value) } else { Err(format!("{} bytes behind it", bytes.len())) }
}
