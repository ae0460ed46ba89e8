//! Devices by name: `flex`, `ndarray`, `wgpu`, `vulkan`, `metal`, `cuda`, each with an optional
//! `:index`.
//!
//! Cargo features decide which of them are available in a build; this module selects one at run
//! time.

use crate::error::{ModelError, Result};
pub use burn::tensor::Device;
use burn::tensor::Tensor;
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
use burn::tensor::{DeviceKind, DeviceType};
use std::cell::Cell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// The devices compiled into this build.
pub const AVAILABLE: &[&str] = &[
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "metal")]
    "metal",
    #[cfg(feature = "vulkan")]
    "vulkan",
    #[cfg(feature = "wgpu")]
    "wgpu",
    #[cfg(feature = "flex")]
    "flex",
    #[cfg(feature = "ndarray")]
    "ndarray",
];

/// The default device: the first of these that is compiled in. It is also used for tasks that any
/// device can do, such as counting the parameters of a network.
pub const DEFAULT: &str = if cfg!(feature = "flex") {
    "flex"
} else if cfg!(feature = "ndarray") {
    "ndarray"
} else if cfg!(feature = "wgpu") {
    "wgpu"
} else if cfg!(feature = "vulkan") {
    "vulkan"
} else if cfg!(feature = "metal") {
    "metal"
} else if cfg!(feature = "cuda") {
    "cuda"
} else {
    "flex"
};

/// Opens the device called `spec`, without autodiff; `cpu` is another name of `flex`.
///
/// # Errors
/// [`ModelError::Device`] when the name is unknown, its backend was not compiled in, the index is
/// not a number, or the machine has no such device or no driver for it.
pub fn open(spec: &str) -> Result<Device> {
    let (name, index) = match spec.split_once(':') {
        Some((name, index)) => {
            let index = index.parse::<usize>().map_err(|_| {
                ModelError::Device(format!(
                    "device '{spec}': '{index}' is not a device number; write for example 'cuda:0'"
                ))
            })?;
            (name, Some(index))
        }
        None => (spec, None),
    };
    let name = if name == "cpu" { "flex" } else { name };
    if index.is_some() && ["flex", "ndarray"].contains(&name) {
        return Err(ModelError::Device(format!(
            "device '{spec}': there is only one {name}; leave the number out"
        )));
    }
    if !AVAILABLE.contains(&name) {
        return Err(ModelError::Device(if KNOWN.contains(&name) {
            format!(
                "device '{name}' is not part of this build, which has: {}; rebuild with \
                 `--features {name}`",
                AVAILABLE.join(", ")
            )
        } else {
            format!(
                "unknown device '{name}'; this build has: {}",
                AVAILABLE.join(", ")
            )
        }));
    }
    // The libraries below panic where there is no driver, so that a value is computed to see.
    let opened = quietly(|| {
        let device = named(name, index)?;
        if !is_host(&device) {
            let two = Tensor::<1>::ones([2], &device).sum();
            assert_eq!(crate::weights::host(two), [2.0], "it adds 1 and 1 wrongly");
        }
        Some(device)
    });
    let why = match opened {
        Ok(Some(device)) => return Ok(device),
        Ok(None) => "there is none of this number; they count from 0".to_owned(),
        Err(panic) => panic,
    };
    Err(ModelError::Device(format!(
        "device '{spec}' cannot be opened: {why}; {}",
        driver(name)
    )))
}

/// Every device there is, whether part of this build or not.
const KNOWN: [&str; 6] = ["flex", "ndarray", "wgpu", "vulkan", "metal", "cuda"];

/// What a device needs on the machine.
fn driver(name: &str) -> &'static str {
    match name {
        "cuda" => {
            "it needs an NVIDIA GPU and its driver (`nvidia-smi` must list the GPU); or choose --device flex"
        }
        "metal" => "it needs a Mac with Metal; or choose --device flex",
        _ => {
            "it needs a GPU with a Vulkan, Metal or DirectX 12 driver (`vulkaninfo --summary` must list \
             it; on Debian mesa-vulkan-drivers has drivers for most, and a slow one in software); \
             or choose --device flex"
        }
    }
}

/// What `open` returns, or the first line of its panic, which is not printed.
///
/// The first panic, on whatever thread, is the cause; what follows from it says less.
fn quietly<T>(open: impl FnOnce() -> T) -> std::result::Result<T, String> {
    /// The hook is the process's: of two that replace it at once, one would put back the other's.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let first = Arc::new(OnceLock::new());
    let kept = first.clone();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        let line = text.lines().find(|l| !l.trim().is_empty());
        let _ = kept.set(line.unwrap_or("its driver failed").trim().to_owned());
    }));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(open));
    std::panic::set_hook(hook);
    result.map_err(|_| first.get().cloned().unwrap_or_default())
}

/// The device, opened lazily; `None` where there is none of this index.
#[allow(unused_variables)]
fn named(name: &str, index: Option<usize>) -> Option<Device> {
    match name {
        #[cfg(feature = "flex")]
        "flex" => Some(Device::flex()),
        #[cfg(feature = "ndarray")]
        "ndarray" => Some(ndarray()),
        #[cfg(feature = "wgpu")]
        "wgpu" => adapter(index, DeviceType::Wgpu, Device::wgpu),
        #[cfg(feature = "vulkan")]
        "vulkan" => adapter(index, DeviceType::Vulkan, Device::vulkan),
        #[cfg(feature = "metal")]
        "metal" => adapter(index, DeviceType::Metal, Device::metal),
        #[cfg(feature = "cuda")]
        "cuda" => Some(Device::cuda(index.unwrap_or(0))),
        _ => None,
    }
}

/// The adapter of this index, or the one that the driver prefers.
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
fn adapter(
    index: Option<usize>,
    kind: DeviceType,
    preferred: fn(DeviceKind) -> Device,
) -> Option<Device> {
    match index {
        Some(index) => Device::enumerate(kind).into_vec().into_iter().nth(index),
        None => Some(preferred(DeviceKind::default())),
    }
}

/// Whether the tensors of `device` lie in the memory of this process, where a read waits for nothing.
#[allow(unused_variables)]
pub fn is_host(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    if device == &Device::flex() {
        return true;
    }
    #[cfg(feature = "ndarray")]
    if device == &ndarray() {
        return true;
    }
    false
}

/// Speed of matrix products in single precision, in GFLOP/s (10⁹ additions and multiplications per
/// second): the best of four, of matrices so large that each takes a twentieth of a second.
pub fn product_rate(device: &Device) -> f64 {
    /// Largest matrix, for devices that are faster than any clock.
    const MOST: usize = 1 << 13;
    let seconds = |n: usize| {
        let x = Tensor::<2>::ones([n, n], device) * 0.5;
        let once = |x: &Tensor<2>| {
            let corner = x.clone().matmul(x.clone()).narrow(0, 0, 1).narrow(1, 0, 1);
            crate::weights::host(corner)
        };
        once(&x);
        let timed = (0..4).map(|_| {
            let started = Instant::now();
            once(&x);
            started.elapsed().as_secs_f64()
        });
        timed.fold(f64::INFINITY, f64::min)
    };
    let mut n = 512;
    loop {
        let best = seconds(n);
        if best > 0.05 || n >= MOST {
            return 2.0 * (n as f64).powi(3) / best / 1e9;
        }
        n *= 2;
    }
}

thread_local! {
    static READS: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread has copied a tensor to the host, and so waited for its device.
pub fn reads() -> u64 {
    READS.get()
}

pub(crate) fn count_read() {
    READS.set(READS.get() + 1);
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // Kept on purpose: needed to compare backends.
fn ndarray() -> Device {
    Device::ndarray()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_driver_is_kept_and_not_printed() {
        assert_eq!(quietly(|| 3), Ok(3));
        let elsewhere = || {
            let cause = || panic!("no adapter\n at line 7");
            let thread = std::thread::spawn(cause).join();
            thread.expect("a second panic, which follows");
        };
        assert_eq!(quietly(elsewhere), Err("no adapter".to_owned()));
    }

    #[test]
    fn names_are_checked() {
        assert!(AVAILABLE.contains(&DEFAULT) && open(DEFAULT).is_ok());
        let e = open("tpu").unwrap_err().to_string();
        assert!(e.contains("unknown device 'tpu'"), "{e}");
        let e = open("cuda:x").unwrap_err().to_string();
        assert!(e.contains("not a device number"), "{e}");
        if cfg!(feature = "flex") {
            let e = open("cpu:1").unwrap_err().to_string();
            assert!(e.contains("only one flex"), "{e}");
        }
    }
}
