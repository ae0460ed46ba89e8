//! Counting the parameters of a network takes no memory for its weights.
//!
//! A program of its own with this test alone: the allocator counts for the whole process.

#![cfg(feature = "flex")]

use sc_train::presets::{SIZES, assumed, of, size};
use sc_train::registry::ARCHITECTURES;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, which remembers how much was in use at most.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn counting_allocates_no_weights() {
    let mut largest = 0;
    for known in ARCHITECTURES {
        let data = assumed(known.features);
        for preset in SIZES.map(|s| of(known.name, s).unwrap()).iter().flatten() {
            let before = LIVE.load(Ordering::Relaxed);
            MOST.store(before, Ordering::Relaxed);
            let parameters = size(preset, &data).unwrap().parameters;
            let more = MOST.load(Ordering::Relaxed) - before;
            // Weights take four bytes a parameter; names of genes and empty layers take some as well.
            if parameters > 10_000_000 {
                let name = known.name;
                assert!(
                    more < parameters,
                    "{name}: {more} bytes for {parameters} parameters"
                );
            }
            largest = largest.max(parameters);
        }
    }
    assert!(largest > 100_000_000, "{largest}");
    // What is counted above is counted at all.
    let before = LIVE.load(Ordering::Relaxed);
    let held = vec![0u8; 1 << 20];
    assert!(LIVE.load(Ordering::Relaxed) - before >= held.len());
}
