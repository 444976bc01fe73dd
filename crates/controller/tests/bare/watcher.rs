//! The controller on a machine without an operating system: this library brings its own panic handler, which the compiler
//! refuses beside the one of `std`. So it builds only if nothing that the controller uses links `std`.
#![no_std]

use numashock_controller::{Limits, Observation, Regime, evidence, step};

#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// One bucket; how many conditions were met in it.
pub fn watch(limits: &Limits, regime: &mut Regime, seen: &Observation) -> usize {
    limits.validate().expect("valid limits");
    let met = evidence(limits, *regime, seen).filter(|one| one.is_met()).count();
    *regime = step(limits, *regime, seen).0;
    met
}
