//! Loops compiled for the vector instructions of the machine at run time.

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

/// `eˣ` for `x ≤ 0`, within two units in the last place; 0 below −87, NaN for NaN.
///
/// Cody–Waite reduction and a polynomial instead of a call, so that the loop around it vectorises.
#[cfg(any(test, feature = "flex"))]
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let clamped = x.max(-87.0);
    // Adding and subtracting 1.5 · 2²³ rounds to an integer without a call.
    let shifted = clamped * std::f32::consts::LOG2_E + 12_582_912.0;
    let k = shifted - 12_582_912.0;
    let r = (clamped - k * 0.693_359_4) - k * -2.121_944_4e-4;
    let p = 1.0
        + r * (1.0
            + r * (0.5
                + r * (0.166_666_67
                    + r * (0.041_666_67 + r * (0.008_333_334 + r * 0.001_388_889)))));
    // The integer is in the last bits of the sum; a conversion would check for NaN, and the
    // loop around it would not vectorise.
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    let y = if x < -87.0 { 0.0 } else { p * power };
    // The lower bound above would hide it.
    if x.is_nan() { x } else { y }
}

/// `eˣ` for `x ≤ 0` in double precision, to 1e-15 of it; 0 below −708, NaN for NaN.
#[cfg(any(test, feature = "flex"))]
#[inline(always)]
pub(crate) fn exp64(x: f64) -> f64 {
    /// 1.5 · 2⁵², which rounds what is added to it to an integer.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let clamped = x.max(-708.0);
    let shifted = clamped * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (clamped - k * 0.693_147_180_369_123_8) - k * 1.908_214_929_270_587_7e-10;
    // Taylor's series to the twelfth term; |r| is below 0.35.
    let p = 1.0 / 39_916_800.0 + r * (1.0 / 479_001_600.0);
    let p = 1.0 / 362_880.0 + r * (1.0 / 3_628_800.0 + r * p);
    let p = 1.0 / 5_040.0 + r * (1.0 / 40_320.0 + r * p);
    let p = 1.0 / 120.0 + r * (1.0 / 720.0 + r * p);
    let p = 1.0 / 6.0 + r * (1.0 / 24.0 + r * p);
    let p = 1.0 + r * (1.0 + r * (0.5 + r * p));
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    let y = if x < -708.0 { 0.0 } else { p * power };
    if x.is_nan() { x } else { y }
}

/// `ln x` for normal `x > 0` in double precision, to 1e-15; infinity and NaN unchanged.
#[cfg(any(test, feature = "flex"))]
#[inline(always)]
pub(crate) fn ln64(x: f64) -> f64 {
    /// √½: mantissas are between it and √2.
    const LEAST: u64 = 0x3fe6_a09e_667f_3bcd;
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let bits = x.to_bits();
    let exponent = (bits.wrapping_sub(LEAST) as i64) >> 52;
    let mantissa = f64::from_bits(bits.wrapping_sub((exponent as u64) << 52));
    // As a number, without a conversion.
    let exponent = f64::from_bits(ROUND.to_bits().wrapping_add(exponent as u64)) - ROUND;
    let f = (mantissa - 1.0) / (mantissa + 1.0);
    let s = f * f;
    let p = 1.0 / 17.0 + s * (1.0 / 19.0);
    let p = 1.0 / 13.0 + s * (1.0 / 15.0 + s * p);
    let p = 1.0 / 9.0 + s * (1.0 / 11.0 + s * p);
    let p = 1.0 / 5.0 + s * (1.0 / 7.0 + s * p);
    let p = 1.0 + s * (1.0 / 3.0 + s * p);
    let high = exponent * 0.693_147_180_369_123_8;
    let y = high + (2.0 * f * p + exponent * 1.908_214_929_270_587_7e-10);
    if x < f64::INFINITY { y } else { x }
}

/// `Σ a b` in eight interleaved sums, which is what vector registers do.
#[cfg(any(test, feature = "flex"))]
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let (a8, b8) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a8.0.iter().zip(b8.0) {
        for k in 0..8 {
            sums[k] += a[k] * b[k];
        }
    }
    sums.iter().sum::<f32>() + a8.1.iter().zip(b8.1).map(|(x, y)| x * y).sum::<f32>()
}

/// Softmax of a row in place; a row of −∞ alone, which allows no key, becomes uniform: a cell without
/// counts has one, and its embedding is finite.
#[cfg(any(test, feature = "flex"))]
#[inline(always)]
pub(crate) fn softmax_row(row: &mut [f32]) {
    let mut largest = [f32::NEG_INFINITY; 8];
    let chunks = row.as_chunks::<8>();
    for c in chunks.0 {
        for k in 0..8 {
            largest[k] = largest[k].max(c[k]);
        }
    }
    let largest = largest
        .iter()
        .chain(chunks.1)
        .fold(f32::NEG_INFINITY, |m, &v| m.max(v));
    // The maximum of NaN alone is −∞ too.
    if largest == f32::NEG_INFINITY && !row.iter().any(|v| v.is_nan()) {
        row.fill(1.0 / row.len() as f32);
        return;
    }
    for v in row.iter_mut() {
        *v = exp(*v - largest);
    }
    let mut sums = [0f32; 8];
    let chunks = row.as_chunks::<8>();
    for c in chunks.0 {
        for k in 0..8 {
            sums[k] += c[k];
        }
    }
    let scale = 1.0 / (sums.iter().sum::<f32>() + chunks.1.iter().sum::<f32>());
    row.iter_mut().for_each(|v| *v *= scale);
}

#[cfg(test)]
mod tests {
    use super::{exp, exp64, ln64, softmax_row};

    #[test]
    fn double_precision_is_kept_and_nan_is_not_hidden() {
        for i in 0..200_000 {
            let x = -709.0 * f64::from(i) / 200_000.0;
            let (ours, exact) = (exp64(x), x.exp());
            let error = (ours - exact).abs() / exact.max(1e-300);
            assert!(error < 1e-15 || x < -708.0, "exp({x}): {error:e}");
            let y = x.exp().max(1e-300) * (1.0 + f64::from(i));
            let error = (ln64(y) - y.ln()).abs() / y.ln().abs().max(1.0);
            assert!(error < 1e-15, "ln({y}): {error:e}");
        }
        assert!(exp64(f64::NAN).is_nan() && ln64(f64::NAN).is_nan());
        assert_eq!(ln64(f64::INFINITY), f64::INFINITY);
        assert_eq!(exp64(f64::NEG_INFINITY), 0.0);
    }

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
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn a_softmax_does_not_hide_nan() {
        let mut one = [0.5f32; 20];
        one[3] = f32::NAN;
        for bad in [[f32::NAN; 20], one] {
            let mut row = bad;
            softmax_row(&mut row);
            assert!(row.iter().all(|v| v.is_nan()), "{row:?}");
        }
        let mut none = [f32::NEG_INFINITY; 20];
        softmax_row(&mut none);
        assert_eq!(none, [0.05; 20]);
    }
}
