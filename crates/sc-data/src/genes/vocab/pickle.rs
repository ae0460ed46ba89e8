//! Python's pickled dictionaries of names and numbers, such as Geneformer's `token_dictionary.pkl` and
//! `gene_median_dictionary.pkl`.
//!
//! Nothing is executed: a pickle names Python functions to be called, and the reader knows what three of
//! them would give (numpy's scalars and types, and the bytes of protocol 2). All others are refused.

use crate::error::{DataError, Result};
use std::rc::Rc;

/// Whether bytes begin as a pickle of protocol 2 or newer does.
pub(super) fn is_pickle(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 2..=5, ..])
}

/// Whether bytes are a dictionary pickled in protocol 0 or 1, which are nearly text.
pub(super) fn is_old_pickle(bytes: &[u8]) -> bool {
    let begins = [&b"(dp"[..], b"}q\x00", b"ccollections\n"];
    begins.iter().any(|b| bytes.starts_with(b)) && bytes.trim_ascii_end().ends_with(b".")
}

/// A value of a dictionary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Integer(i64),
    Float(f64),
}

/// What is pickled.
#[derive(Clone, Debug)]
enum Item {
    Text(Rc<str>),
    Bytes(Rc<[u8]>),
    Number(Value),
    /// None, True and False.
    Other,
    /// Without tuples in it.
    Tuple(Rc<[Item]>),
    Function(Function),
    /// Numpy's type of a number.
    Type(Type),
    Dictionary,
    Mark,
}

/// Functions whose result is known without a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    /// `numpy.dtype("f8", …)`.
    Type,
    /// `numpy.core.multiarray.scalar(type, bytes)`.
    Scalar,
    /// `_codecs.encode(text, "latin1")`.
    Encode,
}

/// Little-endian numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Type {
    F4,
    F8,
    I4,
    I8,
}

/// Most bytes of a number.
const WIDEST: usize = 16;

/// Names and numbers of a pickled dictionary, in its order.
///
/// # Errors
/// [`DataError::Invalid`] for anything else.
pub(super) fn dictionary(bytes: &[u8]) -> Result<Vec<(String, Value)>> {
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
            0x8c | b'U' => stack.push(reader.text(1)?),
            b'X' | b'T' => stack.push(reader.text(4)?),
            0x8d => stack.push(reader.text(8)?),
            b'C' => stack.push(reader.bytes(1)?),
            b'B' => stack.push(reader.bytes(4)?),
            b'K' => stack.push(integer(reader.number(1)? as i64)),
            b'M' => stack.push(integer(reader.number(2)? as i64)),
            b'J' => stack.push(integer(i64::from(reader.number(4)? as i32))),
            0x8a => stack.push(reader.long()?),
            b'G' => {
                let bits = reader.number(8)?.swap_bytes();
                stack.push(Item::Number(Value::Float(f64::from_bits(bits))));
            }
            b'N' | 0x88 | 0x89 => stack.push(Item::Other),
            b')' => tuple(&mut stack, 0, at)?,
            0x85 => tuple(&mut stack, 1, at)?,
            0x86 => tuple(&mut stack, 2, at)?,
            0x87 => tuple(&mut stack, 3, at)?,
            b't' => {
                let count = since_mark(&mut stack, at)?;
                tuple(&mut stack, count, at)?;
            }
            b'c' => {
                let (module, name) = (reader.line()?, reader.line()?);
                stack.push(function(module, name, at)?);
            }
            0x93 => match (stack.pop(), stack.pop()) {
                (Some(Item::Text(name)), Some(Item::Text(module))) => {
                    stack.push(function(&module, &name, at)?);
                }
                _ => return fail(at, "calls what has no name"),
            },
            b'R' => match (stack.pop(), stack.pop()) {
                (Some(Item::Tuple(given)), Some(Item::Function(function))) => {
                    stack.push(known(function, &given, at)?);
                }
                _ => return fail(at, "calls something that is not a function"),
            },
            // The state of a type of numpy: its version, and then its byte order.
            b'b' => match (stack.pop(), stack.last()) {
                (Some(Item::Tuple(state)), Some(Item::Type(_))) => match state.get(1) {
                    Some(Item::Text(order)) if matches!(&**order, "<" | "=" | "|") => {}
                    _ => return fail(at, "holds numbers that are not little-endian"),
                },
                _ => return fail(at, "gives a state to what has none"),
            },
            b's' => set(&mut stack, 2, &mut pairs, at)?,
            b'u' => {
                let count = since_mark(&mut stack, at)?;
                set(&mut stack, count, &mut pairs, at)?;
            }
            b'.' => {
                return match stack[..] {
                    [Item::Dictionary] => Ok(pairs),
                    _ => fail(at, "is not a dictionary"),
                };
            }
            other => {
                return fail(
                    at,
                    &format!("holds more than names and numbers (opcode {other:#04x})"),
                );
            }
        }
    }
}

fn integer(value: i64) -> Item {
    Item::Number(Value::Integer(value))
}

/// How many items came since the last mark, which is taken away.
fn since_mark(stack: &mut Vec<Item>, at: usize) -> Result<usize> {
    let Some(mark) = stack.iter().rposition(|i| matches!(i, Item::Mark)) else {
        return fail(at, "sets items without a beginning");
    };
    stack.remove(mark);
    Ok(stack.len() - mark)
}

/// Makes a tuple of the last `count` items.
fn tuple(stack: &mut Vec<Item>, count: usize, at: usize) -> Result<()> {
    let Some(first) = stack.len().checked_sub(count) else {
        return fail(at, "sets items that are not there");
    };
    let items: Rc<[Item]> = stack.drain(first..).collect();
    if items.iter().any(|i| matches!(i, Item::Tuple(_))) {
        return fail(at, "holds tuples of tuples");
    }
    stack.push(Item::Tuple(items));
    Ok(())
}

fn function(module: &str, name: &str, at: usize) -> Result<Item> {
    let function = match (module, name) {
        ("numpy", "dtype") => Function::Type,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Function::Scalar,
        ("_codecs", "encode") => Function::Encode,
        _ => {
            let what = format!(
                "asks Python for {module}.{name}, which is not done; only names and numbers are read"
            );
            return fail(at, &what);
        }
    };
    Ok(Item::Function(function))
}

/// What Python would make of the call.
fn known(function: Function, given: &[Item], at: usize) -> Result<Item> {
    Ok(match (function, given) {
        (Function::Type, [Item::Text(name), ..]) => Item::Type(match &**name {
            "f4" => Type::F4,
            "f8" => Type::F8,
            "i4" => Type::I4,
            "i8" => Type::I8,
            other => return fail(at, &format!("holds numbers of numpy's type {other}")),
        }),
        (Function::Encode, [Item::Text(text), Item::Text(coding)])
            if &**coding == "latin1" && text.len() <= 2 * WIDEST =>
        {
            let bytes = text.chars().map(|c| u8::try_from(u32::from(c)));
            match bytes.collect::<Result<Rc<[u8]>, _>>() {
                Ok(bytes) => Item::Bytes(bytes),
                Err(_) => return fail(at, "holds bytes that are none"),
            }
        }
        (Function::Scalar, [Item::Type(kind), Item::Bytes(bytes)]) => {
            let four = || bytes.first_chunk::<4>().filter(|_| bytes.len() == 4);
            let eight = || bytes.first_chunk::<8>().filter(|_| bytes.len() == 8);
            let value = match kind {
                Type::F4 => four().map(|b| Value::Float(f32::from_le_bytes(*b).into())),
                Type::I4 => four().map(|b| Value::Integer(i32::from_le_bytes(*b).into())),
                Type::F8 => eight().map(|b| Value::Float(f64::from_le_bytes(*b))),
                Type::I8 => eight().map(|b| Value::Integer(i64::from_le_bytes(*b))),
            };
            match value {
                Some(value) => Item::Number(value),
                None => return fail(at, "holds a number of another size than its type"),
            }
        }
        _ => return fail(at, "calls a function in a way that is not known"),
    })
}

/// Moves the last `count` items, names and numbers in turn, into the dictionary below them.
fn set(
    stack: &mut Vec<Item>,
    count: usize,
    pairs: &mut Vec<(String, Value)>,
    at: usize,
) -> Result<()> {
    let Some(first) = stack.len().checked_sub(count) else {
        return fail(at, "sets items that are not there");
    };
    let mut items = stack.drain(first..);
    while let Some(name) = items.next() {
        match (name, items.next()) {
            (Item::Text(name), Some(Item::Number(number))) => {
                pairs.push((name.to_string(), number));
            }
            _ => return fail(at, "is not a dictionary of names and numbers"),
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

    /// A signed number behind its length in bytes.
    fn long(&mut self) -> Result<Item> {
        let at = self.at;
        let length = self.byte()? as usize;
        if length > 8 {
            return fail(at, "holds an integer of more than 64 bits");
        }
        let bits = 8 * length as u32;
        let value = self.number(length)?;
        let signed = match bits {
            0 => 0,
            bits => (value << (64 - bits)) as i64 >> (64 - bits),
        };
        Ok(integer(signed))
    }

    /// What stands behind its length of so many bytes.
    fn behind(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let length = self.number(bytes)?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn bytes(&mut self, bytes: usize) -> Result<Item> {
        Ok(Item::Bytes(self.behind(bytes)?.into()))
    }

    fn text(&mut self, bytes: usize) -> Result<Item> {
        let at = self.at;
        match std::str::from_utf8(self.behind(bytes)?) {
            Ok(text) => Ok(Item::Text(text.into())),
            Err(_) => fail(at, "holds text that is not UTF-8"),
        }
    }

    /// Text up to the end of a line.
    fn line(&mut self) -> Result<&'a str> {
        let at = self.at;
        let length = self.bytes[at..].iter().position(|b| *b == b'\n');
        let Some(length) = length else {
            return fail(at, "is cut short");
        };
        let line = self.take(length + 1)?;
        std::str::from_utf8(&line[..length]).or_else(|_| fail(at, "holds a name that is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pickle.dumps({"<pad>": 0, "ENSG1": 300}, protocol=4)`.
    const PROTOCOL_4: &[u8] =
        b"\x80\x04\x95\x1b\0\0\0\0\0\0\0}\x94(\x8c\x05<pad>\x94K\0\x8c\x05ENSG1\x94M,\x01u.";

    fn named(values: &[(&str, Value)]) -> Vec<(String, Value)> {
        values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect()
    }

    #[test]
    fn a_dictionary_is_read_in_its_order() {
        use Value::{Float, Integer};
        let read = dictionary(PROTOCOL_4).unwrap();
        assert_eq!(
            read,
            named(&[("<pad>", Integer(0)), ("ENSG1", Integer(300))])
        );
        // Protocol 2: {"A": 70000}.
        let two = dictionary(b"\x80\x02}q\0X\x01\0\0\0Aq\x01Jp\x11\x01\0s.").unwrap();
        assert_eq!(two, named(&[("A", Integer(70_000))]));
        // {"A": 1.5, "B": -3, "C": 2 ** 40}.
        let mixed = dictionary(
            b"\x80\x04\x95'\0\0\0\0\0\0\0}\x94(\x8c\x01A\x94G?\xf8\0\0\0\0\0\0\x8c\x01B\x94J\xfd\xff\xff\
              \xff\x8c\x01C\x94\x8a\x06\0\0\0\0\0\x01u.",
        );
        let wanted = [
            ("A", Float(1.5)),
            ("B", Integer(-3)),
            ("C", Integer(1 << 40)),
        ];
        assert_eq!(mixed.unwrap(), named(&wanted));
    }

    /// `{"A": numpy.float64(1.5), "B": numpy.float64(0.25)}` in both protocols.
    #[test]
    fn numbers_of_numpy_are_read_without_numpy() {
        let wanted = named(&[("A", Value::Float(1.5)), ("B", Value::Float(0.25))]);
        let four = b"\x80\x04\x95\x88\0\0\0\0\0\0\0}\x94(\x8c\x01A\x94\x8c\x15numpy.core.multiarray\x94\
            \x8c\x06scalar\x94\x93\x94\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02f8\x94\x89\x88\x87\
            \x94R\x94(K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t\x94bC\x08\0\0\0\0\0\0\
            \xf8?\x94\x86\x94R\x94\x8c\x01B\x94h\x04h\nC\x08\0\0\0\0\0\0\xd0?\x94\x86\x94R\x94u.";
        assert_eq!(dictionary(four).unwrap(), wanted);
        let two = b"\x80\x02}q\0(X\x01\0\0\0Aq\x01cnumpy.core.multiarray\nscalar\nq\x02cnumpy\ndtype\nq\
            \x03X\x02\0\0\0f8q\x04\x89\x88\x87q\x05Rq\x06(K\x03X\x01\0\0\0<q\x07NNNJ\xff\xff\xff\xffJ\xff\
            \xff\xff\xffK\0tq\x08bc_codecs\nencode\nq\tX\t\0\0\0\0\0\0\0\0\0\xc3\xb8?q\nX\x06\0\0\0latin1q\
            \x0b\x86q\x0cRq\r\x86q\x0eRq\x0fX\x01\0\0\0Bq\x10h\x02h\x06h\tX\t\0\0\0\0\0\0\0\0\0\xc3\x90?q\
            \x11h\x0b\x86q\x12Rq\x13\x86q\x14Rq\x15u.";
        assert_eq!(dictionary(two).unwrap(), wanted);
    }

    #[test]
    fn nothing_else_is_read_and_nothing_executed() {
        for (bytes, part) in [
            (&b"\x80\x04cos\nsystem\n."[..], "asks Python for os.system"),
            (
                b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.",
                "asks Python for posix.system",
            ),
            (b"\x80\x04\x8c\x05ab", "cut short"),
            (b"\x80\x04cos", "cut short"),
            (b"\x80\x04]\x94.", "opcode 0x5d"),
            (b"\x80\x04K\x01.", "is not a dictionary"),
            (b"\x80\x04}(K\x01K\x02u.", "names and numbers"),
            (b"\x80\x04h\x07.", "never said"),
            (b"\x80\x04u.", "without a beginning"),
            (b"\x80\x04s.", "not there"),
            (b"\x80\x04)\x85.", "tuples of tuples"),
            (b"\x80\x04K\x01)R.", "not a function"),
            (b"\x80\x04cnumpy\ndtype\n\x8c\x01O\x85R.", "type O"),
            (b"\x80\x04\x8a\x09.", "more than 64 bits"),
        ] {
            let error = dictionary(bytes).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn old_pickles_are_told_from_text() {
        for bytes in [
            &b"(dp0\nVA\np1\nI1\ns."[..],
            b"}q\0X\x01\0\0\0Aq\x01K\x01s.",
            b"(dp0\n.",
        ] {
            assert!(is_old_pickle(bytes) && !is_pickle(bytes));
        }
        assert!(!is_old_pickle(b"A1BG\nA1CF\n") && !is_old_pickle(b"{\"A\": 1}"));
    }
}
