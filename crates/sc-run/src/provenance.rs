//! Description of the model behind an embedding, for results.

use sc_data::identity::TrainedOn;
use sc_eval::results::Family;
use sc_train::registry::{self, Kind};

/// Family of a trained architecture.
pub fn family(architecture: &str) -> Family {
    match registry::find(architecture).map(|a| a.kind) {
        Some(Kind::NeuralBaseline) => Family::Neural,
        // An architecture of another version is treated as a foundation model.
        Some(Kind::FoundationModel) | None => Family::Model,
    }
}

/// Description of the model of an embedding, in one sentence.
pub fn description(on: &TrainedOn) -> String {
    let company = registry::find(&on.architecture).and_then(|a| a.minibatch_dependence.note(None));
    format!(
        "an embedding by {}, trained on {} cells for {} steps{}",
        on.architecture,
        on.cells,
        on.steps,
        aside(company)
    )
}

/// What is added to a description.
pub fn aside(note: Option<String>) -> String {
    note.map_or(String::new(), |n| format!("; {n}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_other_cells_says_so() {
        let of = |architecture: &str| {
            description(&TrainedOn {
                architecture: architecture.to_string(),
                ..TrainedOn::default()
            })
        };
        assert!(of("cellplm").contains("depends on the cells embedded with it: its tokens are"));
        assert!(of("uce").contains("depends on the cells embedded with it: with "));
        assert!(!of("vae").contains("depends"), "{}", of("vae"));
    }
}
