//! Python's pickled dictionaries of names and numbers, such as Geneformer's `token_dictionary.pkl`.
//!
//! Nothing is executed: opcodes that make or call anything but text, numbers and one dictionary are
//! refused.

use crate::error::{DataError, Result};

/// Whether bytes begin as a pickle of protocol 2 or newer does.
pub(super) fn is_pickle(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 2..=5, ..])
}

/// What a dictionary is made of.
#[derive(Clone, Debug)]
enum Item {
    Text(String),
    Number(u64),
    Dictionary,
    Mark,
}

/// Names and numbers of a pickled dictionary, in its order.
///
/// # Errors
/// [`DataError::Invalid`] for anything else.
pub(super) fn dictionary(bytes: &[u8]) -> Result<Vec<(String, u64)>> {
    let mut reader = Reader { bytes, at: 0 };
    let mut stack: Vec<Item> = Vec::new();
    let mut memo: Vec<Item> = Vec::new();
    let mut pairs = Vec::new();
    loop {
        let at = reader.at;
        match reader.byte()? {
            // Protocol, frame.
            0x80 => drop(reader.take(1)?),
            0x95 => drop(reader.take(8)?),
            b'}' => stack.push(Item::Dictionary),
            b'(' => stack.push(Item::Mark),
            // Memory: by order, or by a number that is the order.
            0x94 => memo.extend(stack.last().cloned()),
            b'q' | b'r' => {
                let n = reader.number(if bytes[at] == b'q' { 1 } else { 4 })?;
                if n as usize != memo.len() {
                    return fail(at, "remembers things out of order");
                }
                memo.extend(stack.last().cloned());
            }
            b'h' | b'j' => {
                let n = reader.number(if bytes[at] == b'h' { 1 } else { 4 })?;
                match memo.get(n as usize) {
                    Some(item) => stack.push(item.clone()),
                    None => return fail(at, "recalls what was never said"),
                }
            }
            0x8c => stack.push(reader.text(1)?),
            b'X' => stack.push(reader.text(4)?),
            0x8d => stack.push(reader.text(8)?),
            b'K' => stack.push(Item::Number(reader.number(1)?)),
            b'M' => stack.push(Item::Number(reader.number(2)?)),
            b'J' => stack.push(Item::Number(reader.number(4)?)),
            b's' => set(&mut stack, 2, &mut pairs, at)?,
            b'u' => {
                let Some(mark) = stack.iter().rposition(|i| matches!(i, Item::Mark)) else {
                    return fail(at, "sets items without a beginning");
                };
                stack.remove(mark);
                let count = stack.len() - mark;
                set(&mut stack, count, &mut pairs, at)?;
            }
            b'.' => {
                return match stack[..] {
                    [Item::Dictionary] => Ok(pairs),
                    _ => fail(at, "is no dictionary"),
                };
            }
            other => {
                return fail(
                    at,
                    &format!("holds more than names and integers (opcode {other:#04x})"),
                );
            }
        }
    }
}

/// Moves the last `count` items, names and numbers in turn, into the dictionary below them.
fn set(
    stack: &mut Vec<Item>,
    count: usize,
    pairs: &mut Vec<(String, u64)>,
    at: usize,
) -> Result<()> {
    let Some(first) = stack.len().checked_sub(count) else {
        return fail(at, "sets items that are not there");
    };
    let mut items = stack.drain(first..);
    while let Some(name) = items.next() {
        match (name, items.next()) {
            (Item::Text(name), Some(Item::Number(number))) => pairs.push((name, number)),
            _ => return fail(at, "is no dictionary of names and integers"),
        }
    }
    drop(items);
    match stack.last() {
        Some(Item::Dictionary) => Ok(()),
        _ => fail(at, "sets items of something else than a dictionary"),
    }
}

fn fail<T>(at: usize, what: &str) -> Result<T> {
    Err(DataError::invalid(format!(
        "the pickle {what} at byte {at}"
    )))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(taken) => {
                self.at += n;
                Ok(taken)
            }
            None => fail(self.at, "is cut short"),
        }
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// A little-endian number of so many bytes.
    fn number(&mut self, bytes: usize) -> Result<u64> {
        let taken = self.take(bytes)?.iter().rev();
        Ok(taken.fold(0, |n, &b| n << 8 | u64::from(b)))
    }

    /// Text behind its length of so many bytes.
    fn text(&mut self, bytes: usize) -> Result<Item> {
        let at = self.at;
        let length = self.number(bytes)?;
        let text = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        match std::str::from_utf8(text) {
            Ok(text) => Ok(Item::Text(text.to_owned())),
            Err(_) => fail(at, "holds text that is not UTF-8"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pickle.dumps({"<pad>": 0, "ENSG1": 300}, protocol=4)`.
    const PROTOCOL_4: &[u8] =
        b"\x80\x04\x95\x1b\0\0\0\0\0\0\0}\x94(\x8c\x05<pad>\x94K\0\x8c\x05ENSG1\x94M,\x01u.";

    #[test]
    fn a_dictionary_is_read_in_its_order() {
        let read = dictionary(PROTOCOL_4).unwrap();
        assert_eq!(read, [("<pad>".to_owned(), 0), ("ENSG1".to_owned(), 300)]);
        // Protocol 2: {"A": 70000}.
        let two = dictionary(b"\x80\x02}q\0X\x01\0\0\0Aq\x01Jp\x11\x01\0s.").unwrap();
        assert_eq!(two, [("A".to_owned(), 70_000)]);
    }

    #[test]
    fn nothing_else_is_read_and_nothing_executed() {
        for (bytes, part) in [
            (&b"\x80\x04cos\nsystem\n."[..], "opcode 0x63"),
            (b"\x80\x04\x8c\x05ab", "cut short"),
            (b"\x80\x04]\x94.", "opcode 0x5d"),
            (b"\x80\x04K\x01.", "is no dictionary"),
            (b"\x80\x04}(K\x01K\x02u.", "names and integers"),
            (b"\x80\x04h\x07.", "never said"),
            (b"\x80\x04u.", "without a beginning"),
            (b"\x80\x04s.", "not there"),
        ] {
            let error = dictionary(bytes).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
