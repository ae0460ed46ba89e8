//! `scfm models list`.

use crate::args::{Format, Models, ModelsVerb};
use crate::error::Result;
use sc_train::registry::ARCHITECTURES;

pub(crate) fn run(args: &Models) -> Result<()> {
    let ModelsVerb::List { format } = args.verb;
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(ARCHITECTURES)?);
        return Ok(());
    }
    println!(
        "{:<10} {:<34} {:<38} {:<12} licence of the original",
        "name", "paper", "tokens", "objectives"
    );
    for a in ARCHITECTURES {
        let objectives = a.objectives.join(",");
        println!(
            "{:<10} {:<34} {:<38} {objectives:<12} {}",
            a.name, a.paper, a.tokens, a.licence
        );
    }
    Ok(())
}
