//! Devices by name: `flex`, `ndarray`, `wgpu`, `vulkan`, `metal`, `cuda`, each with an optional
//! `:index`.
//!
//! Cargo features decide which of them are available in a build; this module selects one at run
//! time.

use crate::error::{ModelError, Result};
use burn::tensor::Device;

/// The devices compiled into this build, in the order preferred by `auto`.
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

/// Opens the device called `spec`, without autodiff.
///
/// # Errors
/// [`ModelError::Device`] when the name is unknown, its backend was not compiled in, or the index
/// is not a number.
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
    named(name, index).ok_or_else(|| {
        let known = ["flex", "ndarray", "wgpu", "vulkan", "metal", "cuda"];
        ModelError::Device(if known.contains(&name) {
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
        })
    })
}

#[allow(unused_variables)]
fn named(name: &str, index: Option<usize>) -> Option<Device> {
    #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
    let kind = || match index {
        Some(i) => burn::tensor::DeviceKind::DiscreteGpu(i),
        None => burn::tensor::DeviceKind::default(),
    };
    match name {
        #[cfg(feature = "flex")]
        "flex" | "cpu" => Some(Device::flex()),
        #[cfg(feature = "ndarray")]
        "ndarray" => Some(ndarray()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Some(Device::wgpu(kind())),
        #[cfg(feature = "vulkan")]
        "vulkan" => Some(Device::vulkan(kind())),
        #[cfg(feature = "metal")]
        "metal" => Some(Device::metal(kind())),
        #[cfg(feature = "cuda")]
        "cuda" => Some(Device::cuda(index.unwrap_or(0))),
        _ => None,
    }
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
    fn names_are_checked() {
        assert!(AVAILABLE.contains(&DEFAULT) && open(DEFAULT).is_ok());
        let e = open("tpu").unwrap_err().to_string();
        assert!(e.contains("unknown device 'tpu'"), "{e}");
        let e = open("cuda:x").unwrap_err().to_string();
        assert!(e.contains("not a device number"), "{e}");
    }
}
