//! Any text as tokenizer.json: what is accepted is written and read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sc_data::tokens::Tokenizer;

fuzz_target!(|text: &str| {
    if let Ok(tokenizer) = Tokenizer::from_json(text) {
        let again = tokenizer.to_json().unwrap();
        assert_eq!(Tokenizer::from_json(&again).unwrap(), tokenizer);
    }
});
