//! Initial weights that depend only on the seed and the tensor's name.
//!
//! burn's initialisers draw from the device's generator, so the order of construction and the
//! device would change the weights. Here every tensor has its own stream: the same seed gives the
//! same weights on every device, and adding a head leaves the trunk unchanged.

use crate::weights::replace;
use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Tensor, TensorData};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

/// Distribution of the initial values of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Uniform on `(-a, a)`.
    Uniform(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// A constant.
    Constant(f64),
}

/// Re-draws every parameter of `module`.
///
/// `rule` may decide by path (`"encoder.embedding.weight"`); the rest follows PyTorch's
/// defaults: linear layers uniform in `±1/√fan_in`, norms 1 and 0, embeddings standard normal.
pub fn initialise<M: Module>(module: M, seed: u64, rule: fn(&str) -> Option<Init>) -> M {
    module.map(&mut Initialise {
        seed,
        rule,
        path: Vec::new(),
        containers: Vec::new(),
        fan_in: 1,
    })
}

struct Initialise {
    seed: u64,
    rule: fn(&str) -> Option<Init>,
    path: Vec<String>,
    containers: Vec<String>,
    /// Inputs of the current linear layer; its bias follows its weight.
    fan_in: usize,
}

impl Initialise {
    fn default_rule(&mut self, leaf: &str, shape: &[usize]) -> Option<Init> {
        let container = self
            .containers
            .last()
            .map(String::as_str)
            .unwrap_or_default();
        match (container, leaf) {
            ("Struct:Linear", "weight") => {
                self.fan_in = shape[0].max(1);
                Some(Init::Uniform(1.0 / (self.fan_in as f64).sqrt()))
            }
            ("Struct:Linear", _) => Some(Init::Uniform(1.0 / (self.fan_in as f64).sqrt())),
            ("Struct:Embedding", _) => Some(Init::Normal(1.0)),
            (_, "gamma") => Some(Init::Constant(1.0)),
            (_, "beta") => Some(Init::Constant(0.0)),
            _ => None,
        }
    }
}

impl ModuleMapper for Initialise {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(name.to_string());
        self.containers.push(container.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
        self.containers.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let leaf = self.path.last().cloned().unwrap_or_default();
        let shape = param.lazy_shape().to_vec();
        let default = self.default_rule(&leaf, &shape);
        // The optimiser keeps its state by id, so a resumed run must find the same ids.
        let id = ParamId::from(id_of(&path));
        let Some(init) = (self.rule)(&path).or(default) else {
            let (_, value, mapper) = param.consume();
            return Param::from_mapped_value(id, value, mapper);
        };
        let mut rng = sc_data::rng::stream(self.seed, &format!("init:{path}"), 0, 0);
        let data = draw(init, shape.iter().product(), &mut rng);
        let tensor = Tensor::from_data(TensorData::new(data, shape), &param.lazy_device());
        let (_, old, mapper) = param.consume();
        Param::from_mapped_value(id, replace(&old, tensor), mapper)
    }
}

fn id_of(path: &str) -> u64 {
    let mut bytes = [0; 8];
    sc_data::rng::stream(0, &format!("param:{path}"), 0, 0).fill_bytes(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn draw(init: Init, n: usize, rng: &mut impl Rng) -> Vec<f32> {
    match init {
        Init::Constant(c) => vec![c as f32; n],
        Init::Uniform(a) => (0..n)
            .map(|_| ((2.0 * rng.random::<f64>() - 1.0) * a) as f32)
            .collect(),
        Init::Normal(s) => (0..n)
            .map(|_| (rng.sample::<f64, _>(StandardNormal) * s) as f32)
            .collect(),
    }
}
