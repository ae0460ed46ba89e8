//! Operations on host memory, with their own gradients.
//!
//! burn composes an operation from many passes over memory; on a CPU the passes dominate the cost.
//! A [`HostOp`] does forward and backward in one pass each over plain slices. It applies to the
//! `flex` device only: [`apply`] returns `None` elsewhere, and the caller composes instead.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Bytes, DType, Shape, Tensor};
use std::fmt::Debug;
use std::marker::PhantomData;

/// A function of `N` tensors on the host, and its gradient.
pub(crate) trait HostOp<const N: usize>: Clone + Debug + Send + 'static {
    /// The output's values.
    fn forward(&self, inputs: [&[f32]; N]) -> Vec<f32>;

    /// The gradient of every input, where `wanted`; `grad` is that of the output.
    fn backward(
        &self,
        inputs: [&[f32]; N],
        grad: &[f32],
        wanted: [bool; N],
    ) -> [Option<Vec<f32>>; N];
}

/// A tensor of any rank on the way into [`apply`].
pub(crate) enum Input {
    Plain(FlexTensor),
    Tracked(burn::backend::tensor::FloatTensor<Autodiff<Flex>>),
}

impl Input {
    /// `None` when the tensor does not live on the `flex` device.
    pub(crate) fn new<const D: usize>(tensor: Tensor<D>) -> Option<Self> {
        if tensor.dtype() != DType::F32 {
            return None;
        }
        if tensor.device().is_autodiff() {
            tensor
                .try_into_primitive::<Autodiff<Flex>>()
                .ok()
                .map(Self::Tracked)
        } else {
            tensor.try_into_primitive::<Flex>().ok().map(Self::Plain)
        }
    }
}

/// Applies `op`, recording its gradient when an input is tracked.
///
/// `None` when the inputs are not all plain or all tracked tensors of the `flex` device.
pub(crate) fn apply<const N: usize, const D: usize, O: HostOp<N>>(
    op: O,
    inputs: [Option<Input>; N],
    shape: [usize; D],
) -> Option<Tensor<D>> {
    let mut plain = Vec::with_capacity(N);
    let mut tracked = Vec::with_capacity(N);
    for input in inputs {
        match input? {
            Input::Plain(t) => plain.push(t),
            Input::Tracked(t) => tracked.push(t),
        }
    }
    if let Ok(plain) = <[FlexTensor; N]>::try_from(plain) {
        let (output, _) = run(&op, plain, &shape);
        return Some(Tensor::from_primitive::<Flex>(output));
    }
    let parts: Vec<_> = tracked.into_iter().map(|t| t.into_parts()).collect();
    let (tensors, nodes): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let tensors = <[FlexTensor; N]>::try_from(tensors).ok()?;
    let nodes = <[_; N]>::try_from(nodes).ok()?;
    let (output, tensors) = run(&op, tensors, &shape);
    let prepared =
        Backward::<Flex, N>::prepare::<NoCheckpointing>(Recorded::<O>(PhantomData), nodes)
            .compute_bound()
            .stateful();
    let output = match prepared {
        OpsKind::Tracked(prep) => prep.finish((op, tensors), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex>>(output))
}

fn run<const N: usize, O: HostOp<N>>(
    op: &O,
    tensors: [FlexTensor; N],
    shape: &[usize],
) -> (FlexTensor, [FlexTensor; N]) {
    let tensors = tensors.map(|t| {
        if t.is_contiguous() {
            t
        } else {
            t.to_contiguous()
        }
    });
    let output = op.forward(slices(&tensors));
    debug_assert_eq!(output.len(), shape.iter().product::<usize>());
    (tensor(output, shape), tensors)
}

fn slices<const N: usize>(tensors: &[FlexTensor; N]) -> [&[f32]; N] {
    std::array::from_fn(|i| {
        tensors[i]
            .as_slice::<f32>()
            .expect("invariant: contiguous f32 on the host")
    })
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    let layout = Layout::contiguous(Shape::from(shape.to_vec()));
    FlexTensor::new(Bytes::from_elems(values), layout, DType::F32)
}

/// The backward pass of a [`HostOp`]; its state holds the op and its inputs.
#[derive(Debug)]
struct Recorded<O>(PhantomData<fn() -> O>);

impl<const N: usize, O: HostOp<N>> Backward<Flex, N> for Recorded<O> {
    type State = (O, [FlexTensor; N]);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let grad = if grad.is_contiguous() {
            grad
        } else {
            grad.to_contiguous()
        };
        let (op, inputs) = ops.state;
        let wanted = std::array::from_fn(|i| ops.parents[i].is_some());
        let values = grad
            .as_slice::<f32>()
            .expect("invariant: contiguous f32 on the host");
        let results = op.backward(slices(&inputs), values, wanted);
        for ((parent, result), input) in ops.parents.into_iter().zip(results).zip(&inputs) {
            if let (Some(node), Some(values)) = (parent, result) {
                grads.register::<Flex>(node.id, tensor(values, input.layout().shape()));
            }
        }
    }
}
