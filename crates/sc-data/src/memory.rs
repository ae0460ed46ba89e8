//! Memory of this process and of the machine, and its processor, where the system reports them.

/// Peak resident memory of this process in bytes; 0 where the system does not report it.
pub fn peak() -> u64 {
    kibibytes("/proc/self/status", "VmHWM:").map_or(0, |kib| kib * 1024)
}

/// Bytes of free memory.
pub fn free() -> Option<u64> {
    kibibytes("/proc/meminfo", "MemAvailable:")?.checked_mul(1024)
}

/// Bytes of memory, free or not.
pub fn total() -> Option<u64> {
    kibibytes("/proc/meminfo", "MemTotal:")?.checked_mul(1024)
}

/// Name of the processor.
pub fn processor() -> Option<String> {
    let line = line("/proc/cpuinfo", "model name")?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kibibytes(file: &str, key: &str) -> Option<u64> {
    let line = line(file, key)?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// What follows `key` in its first line.
fn line(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let found = text.lines().find_map(|l| l.strip_prefix(key));
    found.map(str::to_owned)
}
