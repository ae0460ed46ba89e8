//! Memory of this process and of the machine, where the system reports it.

/// Peak resident memory of this process in bytes; 0 where the system does not report it.
pub fn peak() -> u64 {
    kibibytes("/proc/self/status", "VmHWM:").map_or(0, |kib| kib * 1024)
}

/// Bytes of free memory.
pub fn free() -> Option<u64> {
    kibibytes("/proc/meminfo", "MemAvailable:")?.checked_mul(1024)
}

fn kibibytes(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
