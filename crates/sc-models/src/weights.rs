//! Reading and writing weights, under the names of their publishers.
//!
//! Every architecture keeps the published tensor names and layouts in its weight files, so a
//! `model.safetensors` written here can be loaded in PyTorch with the original code, and vice
//! versa. Loading is strict: every missing, extra or mis-shaped tensor is listed and refused,
//! unless the architecture's [`Names`] mark it as unused.

mod checkpoint;
mod transfer;

pub use checkpoint::{Checkpoint, parameters};
pub use transfer::{Transfer, freeze, layer, transfer};

use crate::error::{ModelError, Result};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;
use std::path::Path;

/// One tensor in the published layout (linear weights `[out, in]`), row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Length of every axis.
    pub shape: Vec<usize>,
    /// Values, last axis fastest.
    pub data: Vec<f32>,
}

/// Tensors by published name.
pub type Tensors = BTreeMap<String, NamedTensor>;

/// Mapping of an architecture's module paths to published names.
#[derive(Clone, Copy)]
pub struct Names {
    /// From our path, with `weight` and `bias` as leaves, to the published name.
    pub rename: fn(&str) -> String,
    /// From another published name of a tensor to the one above; most return it unchanged.
    pub alias: fn(&str) -> String,
    /// Published tensors without information (dead parameters, counters), by a part of their name.
    pub unused: &'static [&'static str],
}

/// State of a walk through a module.
#[derive(Default)]
struct Walk {
    names: Vec<String>,
    containers: Vec<String>,
}

impl Walk {
    fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.to_string());
        self.containers.push(container.to_string());
    }

    fn exit(&mut self) {
        self.names.pop();
        self.containers.pop();
    }

    fn in_linear(&self) -> bool {
        self.containers.last().is_some_and(|c| c == "Struct:Linear")
    }

    fn name(&self, names: &Names) -> String {
        let mut parts = self.names.clone();
        if let Some(last) = parts.last_mut() {
            match last.as_str() {
                "gamma" | "alpha" => *last = "weight".into(),
                "beta" => *last = "bias".into(),
                _ => {}
            }
        }
        (names.rename)(&parts.join("."))
    }

    /// Our linear weights are `[in, out]`, the published ones `[out, in]`.
    fn transposed(&self, rank: usize) -> bool {
        rank == 2 && self.in_linear() && self.names.last().is_some_and(|n| n == "weight")
    }
}

fn export<const D: usize>(tensor: Tensor<D>, transposed: bool) -> NamedTensor {
    let tensor = if transposed {
        tensor.swap_dims(0, 1)
    } else {
        tensor
    };
    let shape = tensor.dims().to_vec();
    NamedTensor {
        shape,
        data: host(tensor),
    }
}

/// Scalars are rank 0 in PyTorch and rank 1 here.
const SCALARS: [&str; 2] = ["num_batches_tracked", "logit_scale"];

fn is_scalar(name: &str) -> bool {
    SCALARS.iter().any(|s| name.ends_with(s))
}

/// Copies a tensor to the host as `f32`, last axis fastest.
///
/// Waits for the device; [`crate::device::reads`] counts how often.
pub fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    crate::device::count_read();
    tensor
        .into_data_as::<f32>()
        .try_into_vec::<f32>()
        .expect("invariant: data converted to f32 are f32")
}

/// Every parameter and buffer of `module`, by published name.
pub fn tensors<M: Module>(module: &M, names: &Names) -> Tensors {
    let mut collect = Collect {
        walk: Walk::default(),
        names,
        out: Tensors::new(),
    };
    module.visit(&mut collect);
    collect.out
}

struct Collect<'a> {
    walk: Walk,
    names: &'a Names,
    out: Tensors,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walk.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walk.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut tensor = export(param.val().inner_or_self(), self.walk.transposed(D));
        let name = self.walk.name(self.names);
        if is_scalar(&name) {
            tensor.shape.clear();
        }
        self.out.insert(name, tensor);
    }
}

/// The gradient of every parameter that has one, by published name and in published layout.
pub fn gradients<M: Module>(module: &M, grads: &GradientsParams, names: &Names) -> Tensors {
    let mut collect = CollectGrads {
        walk: Walk::default(),
        names,
        grads,
        out: Tensors::new(),
    };
    module.visit(&mut collect);
    collect.out
}

struct CollectGrads<'a> {
    walk: Walk,
    names: &'a Names,
    grads: &'a GradientsParams,
    out: Tensors,
}

impl ModuleVisitor for CollectGrads<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walk.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walk.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            let tensor = export(grad, self.walk.transposed(D));
            self.out.insert(self.walk.name(self.names), tensor);
        }
    }
}

/// Loads `tensors` into `module`.
///
/// # Errors
/// [`ModelError::Weights`] lists every tensor that is missing, unknown, or of another shape.
pub fn load<M: Module>(module: M, tensors: Tensors, names: &Names) -> Result<M> {
    let mut problems = Vec::new();
    let mut known = Tensors::new();
    for (name, tensor) in tensors {
        let to = (names.alias)(&name);
        if known.get(&to).is_some_and(|old| *old != tensor) {
            problems.push(format!(
                "{name}: a second tensor for {to}, with other values"
            ));
        }
        known.insert(to, tensor);
    }
    let mut fill = Fill {
        walk: Walk::default(),
        names,
        tensors: known,
        problems,
    };
    let module = module.map(&mut fill);
    let Fill {
        tensors,
        mut problems,
        ..
    } = fill;
    for (name, tensor) in &tensors {
        if !names.unused.iter().any(|u| name.contains(u)) {
            problems.push(format!(
                "{name} {:?}: not a tensor of this model",
                tensor.shape
            ));
        }
    }
    refuse(problems).map(|()| module)
}

/// Checks whether `tensors` match `module`, without reading their values.
///
/// # Errors
/// As [`load`].
pub fn check<M: Module>(module: &M, tensors: &Tensors, names: &Names) -> Result<()> {
    let shapes = shapes(module, names);
    let mut problems = Vec::new();
    let found: BTreeMap<String, &NamedTensor> = tensors
        .iter()
        .map(|(name, t)| ((names.alias)(name), t))
        .collect();
    for (name, shape) in &shapes {
        match found.get(name) {
            None => problems.push(format!("{name} {shape:?}: missing")),
            Some(t) if t.shape != *shape => problems.push(format!(
                "{name}: shape {:?}, but the model needs {shape:?}",
                t.shape
            )),
            Some(_) => {}
        }
    }
    for (name, tensor) in found {
        if !shapes.contains_key(&name) && !names.unused.iter().any(|u| name.contains(u)) {
            problems.push(format!(
                "{name} {:?}: not a tensor of this model",
                tensor.shape
            ));
        }
    }
    refuse(problems)
}

/// Published shape of every parameter and buffer of `module`, by published name.
pub fn shapes<M: Module>(module: &M, names: &Names) -> BTreeMap<String, Vec<usize>> {
    let mut expected = Expected {
        walk: Walk::default(),
        names,
        shapes: BTreeMap::new(),
    };
    module.visit(&mut expected);
    expected.shapes
}

fn refuse(mut problems: Vec<String>) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort();
    Err(ModelError::Weights(format!(
        "the weights do not match the model; {} tensors are wrong:\n  {}\ncheck that config and \
         weights belong together",
        problems.len(),
        problems.join("\n  ")
    )))
}

struct Expected<'a> {
    walk: Walk,
    names: &'a Names,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl ModuleVisitor for Expected<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walk.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walk.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.walk.name(self.names);
        let mut shape = param.lazy_shape().to_vec();
        if self.walk.transposed(D) {
            shape.reverse();
        }
        if is_scalar(&name) {
            shape.clear();
        }
        self.shapes.insert(name, shape);
    }
}

struct Fill<'a> {
    walk: Walk,
    names: &'a Names,
    tensors: Tensors,
    problems: Vec<String>,
}

impl ModuleMapper for Fill<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walk.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walk.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.walk.name(self.names);
        let transposed = self.walk.transposed(D);
        let mut expected = param.lazy_shape().to_vec();
        if transposed {
            expected.reverse();
        }
        let scalar = is_scalar(&name);
        if scalar {
            expected.clear();
        }
        match self.tensors.remove(&name) {
            None => self.problems.push(format!("{name} {expected:?}: missing")),
            Some(found) if found.shape != expected => self.problems.push(format!(
                "{name}: shape {:?}, but the model needs {expected:?}",
                found.shape
            )),
            Some(found) => {
                let device = param.lazy_device();
                let shape = if scalar { vec![1] } else { found.shape };
                let data = TensorData::new(found.data, shape);
                let tensor = Tensor::<D>::from_data(data, &device);
                let tensor = if transposed {
                    contiguous_transpose(tensor)
                } else {
                    tensor
                };
                return param.map(|old| replace(&old, tensor));
            }
        }
        param
    }
}

/// Replaces `old` by `new`: trained if `old` was, as a leaf, even if computed from `old`.
pub(crate) fn replace<const D: usize>(old: &Tensor<D>, new: Tensor<D>) -> Tensor<D> {
    if old.is_require_grad() {
        new.detach().require_grad()
    } else {
        new
    }
}

/// A contiguous transpose, so that later products run on contiguous rows.
fn contiguous_transpose<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    let device = tensor.device();
    let swapped = tensor.swap_dims(0, 1);
    let shape = swapped.dims();
    Tensor::from_data(TensorData::new(host(swapped), shape), &device)
}

/// `Tensor::inner` that also accepts tensors without autodiff.
trait InnerOrSelf {
    fn inner_or_self(self) -> Self;
}

impl<const D: usize> InnerOrSelf for Tensor<D> {
    fn inner_or_self(self) -> Self {
        if self.device().is_autodiff() {
            self.inner()
        } else {
            self
        }
    }
}

/// Reads all tensors of a safetensors file or a PyTorch checkpoint.
///
/// # Errors
/// [`ModelError::File`] when it cannot be read.
pub fn read(path: &Path) -> Result<Tensors> {
    Checkpoint::open(path)?.into_tensors("")
}

/// Reads a safetensors file.
///
/// # Errors
/// [`ModelError::File`] when the file cannot be read or holds anything but floating-point and
/// integer tensors.
pub fn read_safetensors(path: &Path) -> Result<Tensors> {
    let bytes = std::fs::read(path).map_err(|e| ModelError::file(path, e))?;
    let file = safetensors::SafeTensors::deserialize(&bytes).map_err(|e| {
        ModelError::file(path, format!("not a safetensors file, or truncated: {e}"))
    })?;
    file.iter()
        .map(|(name, view)| {
            let data = to_f32(view.dtype(), view.data()).ok_or_else(|| {
                ModelError::file(
                    path,
                    format!("tensor {name}: type {:?} is not supported", view.dtype()),
                )
            })?;
            Ok((
                name.to_string(),
                NamedTensor {
                    shape: view.shape().to_vec(),
                    data,
                },
            ))
        })
        .collect()
}

fn to_f32(dtype: safetensors::Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    use safetensors::Dtype;
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|c| f(*c)).collect()
    }
    Some(match dtype {
        Dtype::F32 => each::<4>(bytes, f32::from_le_bytes),
        Dtype::F64 => each::<8>(bytes, |b| f64::from_le_bytes(b) as f32),
        Dtype::F16 => each::<2>(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each::<2>(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        Dtype::I64 => each::<8>(bytes, |b| i64::from_le_bytes(b) as f32),
        Dtype::I32 => each::<4>(bytes, |b| i32::from_le_bytes(b) as f32),
        Dtype::I16 => each::<2>(bytes, |b| f32::from(i16::from_le_bytes(b))),
        Dtype::I8 => each::<1>(bytes, |b| f32::from(i8::from_le_bytes(b))),
        Dtype::U8 | Dtype::BOOL => bytes.iter().map(|&b| f32::from(b)).collect(),
        _ => return None,
    })
}

/// Serialises `tensors` as safetensors, sorted by name, so equal weights are equal bytes.
///
/// # Errors
/// [`ModelError::Weights`] when a tensor's shape does not match its data.
pub fn to_safetensors(tensors: &Tensors) -> Result<Vec<u8>> {
    let bytes: Vec<(&String, &NamedTensor, Vec<u8>)> = tensors
        .iter()
        .map(|(n, t)| (n, t, t.data.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, t, b)| {
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, t.shape.clone(), b)
                .map(|v| ((*name).clone(), v))
                .map_err(|e| ModelError::Weights(format!("tensor {name}: {e}")))
        })
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, None)
        .map_err(|e| ModelError::Weights(format!("cannot serialise the weights: {e}")))
}
