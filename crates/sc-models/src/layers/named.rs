//! Modules with names known only at run time: one per species, one per class.

use burn::module::{Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault};
use burn::module::{ModuleMapper, ModuleVisitor};
use burn::tensor::Device;
use std::fmt::Debug;

/// Modules in order, each below its own name in the weight file (`torch.nn.ModuleDict`).
#[derive(Clone, Debug)]
pub struct Named<M> {
    entries: Vec<(String, M)>,
}

/// Name of this container in the walk through the weights.
const CONTAINER: &str = "Named";

impl<M> Named<M> {
    /// Modules and their names.
    pub fn new(entries: impl IntoIterator<Item = (String, M)>) -> Self {
        Self {
            entries: entries.into_iter().collect(),
        }
    }

    /// The modules with their names, in the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &M)> {
        self.entries.iter().map(|(name, m)| (name.as_str(), m))
    }

    /// The module at `index`.
    pub fn at(&self, index: usize) -> Option<&M> {
        self.entries.get(index).map(|(_, m)| m)
    }

    fn each(self, f: impl Fn(M) -> M) -> Self {
        Self::new(self.entries.into_iter().map(|(name, m)| (name, f(m))))
    }
}

impl<T: Module> Module for Named<T> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        let all = self.entries.iter();
        all.fold(devices, |devices, (_, m)| m.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        self.each(|m| m.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.each(|m| m.to_device(device))
    }

    fn train(self) -> Self {
        self.each(Module::train)
    }

    fn valid(&self) -> Self {
        Self::new(self.entries.iter().map(|(n, m)| (n.clone(), m.valid())))
    }

    fn materialize(self) -> Self {
        self.each(Module::materialize)
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for (name, module) in &self.entries {
            visitor.enter_module(name, CONTAINER);
            module.visit(visitor);
            visitor.exit_module(name, CONTAINER);
        }
    }

    fn map<P: ModuleMapper>(self, mapper: &mut P) -> Self {
        Self::new(self.entries.into_iter().map(|(name, module)| {
            mapper.enter_module(&name, CONTAINER);
            let module = module.map(mapper);
            mapper.exit_module(&name, CONTAINER);
            (name, module)
        }))
    }
}

impl<M: ModuleDisplay> ModuleDisplayDefault for Named<M> {
    fn content(&self, content: Content) -> Option<Content> {
        let all = self.entries.iter();
        all.fold(content, |content, (name, m)| content.add(name, m))
            .optional()
    }
}

impl<M: ModuleDisplay> ModuleDisplay for Named<M> {}
