//! Weights of one network as the start of another, and parameters that training leaves as they are.

use super::{NamedTensor, Names, Tensors, Walk};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use std::collections::BTreeSet;

/// Which tensors of a network came from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Those taken from the other network.
    pub taken: BTreeSet<String>,
    /// Those the other network lacks, or has in another shape: they keep their initial values.
    pub drawn: BTreeSet<String>,
    /// Tensors of the other network that this one has no use for.
    pub left: BTreeSet<String>,
}

/// The tensors `initial` with the values of `from` wherever name and shape agree, but for those that are
/// to be drawn `anew`. A network inside another, as one below a head, is found without its first name.
pub fn transfer(
    mut initial: Tensors,
    from: &Tensors,
    names: &Names,
    anew: &BTreeSet<String>,
) -> (Tensors, Transfer) {
    let mut found: std::collections::BTreeMap<String, (&String, &NamedTensor)> = from
        .iter()
        .map(|(name, tensor)| ((names.alias)(name), (name, tensor)))
        .collect();
    let mut out = Transfer::default();
    for (name, tensor) in &mut initial {
        let inner = name.split_once('.').map_or("", |(_, inner)| inner);
        let key = [name.as_str(), inner]
            .into_iter()
            .find(|key| found.contains_key(*key));
        let other = key.and_then(|key| Some((key.to_owned(), found.get(key)?.1)));
        match other {
            Some((key, other)) if other.shape == tensor.shape && !anew.contains(name) => {
                *tensor = other.clone();
                found.remove(&key);
                out.taken.insert(name.clone());
            }
            _ => {
                out.drawn.insert(name.clone());
            }
        }
    }
    let left = found.into_values().map(|(name, _)| name);
    let unused = |name: &&String| names.unused.iter().any(|u| name.contains(u));
    out.left = left.filter(|name| !unused(name)).cloned().collect();
    (initial, out)
}

/// The number of the layer that a tensor of this name belongs to, from 0: the first number in its name
/// after a word such as `layers` or `blocks`.
pub fn layer(name: &str) -> Option<usize> {
    let parts: Vec<&str> = name.split('.').collect();
    parts.windows(2).find_map(|pair| {
        let numbered = ["layer", "layers", "block", "blocks"].contains(&pair[0]);
        pair[1].parse().ok().filter(|_| numbered)
    })
}

/// The `module` with the parameters of these published names left as they are by training.
pub fn freeze<M: Module>(module: M, names: &Names, frozen: &BTreeSet<String>) -> M {
    if frozen.is_empty() {
        return module;
    }
    module.map(&mut Freeze {
        walk: Walk::default(),
        names,
        frozen,
    })
}

struct Freeze<'a> {
    walk: Walk,
    names: &'a Names,
    frozen: &'a BTreeSet<String>,
}

impl ModuleMapper for Freeze<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walk.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walk.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.frozen.contains(&self.walk.name(self.names)) {
            true => param.set_require_grad(false),
            false => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], value: f32) -> NamedTensor {
        NamedTensor {
            shape: shape.to_vec(),
            data: vec![value; shape.iter().product()],
        }
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|n| n.to_string()).collect()
    }

    #[test]
    fn takes_what_has_the_same_name_and_shape() {
        let names = Names {
            rename: str::to_string,
            alias: |name| name.trim_start_matches("old.").to_string(),
            unused: &["counter"],
        };
        let initial = Tensors::from([
            ("encoder.w".to_string(), tensor(&[2], 0.0)),
            ("backbone.layers.0.w".to_string(), tensor(&[2], 0.0)),
            ("head.w".to_string(), tensor(&[3], 0.0)),
            ("labels.w".to_string(), tensor(&[2], 0.0)),
        ]);
        let from = Tensors::from([
            ("old.encoder.w".to_string(), tensor(&[2], 1.0)),
            ("layers.0.w".to_string(), tensor(&[2], 2.0)),
            ("head.w".to_string(), tensor(&[4], 3.0)),
            ("labels.w".to_string(), tensor(&[2], 4.0)),
            ("decoder.w".to_string(), tensor(&[1], 5.0)),
            ("counter".to_string(), tensor(&[1], 6.0)),
        ]);
        let (merged, how) = transfer(initial, &from, &names, &set(&["labels.w"]));
        assert_eq!(how.taken, set(&["encoder.w", "backbone.layers.0.w"]));
        assert_eq!(how.drawn, set(&["head.w", "labels.w"]));
        assert_eq!(how.left, set(&["decoder.w", "head.w", "labels.w"]));
        let first = |name: &str| merged[name].data[0];
        assert_eq!(
            ["encoder.w", "backbone.layers.0.w", "head.w", "labels.w"].map(first),
            [1.0, 2.0, 0.0, 0.0]
        );
    }

    #[test]
    fn layers_are_numbered_after_their_word() {
        assert_eq!(layer("transformer_encoder.layers.3.norm1.weight"), Some(3));
        assert_eq!(layer("bert.encoder.layer.11.output.dense.bias"), Some(11));
        assert_eq!(layer("decoder.fc.0.weight"), None);
        assert_eq!(layer("encoder.embedding.weight"), None);
    }
}
