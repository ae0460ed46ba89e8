//! Columns of `obs` as classes with their own tokens.

use crate::error::{Result, TrainError};
use crate::inputs::corpus::CellBatch;
use crate::inputs::data_spec::{DataSpec, MISSING, Role};
use crate::losses::scprint::Hierarchy;
use crate::task::whole;
use burn::tensor::Tensor;
use sc_data::genes::ontology::{self, LabelHierarchy};
use sc_models::scprint::Class;
use std::path::Path;

/// A logit of probability 0.
const NEVER: f32 = -1e30;

/// Label of every cell in the order of the hierarchy; none where it is unknown.
pub type Labels = Vec<Option<usize>>;

/// The classes of a data set.
#[derive(Clone, Debug, Default)]
pub struct ClassTokens {
    roles: Vec<Role>,
    /// Code of every value of a column in its hierarchy.
    codes: Vec<Vec<usize>>,
    /// Hierarchy of the labels of every class.
    pub hierarchies: Vec<Hierarchy>,
}

impl ClassTokens {
    /// The classes of `roles`, cell types with the ontology where there is one.
    ///
    /// # Errors
    /// A role without a column, an unreadable ontology, or one without any of the labels.
    pub fn new(data: &DataSpec, roles: &[Role], path: Option<&Path>) -> Result<Self> {
        let objective = "scprint with objective = 'denoise-classes'";
        if roles.is_empty() {
            return Err(TrainError::Config(format!(
                "{objective}: input.classes is empty; give roles such as \"label\""
            )));
        }
        let mut out = Self::default();
        for &role in roles {
            let count = data.count(role, objective)?;
            let labels = &data.levels[&role];
            let found = match path.filter(|_| role == Role::Label) {
                Some(path) => {
                    let found = ontology::read(path)?.hierarchy(labels);
                    if found.unknown.len() == count {
                        return Err(TrainError::file(
                            path,
                            format!(
                                "has none of the {count} labels, such as '{}'; labels are matched by \
                                 id or name",
                                labels.first().map_or("", String::as_str)
                            ),
                        ));
                    }
                    found
                }
                None => LabelHierarchy::flat(count),
            };
            out.roles.push(role);
            out.codes.push(found.code);
            out.hierarchies.push(Hierarchy {
                leaves: found.leaves,
                inner: found.inner,
            });
        }
        Ok(out)
    }

    /// Roles of the classes.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// The place of `role` among the classes.
    pub fn place(&self, role: Role) -> Option<usize> {
        self.roles.iter().position(|r| *r == role)
    }

    /// Logits of the labels of the class at `place`, in the order of their codes in the data, from those
    /// of its leaves, `[cells, leaves]`. A label above others is not predicted.
    pub fn of_leaves(&self, place: usize, logits: Tensor<2>) -> Tensor<2> {
        let leaves = self.hierarchies[place].leaves;
        let [cells, _] = logits.dims();
        let device = logits.device();
        let never = Tensor::full([cells, 1], NEVER, &device);
        let columns = self.codes[place].iter().map(|&c| c.min(leaves) as i64);
        Tensor::cat(vec![logits, never], 1).select(1, whole(columns.collect(), &device))
    }

    /// The classes for the network.
    pub fn classes(&self) -> Vec<Class> {
        let pairs = self.roles.iter().zip(&self.hierarchies);
        pairs
            .map(|(role, hierarchy)| Class {
                name: name(*role).to_string(),
                leaves: hierarchy.leaves,
            })
            .collect()
    }

    /// Labels of cells, class by class.
    pub fn of(&self, cells: &CellBatch) -> Vec<Labels> {
        let pairs = self.roles.iter().zip(&self.codes);
        pairs
            .map(|(role, order)| {
                let codes = cells.codes(*role).into_iter();
                let place = |code: u32| match code {
                    MISSING => None,
                    code => order.get(code as usize).copied(),
                };
                codes.map(place).collect()
            })
            .collect()
    }
}

/// The name of a class in the published weights, where it has one.
fn name(role: Role) -> &'static str {
    match role {
        Role::Label => "cell_type_ontology_term_id",
        Role::Species => "organism_ontology_term_id",
        Role::Assay => "assay_ontology_term_id",
        other => other.word(),
    }
}
