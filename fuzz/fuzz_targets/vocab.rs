//! Any bytes as a published vocabulary.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(found) = sc_data::genes::vocab::parse(bytes) {
        assert_eq!(found.genes.len(), found.tokens.len());
        let _ = found.vocabulary();
    }
});
