//! Fast Fourier transforms of many real channels at once, for any length.
//!
//! Channels are the vector lanes: two channels share a complex number (one its real, the other its
//! imaginary part), and [`LANES`] such numbers go through every butterfly together. The forward
//! transform leaves its result in digit-reversed order and the inverse starts from there, so nothing
//! is ever reordered. Twiddles are computed in `f64`.

/// Complex numbers that go through a butterfly together.
pub(super) const LANES: usize = 8;
/// Real channels of a block.
pub(super) const CHANNELS: usize = 2 * LANES;
/// One vector.
pub(super) type Lane = [f32; LANES];
/// Points of a block whose remaining stages run in the cache.
const CACHED: usize = 2048;

/// Complex points of [`LANES`] pairs of channels.
#[derive(Clone, Debug)]
pub(super) struct Spectrum {
    pub(super) re: Vec<Lane>,
    pub(super) im: Vec<Lane>,
}

impl Spectrum {
    pub(super) fn zeros(n: usize) -> Self {
        Self {
            re: vec![[0.0; LANES]; n],
            im: vec![[0.0; LANES]; n],
        }
    }

    pub(super) fn clear(&mut self) {
        self.re.fill([0.0; LANES]);
        self.im.fill([0.0; LANES]);
    }
}

/// Size, factors and twiddles of a transform.
#[derive(Debug)]
pub(super) struct Plan {
    n: usize,
    radices: Vec<usize>,
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// Position of the frequency `−f`, for the position of every `f`.
    mirror: Vec<u32>,
}

impl Plan {
    /// A transform of the smallest {2, 3, 5}-smooth number of points not below `at_least`.
    pub(super) fn new(at_least: usize) -> Self {
        let n = smooth(at_least.max(1));
        let radices = factors(n);
        let angle = |k: usize| std::f64::consts::TAU * k as f64 / n as f64;
        let places: Vec<usize> = (0..n).map(|f| place(f, n, &radices)).collect();
        let mut mirror = vec![0; n];
        for (f, &at) in places.iter().enumerate() {
            mirror[at] = places[(n - f) % n] as u32;
        }
        Self {
            n,
            cos: (0..n).map(|k| angle(k).cos() as f32).collect(),
            sin: (0..n).map(|k| angle(k).sin() as f32).collect(),
            radices,
            mirror,
        }
    }

    /// Points.
    pub(super) fn len(&self) -> usize {
        self.n
    }

    pub(super) fn mirror(&self) -> &[u32] {
        &self.mirror
    }

    /// Natural to digit-reversed order, in place.
    #[inline(always)]
    pub(super) fn forward(&self, x: &mut Spectrum) {
        let outer = self.outer();
        let mut size = self.n;
        for &radix in &self.radices[..outer] {
            self.forward_stage(&mut x.re, &mut x.im, size, radix);
            size /= radix;
        }
        let blocks = x.re.chunks_exact_mut(size).zip(x.im.chunks_exact_mut(size));
        for (re, im) in blocks {
            let mut inner = size;
            for &radix in &self.radices[outer..] {
                self.forward_stage(re, im, inner, radix);
                inner /= radix;
            }
        }
    }

    /// Digit-reversed to natural order, in place, without the factor `1/n`.
    #[inline(always)]
    pub(super) fn inverse(&self, x: &mut Spectrum) {
        // With the parts swapped the inverse is a forward transform.
        let (re, im) = (&mut x.im, &mut x.re);
        let outer = self.outer();
        let size = self.radices[..outer].iter().fold(self.n, |n, r| n / r);
        let blocks = re.chunks_exact_mut(size).zip(im.chunks_exact_mut(size));
        for (re, im) in blocks {
            let mut inner = 1;
            for &radix in self.radices[outer..].iter().rev() {
                inner *= radix;
                self.inverse_stage(re, im, inner, radix);
            }
        }
        let mut inner = size;
        for &radix in self.radices[..outer].iter().rev() {
            inner *= radix;
            self.inverse_stage(re, im, inner, radix);
        }
    }

    /// Stages before the blocks fit the cache.
    fn outer(&self) -> usize {
        let mut size = self.n;
        let mut fits = |radix: &usize| {
            let large = size > CACHED;
            size /= radix;
            large
        };
        self.radices.iter().copied().take_while(|r| fits(r)).count()
    }

    #[inline(always)]
    fn forward_stage(&self, re: &mut [Lane], im: &mut [Lane], size: usize, radix: usize) {
        match radix {
            2 => self.decimate::<2>(re, im, size),
            3 => self.decimate::<3>(re, im, size),
            4 => self.decimate::<4>(re, im, size),
            _ => self.decimate::<5>(re, im, size),
        }
    }

    #[inline(always)]
    fn inverse_stage(&self, re: &mut [Lane], im: &mut [Lane], size: usize, radix: usize) {
        match radix {
            2 => self.combine::<2>(re, im, size),
            3 => self.combine::<3>(re, im, size),
            4 => self.combine::<4>(re, im, size),
            _ => self.combine::<5>(re, im, size),
        }
    }

    /// `X_p[j] = w^{jp} Σ_q x[j + m q] e^{−2πi pq/R}` for every block of `size` points.
    #[inline(always)]
    fn decimate<const R: usize>(&self, re: &mut [Lane], im: &mut [Lane], size: usize) {
        let (m, stride) = (size / R, self.n / size);
        for (re, im) in re.chunks_exact_mut(size).zip(im.chunks_exact_mut(size)) {
            for j in 0..m {
                let mut a: [Lane; R] = std::array::from_fn(|q| re[j + m * q]);
                let mut b: [Lane; R] = std::array::from_fn(|q| im[j + m * q]);
                butterfly(&mut a, &mut b);
                (re[j], im[j]) = (a[0], b[0]);
                for p in 1..R {
                    let (c, s) = (self.cos[j * p * stride], self.sin[j * p * stride]);
                    (re[j + m * p], im[j + m * p]) = turn(a[p], b[p], c, s);
                }
            }
        }
    }

    /// The transpose of [`Plan::decimate`]: twiddles first, then the small transform.
    #[inline(always)]
    fn combine<const R: usize>(&self, re: &mut [Lane], im: &mut [Lane], size: usize) {
        let (m, stride) = (size / R, self.n / size);
        for (re, im) in re.chunks_exact_mut(size).zip(im.chunks_exact_mut(size)) {
            for j in 0..m {
                let mut a = [[0f32; LANES]; R];
                let mut b = [[0f32; LANES]; R];
                (a[0], b[0]) = (re[j], im[j]);
                for p in 1..R {
                    let (c, s) = (self.cos[j * p * stride], self.sin[j * p * stride]);
                    (a[p], b[p]) = turn(re[j + m * p], im[j + m * p], c, s);
                }
                butterfly(&mut a, &mut b);
                for q in 0..R {
                    (re[j + m * q], im[j + m * q]) = (a[q], b[q]);
                }
            }
        }
    }
}

/// `(a + i b)(c − i s)`.
#[inline(always)]
fn turn(a: Lane, b: Lane, c: f32, s: f32) -> (Lane, Lane) {
    (each(|i| a[i] * c + b[i] * s), each(|i| b[i] * c - a[i] * s))
}

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> Lane {
    let mut out = [0.0; LANES];
    for (i, o) in out.iter_mut().enumerate() {
        *o = f(i);
    }
    out
}

#[inline(always)]
fn add(a: Lane, b: Lane) -> Lane {
    each(|i| a[i] + b[i])
}

#[inline(always)]
fn sub(a: Lane, b: Lane) -> Lane {
    each(|i| a[i] - b[i])
}

/// `a + x b + y c`.
#[inline(always)]
fn mix(a: Lane, x: f32, b: Lane, y: f32, c: Lane) -> Lane {
    each(|i| a[i] + x * b[i] + y * c[i])
}

/// The transform of `R` points in place.
#[inline(always)]
fn butterfly<const R: usize>(re: &mut [Lane; R], im: &mut [Lane; R]) {
    let zero = [0.0; LANES];
    match R {
        2 => {
            let (a, b) = (re[1], im[1]);
            (re[1], im[1]) = (sub(re[0], a), sub(im[0], b));
            (re[0], im[0]) = (add(re[0], a), add(im[0], b));
        }
        4 => {
            let (a0, b0) = (add(re[0], re[2]), add(im[0], im[2]));
            let (a1, b1) = (sub(re[0], re[2]), sub(im[0], im[2]));
            let (a2, b2) = (add(re[1], re[3]), add(im[1], im[3]));
            let (a3, b3) = (sub(re[1], re[3]), sub(im[1], im[3]));
            (re[0], im[0]) = (add(a0, a2), add(b0, b2));
            (re[1], im[1]) = (add(a1, b3), sub(b1, a3));
            (re[2], im[2]) = (sub(a0, a2), sub(b0, b2));
            (re[3], im[3]) = (sub(a1, b3), add(b1, a3));
        }
        3 => {
            const SIN: f32 = 0.866_025_4;
            let (a, b) = (add(re[1], re[2]), add(im[1], im[2]));
            let (c, d) = (sub(re[1], re[2]), sub(im[1], im[2]));
            let (m, n) = (
                mix(re[0], -0.5, a, 0.0, zero),
                mix(im[0], -0.5, b, 0.0, zero),
            );
            (re[0], im[0]) = (add(re[0], a), add(im[0], b));
            (re[1], im[1]) = (mix(m, SIN, d, 0.0, zero), mix(n, -SIN, c, 0.0, zero));
            (re[2], im[2]) = (mix(m, -SIN, d, 0.0, zero), mix(n, SIN, c, 0.0, zero));
        }
        _ => {
            const C1: f32 = 0.309_017;
            const C2: f32 = -0.809_017;
            const S1: f32 = 0.951_056_5;
            const S2: f32 = 0.587_785_24;
            let (a1, b1) = (add(re[1], re[4]), add(im[1], im[4]));
            let (a2, b2) = (add(re[2], re[3]), add(im[2], im[3]));
            let (a3, b3) = (sub(re[1], re[4]), sub(im[1], im[4]));
            let (a4, b4) = (sub(re[2], re[3]), sub(im[2], im[3]));
            let (m1, n1) = (mix(re[0], C1, a1, C2, a2), mix(im[0], C1, b1, C2, b2));
            let (m2, n2) = (mix(re[0], C2, a1, C1, a2), mix(im[0], C2, b1, C1, b2));
            (re[0], im[0]) = (mix(re[0], 1.0, a1, 1.0, a2), mix(im[0], 1.0, b1, 1.0, b2));
            (re[1], im[1]) = (mix(m1, S1, b3, S2, b4), mix(n1, -S1, a3, -S2, a4));
            (re[4], im[4]) = (mix(m1, -S1, b3, -S2, b4), mix(n1, S1, a3, S2, a4));
            (re[2], im[2]) = (mix(m2, S2, b3, -S1, b4), mix(n2, -S2, a3, S1, a4));
            (re[3], im[3]) = (mix(m2, -S2, b3, S1, b4), mix(n2, S2, a3, -S1, a4));
        }
    }
}

/// The smallest number not below `n` without prime factors above 5.
pub(super) fn smooth(n: usize) -> usize {
    let rest = |mut k: usize| {
        for p in [2, 3, 5] {
            while k.is_multiple_of(p) {
                k /= p;
            }
        }
        k
    };
    (n..).find(|&k| rest(k) == 1).unwrap_or(n)
}

/// Radices of the stages: fours first, since they are cheapest.
fn factors(mut n: usize) -> Vec<usize> {
    let mut out = Vec::new();
    for radix in [4, 2, 3, 5] {
        while n > 1 && n.is_multiple_of(radix) {
            out.push(radix);
            n /= radix;
        }
    }
    out
}

/// Position of frequency `f` after the forward transform.
fn place(mut f: usize, n: usize, radices: &[usize]) -> usize {
    let (mut size, mut at) = (n, 0);
    for &radix in radices {
        size /= radix;
        at += (f % radix) * size;
        f /= radix;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition_at_every_kind_of_length() {
        for n in [1, 2, 3, 4, 5, 6, 8, 15, 20, 60, 64, 96, 360, 4096 + 404] {
            let plan = Plan::new(n);
            let n = plan.len();
            let value = |t: usize, i: usize| ((t * 31 + i * 17) % 23) as f32 / 11.0 - 1.0;
            let mut x = Spectrum::zeros(n);
            for t in 0..n {
                for i in 0..LANES {
                    (x.re[t][i], x.im[t][i]) = (value(t, i), value(t + 7, i + 3));
                }
            }
            let before = x.clone();
            plan.forward(&mut x);
            for f in [0, 1, n / 2, n - 1] {
                let f = f % n;
                let at = place(f, n, &plan.radices);
                assert_eq!(
                    place((n - f) % n, n, &plan.radices),
                    plan.mirror[at] as usize
                );
                let (mut re, mut im) = (0f64, 0f64);
                for t in 0..n {
                    let angle = -std::f64::consts::TAU * (f * t % n) as f64 / n as f64;
                    let (a, b) = (f64::from(before.re[t][2]), f64::from(before.im[t][2]));
                    re += a * angle.cos() - b * angle.sin();
                    im += a * angle.sin() + b * angle.cos();
                }
                let scale = (n as f64).sqrt();
                assert!(
                    (re - f64::from(x.re[at][2])).abs() < 1e-6 * scale.max(1.0) * 3.0,
                    "{n}"
                );
                assert!(
                    (im - f64::from(x.im[at][2])).abs() < 1e-6 * scale.max(1.0) * 3.0,
                    "{n}"
                );
            }
            plan.inverse(&mut x);
            for t in 0..n {
                for i in 0..LANES {
                    assert!((x.re[t][i] / n as f32 - before.re[t][i]).abs() < 2e-6);
                    assert!((x.im[t][i] / n as f32 - before.im[t][i]).abs() < 2e-6);
                }
            }
        }
    }

    #[test]
    fn sizes_are_the_least_smooth_ones() {
        assert_eq!([7, 11, 39_999, 1].map(smooth), [8, 12, 40_000, 1]);
    }
}
