//! The built-in tables of human and mouse genes: ids, symbols, former names, orthologues.
//!
//! Sources and dates are in `data/README.md`.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::OnceLock;

use super::{Organism, is_ensembl, normal_form};

/// A gene of a built-in table, by the number of its Ensembl id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gene {
    organism: Species,
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Species {
    Human,
    Mouse,
}

impl Gene {
    /// The Ensembl id, without version.
    pub fn ensembl_id(&self) -> String {
        match self.organism {
            Species::Human => format!("ENSG{:011}", self.number),
            Species::Mouse => format!("ENSMUSG{:011}", self.number),
        }
    }

    /// Its organism.
    pub fn organism(&self) -> Organism {
        match self.organism {
            Species::Human => Organism::Human,
            Species::Mouse => Organism::Mouse,
        }
    }

    /// The current symbol, where it has one.
    pub fn symbol(&self) -> Option<&'static str> {
        table(self.organism).symbols.get(&self.number).map(|s| &**s)
    }

    /// The one-to-one orthologue of the other organism, if there is
    /// one.
    pub fn ortholog(&self) -> Option<Gene> {
        let (to, organism) = match self.organism {
            Species::Human => (&orthologs().0, Species::Mouse),
            Species::Mouse => (&orthologs().1, Species::Human),
        };
        to.get(&self.number)
            .map(|&number| Gene { organism, number })
    }
}

/// The kind of name that was found, the most reliable first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameKind {
    /// Ensembl id.
    Id,
    /// Current symbol.
    Symbol,
    /// Previous symbol of this gene, and current symbol of no other.
    Previous,
    /// Alias of this gene, and a symbol of no other.
    Alias,
}

/// Finds a name among the genes of an organism; `None` when it is unknown or ambiguous.
///
/// ```
/// use sc_data::genes::{Organism, lookup, NameKind};
/// let (gene, kind) = lookup("SEPT9", Organism::Human).unwrap();
/// assert_eq!((gene.symbol(), kind), (Some("SEPTIN9"), NameKind::Previous));
/// assert_eq!(gene.ensembl_id(), "ENSG00000184640");
/// ```
pub fn lookup(name: &str, organism: Organism) -> Option<(Gene, NameKind)> {
    let species = match organism {
        Organism::Human => Species::Human,
        Organism::Mouse => Species::Mouse,
        Organism::HumanAndMouse | Organism::Unknown => return None,
    };
    let id = normal_form(name);
    if is_ensembl(id) {
        let prefix = match species {
            Species::Human => "ENSG",
            Species::Mouse => "ENSMUSG",
        };
        let number = id.strip_prefix(prefix)?.parse().ok()?;
        // Ids without a symbol are in no table, and still identify a gene.
        let organism = species;
        return Some((Gene { organism, number }, NameKind::Id));
    }
    let (number, kind) = *table(species).names.get(name)?;
    let organism = species;
    number.map(|number| (Gene { organism, number }, kind))
}

struct Table {
    symbols: HashMap<u64, Box<str>>,
    /// The gene of a name; `None` where it is ambiguous.
    names: HashMap<Box<str>, (Option<u64>, NameKind)>,
}

fn table(species: Species) -> &'static Table {
    static HUMAN: OnceLock<Table> = OnceLock::new();
    static MOUSE: OnceLock<Table> = OnceLock::new();
    match species {
        Species::Human => HUMAN.get_or_init(|| parse(include_bytes!("../../data/human.tsv.gz"))),
        Species::Mouse => MOUSE.get_or_init(|| parse(include_bytes!("../../data/mouse.tsv.gz"))),
    }
}

fn parse(packed: &[u8]) -> Table {
    let text = unpack(packed);
    let mut table = Table {
        symbols: HashMap::new(),
        names: HashMap::new(),
    };
    for kind in [NameKind::Symbol, NameKind::Previous, NameKind::Alias] {
        for line in text.lines() {
            let mut fields = line.split('\t');
            let Some(number) = fields.next().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let names = fields.nth(kind as usize - 1).unwrap_or_default();
            for name in names.split('|').filter(|n| !n.is_empty()) {
                if kind == NameKind::Symbol {
                    table.symbols.insert(number, name.into());
                }
                table
                    .names
                    .entry(name.into())
                    .and_modify(|(known, as_kind)| {
                        // A more reliable name keeps its gene; two equally reliable ones have none.
                        if *as_kind == kind && *known != Some(number) {
                            *known = None;
                        }
                    })
                    .or_insert((Some(number), kind));
            }
        }
    }
    table
}

type Pairs = (HashMap<u64, u64>, HashMap<u64, u64>);

fn orthologs() -> &'static Pairs {
    static PAIRS: OnceLock<Pairs> = OnceLock::new();
    PAIRS.get_or_init(|| {
        let text = unpack(include_bytes!("../../data/orthologs.tsv.gz"));
        let pairs = text.lines().filter_map(|line| {
            let (human, mouse) = line.split_once('\t')?;
            Some((human.parse().ok()?, mouse.parse().ok()?))
        });
        let pairs: Vec<(u64, u64)> = pairs.collect();
        let back = pairs.iter().map(|&(h, m)| (m, h)).collect();
        (pairs.into_iter().collect(), back)
    })
}

fn unpack(packed: &[u8]) -> String {
    let mut text = String::new();
    // The tables are part of the program; a test reads them all.
    let _ = flate2::read::GzDecoder::new(packed).read_to_string(&mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_whole() {
        assert_eq!(table(Species::Human).symbols.len(), 42_756);
        assert_eq!(table(Species::Mouse).symbols.len(), 56_408);
        assert_eq!(orthologs().0.len(), 16_483);
        assert_eq!(orthologs().1.len(), 16_483);
    }

    #[test]
    fn names_of_every_kind_lead_to_their_gene() {
        let find = |n: &str| lookup(n, Organism::Human).map(|(g, k)| (g.symbol(), k));
        assert_eq!(find("TP53"), Some((Some("TP53"), NameKind::Symbol)));
        assert_eq!(
            find("ENSG00000141510.18"),
            Some((Some("TP53"), NameKind::Id))
        );
        assert_eq!(find("p53"), Some((Some("TP53"), NameKind::Alias)));
        assert_eq!(find("NO-SUCH-GENE"), None);
        assert_eq!(lookup("ENSMUSG00000059552", Organism::Human), None);
        assert_eq!(lookup("TP53", Organism::Unknown), None);
    }

    #[test]
    fn orthologues_lead_there_and_back() {
        let (human, _) = lookup("TP53", Organism::Human).unwrap();
        let mouse = human.ortholog().unwrap();
        assert_eq!(mouse.symbol(), Some("Trp53"));
        assert_eq!(mouse.ortholog(), Some(human));
    }
}
