//! `scfm doctor --machine`: what this machine has for training and embedding.

use crate::args::Format;
use crate::error::Result;
use sc_data::memory;
use sc_models::device::{AVAILABLE, open, product_rate};
use serde::Serialize;
use std::process::ExitCode;

#[derive(Debug, Serialize)]
struct Machine {
    version: &'static str,
    revision: &'static str,
    system: String,
    /// Name of the processor, where the system tells.
    processor: Option<String>,
    threads: usize,
    memory_bytes: Option<u64>,
    devices: Vec<Opened>,
}

/// A device of this build.
#[derive(Debug, Serialize)]
struct Opened {
    name: &'static str,
    /// Of matrix products in single precision; absent where it cannot be opened.
    gflops: Option<f64>,
    problem: Option<String>,
}

pub(super) fn run(format: Format) -> Result<ExitCode> {
    let machine = Machine {
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("SCFM_REVISION"),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        processor: memory::processor(),
        threads: rayon::current_num_threads(),
        memory_bytes: memory::total(),
        devices: AVAILABLE.iter().map(|name| opened(name)).collect(),
    };
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&machine)?),
        Format::Table => print(&machine),
    }
    Ok(ExitCode::SUCCESS)
}

fn opened(name: &'static str) -> Opened {
    match open(name) {
        Ok(device) => Opened {
            name,
            gflops: Some(product_rate(&device)),
            problem: None,
        },
        Err(e) => Opened {
            name,
            gflops: None,
            problem: Some(e.to_string()),
        },
    }
}

fn print(machine: &Machine) {
    let unknown = || "unknown".to_owned();
    println!("scfm        {} {}", machine.version, machine.revision);
    println!("system      {}", machine.system);
    println!(
        "processor   {}",
        machine.processor.clone().unwrap_or_else(unknown)
    );
    println!("threads     {}", machine.threads);
    let memory = machine.memory_bytes;
    let memory = memory.map_or_else(unknown, |b| format!("{:.1} GB", b as f64 / 1e9));
    println!("memory      {memory}");
    println!("devices     of this build, with the speed of their matrix products in float32:");
    for device in &machine.devices {
        match (device.gflops, &device.problem) {
            (Some(rate), _) => println!("  {:<9} {rate:.0} GFLOP/s", device.name),
            (None, problem) => {
                println!("  {:<9} {}", device.name, problem.as_deref().unwrap_or(""))
            }
        }
    }
}
