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
