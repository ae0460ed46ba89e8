//! Memory of this process and of the machine, and its processor, where the system reports them.

/// Peak resident memory of this process in bytes; 0 where the system does not report it.
pub fn peak() -> u64 {
    kibibytes("/proc/self/status", "VmHWM:").map_or(0, |kib| kib * 1024)
}

/// Keeps freed memory in this process, so that the next minibatch is computed in the pages of the
/// last one.
///
/// By default the C library of Linux gives every large tensor back to the kernel and takes new
/// pages for the next, whose faults can cost more than the layers: training and embedding are up to
/// four times as fast with this. A program calls it once, before it allocates. Peak memory stays
/// about the same, but what was once used is not given back until the process ends. Nothing
/// happens with other systems and C libraries.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` may be called at any time and touches nothing but the allocator's settings.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        // The heaps of other threads hold 64 MB, and what is larger would go to the kernel.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
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

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    /// Page faults of this process that needed no disk.
    fn faults() -> u64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let after_name = stat.rsplit(") ").next().unwrap();
        after_name.split(' ').nth(7).unwrap().parse().unwrap()
    }

    #[test]
    fn memory_that_was_kept_is_used_again_without_page_faults() {
        super::keep_freed();
        let touched = |megabytes: usize| {
            let before = faults();
            let large = std::hint::black_box(vec![1u8; megabytes << 20]);
            assert_eq!(large[large.len() / 2], 1);
            faults() - before
        };
        // Less, since what the first left is also used for what is small.
        let (first, second) = (touched(16), touched(12));
        assert!(
            second < 100 && first >= second,
            "{first}, then {second} page faults"
        );
    }
}
