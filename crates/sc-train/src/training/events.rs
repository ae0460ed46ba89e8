//! The losses of a run as TensorBoard reads them: `tensorboard --logdir FOLDER`.
//!
//! A file of records, each with its length and checksums (TFRecord), that hold events as protocol buffers;
//! of both only the few fields that scalars need are written.

use crate::error::{Result, TrainError};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Begin of the names of such files.
const NAME: &str = "events.out.tfevents";

/// The file of one session of a run.
pub(crate) struct Events {
    file: File,
    path: PathBuf,
}

impl Events {
    /// A new file in `folder` for what follows step `done`: what another session wrote of later steps is
    /// no longer shown.
    pub(crate) fn create(folder: &Path, done: u64) -> Result<Self> {
        // Names order the sessions; two within a second are told apart by the process.
        let seconds = now() as u64;
        let path = folder.join(format!("{NAME}.{seconds}.{}.scfm", std::process::id()));
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|e| TrainError::file(&path, e))?;
        let mut out = Self { file, path };
        out.record(&event(0, &text(3, b"brain.Event:2")))?;
        // SessionLog { status: START }
        out.record(&event(done + 1, &text(7, &number(1, 1))))?;
        Ok(out)
    }

    /// Writes scalars after `step`, below `group`.
    pub(crate) fn scalars<'a>(
        &mut self,
        step: u64,
        group: &str,
        values: impl Iterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        let mut summary = Vec::new();
        for (name, value) in values {
            let mut one = text(1, format!("{group}/{name}").as_bytes());
            one.push(2 << 3 | 5);
            one.extend((value as f32).to_le_bytes());
            summary.extend(text(1, &one));
        }
        self.record(&event(step, &text(5, &summary)))
    }

    fn record(&mut self, event: &[u8]) -> Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let parts = [
            &length[..],
            &masked(checksum(&length)).to_le_bytes(),
            event,
            &masked(checksum(event)).to_le_bytes(),
        ];
        self.file
            .write_all(&parts.concat())
            .map_err(|e| TrainError::file(&self.path, format!("cannot write the events: {e}")))
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |d| d.as_secs_f64())
}

/// `Event { wall_time, step, … }` with one more field.
fn event(step: u64, field: &[u8]) -> Vec<u8> {
    let mut out = vec![1 << 3 | 1];
    out.extend(now().to_le_bytes());
    out.extend(number(2, step));
    out.extend(field);
    out
}

/// A field of text, bytes or another message.
fn text(field: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = varint(field << 3 | 2);
    out.extend(varint(bytes.len() as u64));
    out.extend(bytes);
    out
}

/// A field of an integer.
fn number(field: u64, value: u64) -> Vec<u8> {
    let mut out = varint(field << 3);
    out.extend(varint(value));
    out
}

/// Seven bits at a time, the lowest first.
fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// CRC-32C (Castagnoli).
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// As TFRecord stores it.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, appendix B.4, and the usual check value.
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(checksum(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn numbers_are_varints() {
        assert_eq!(varint(1), [1]);
        assert_eq!(varint(300), [0xac, 2]);
        assert_eq!(number(2, 150), [0x10, 0x96, 1]);
        assert_eq!(text(1, b"ab"), [0x0a, 2, b'a', b'b']);
    }

    #[test]
    fn every_record_has_its_length_and_checksums() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = Events::create(folder.path(), 0).unwrap();
        let losses = [("total", 2.5), ("cls", 0.5)];
        events.scalars(7, "train", losses.into_iter()).unwrap();
        let bytes = std::fs::read(&events.path).unwrap();
        let mut rest = &bytes[..];
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(12);
            let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
            assert_eq!(head[8..], masked(checksum(&head[..8])).to_le_bytes());
            let (event, tail) = tail.split_at(length);
            assert_eq!(tail[..4], masked(checksum(event)).to_le_bytes());
            records.push(event.to_vec());
            rest = &tail[4..];
        }
        assert_eq!(records.len(), 3);
        let has = |part: &[u8]| records[2].windows(part.len()).any(|w| w == part);
        assert!(has(b"train/total") && has(b"train/cls") && has(&2.5f32.to_le_bytes()));
    }
}
