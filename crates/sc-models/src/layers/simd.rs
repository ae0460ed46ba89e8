//! Loops compiled for the vector instructions of the machine they run on.

/// Runs `body` compiled for the widest vectors this processor has.
///
/// The loop is a type, not a closure: only what is inlined into the dispatched function is compiled
/// for its instructions, and a closure is called through a shim that is not.
pub(crate) fn vectorised<B: Body>(body: B) {
    struct Call<B>(B);

    impl<B: Body> pulp::NullaryFnOnce for Call<B> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            self.0.run();
        }
    }

    pulp::Arch::new().dispatch(Call(body));
}

/// A loop for [`vectorised`]; mark `run` and all it calls `#[inline(always)]`.
pub(crate) trait Body {
    /// The loop.
    fn run(self);
}

/// `eˣ` for `x ≤ 0`, within two units in the last place; 0 below −87.
///
/// Cody–Waite reduction and a polynomial instead of a call, so that the loop around it vectorises.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let clamped = x.max(-87.0);
    // Adding and taking away 1.5 · 2²³ rounds to a whole number without a call.
    let shifted = clamped * std::f32::consts::LOG2_E + 12_582_912.0;
    let k = shifted - 12_582_912.0;
    let r = (clamped - k * 0.693_359_4) - k * -2.121_944_4e-4;
    let p = 1.0
        + r * (1.0
            + r * (0.5
                + r * (0.166_666_67
                    + r * (0.041_666_67 + r * (0.008_333_334 + r * 0.001_388_889)))));
    // The whole number stands in the last bits of the sum; a conversion would check for NaN, and the
    // loop around it would not vectorise.
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { p * power }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn exp_is_accurate_on_what_a_softmax_asks() {
        for i in 0..100_000 {
            let x = -90.0 * i as f32 / 100_000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact.max(1e-38);
            assert!(
                error < 2.5e-7 || x < -86.9,
                "exp({x}): relative error {error:e}"
            );
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }
}
