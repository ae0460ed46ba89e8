//! Labels of cells, by a classifier on the embedding of any network.
//!
//! For architectures whose publishers have no classifier of their own, or none of another shape.

use crate::error::{Result, TrainError};
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::{DataSpec, Role};
use crate::losses::{Labelled, Losses, of_labels};
use crate::predict::Quantity;
use crate::spec::{ModelSpec, Trainable};
use crate::task::Task;
use burn::tensor::{Device, Tensor};
use sc_data::tokens::Tokenizer;
use sc_models::annotator::{Annotator, AnnotatorConfig, ClassifierConfig};
use sc_models::configured::Configured;

/// The objective of this module in the registry.
pub const ANNOTATION: &str = "annotation";

/// `network` with a classifier of the labels of `data`.
///
/// # Errors
/// [`TrainError::Config`] where there is no column of labels, fewer than two labels, or an invalid setting.
pub(crate) fn annotated<T>(
    network: T,
    spec: &ModelSpec,
    data: &DataSpec,
) -> Result<Box<dyn Trainable>>
where
    T: Task + 'static,
    <T::Model as Configured>::Config: Clone + Send + Sync,
{
    let classifier = spec.classifier.clone().unwrap_or_default();
    classifier.check()?;
    let config = AnnotatorConfig {
        network: network.network().clone(),
        width: Task::dims(&network),
        classes: classes(spec, data)?,
        classifier,
    };
    Ok(Box::new(AnnotationTask { network, config }))
}

/// Number of labels of `data`, two at least.
///
/// # Errors
/// [`TrainError::Config`] where there is no column of labels, or fewer than two labels.
pub(crate) fn classes(spec: &ModelSpec, data: &DataSpec) -> Result<usize> {
    let name = format!(
        "{} with objective = '{}'",
        spec.architecture,
        spec.objective()?
    );
    match data.count(Role::Label, &name)? {
        n if n < 2 => Err(TrainError::Config(format!(
            "{name}: all labelled cells are '{}', but a classifier needs at least two labels; give a column \
             with two labels or more: [obs] label = \"COLUMN\"",
            data.levels[&Role::Label].concat()
        ))),
        n => Ok(n),
    }
}

/// A network with a classifier as a task.
struct AnnotationTask<T: Task> {
    network: T,
    config: AnnotatorConfig<<T::Model as Configured>::Config>,
}

impl<T> Task for AnnotationTask<T>
where
    T: Task,
    <T::Model as Configured>::Config: Send + Sync,
{
    type Model = Annotator<T::Model>;
    type Input = (T::Cells, Labelled);
    type Cells = T::Cells;

    fn network(&self) -> &AnnotatorConfig<<T::Model as Configured>::Config> {
        &self.config
    }

    fn seed(&self) -> u64 {
        self.network.seed()
    }

    fn build(&self, device: &Device) -> Result<Self::Model> {
        let network = self.network.build(device)?;
        Ok(Annotator::on(network, &self.config, self.seed(), device))
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        self.network.minibatches(corpus, size, epoch)
    }

    fn prepare(&self, cells: CellBatch, _: u64) -> Result<Self::Input> {
        let labels = Labelled::of(&cells);
        Ok((self.network.cells(cells)?, labels))
    }

    fn losses(&self, model: &Self::Model, input: Self::Input, _: u64, device: &Device) -> Losses {
        let (cells, labels) = input;
        let cells = self.network.encode(&model.network, cells, device);
        of_labels(model.classify(cells), labels, device)
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        self.network.embed_minibatches(corpus)
    }

    fn cells(&self, cells: CellBatch) -> Result<T::Cells> {
        self.network.cells(cells)
    }

    fn encode(&self, model: &Self::Model, cells: T::Cells, device: &Device) -> Tensor<2> {
        self.network.encode(&model.network, cells, device)
    }

    fn classifier(&self) -> Option<&ClassifierConfig> {
        Some(&self.config.classifier)
    }

    fn predicts(&self) -> Vec<Quantity> {
        vec![Quantity::Labels]
    }

    fn predict(
        &self,
        model: &Self::Model,
        cells: T::Cells,
        quantity: Quantity,
        device: &Device,
    ) -> Option<Tensor<2>> {
        let cells = self.network.encode(&model.network, cells, device);
        (quantity == Quantity::Labels).then(|| model.classify(cells))
    }

    fn reads(&self) -> Vec<Role> {
        let mut roles = Task::reads(&self.network);
        if !roles.contains(&Role::Label) {
            roles.push(Role::Label);
        }
        roles
    }

    fn dims(&self) -> usize {
        Task::dims(&self.network)
    }

    fn tokenizer(&self) -> Tokenizer {
        Task::tokenizer(&self.network)
    }
}
