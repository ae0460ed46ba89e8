"""Where the time of a training step or an embedding goes, by `perf`; prints a Markdown table.

    cargo build --release --workspace --bin step
    python benches/profile.py target/release/step --mode train

Needs Linux and perf. Samples of the processor's clock, both threads; the first seconds, in which data are
made, are left out where the program is long enough. Shares are of what both threads could have done.
"""

import argparse
import collections
import json
import pathlib
import re
import subprocess
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("step", type=pathlib.Path)
parser.add_argument("--mode", choices=["train", "embed"], default="train")
parser.add_argument("--only", help="these architectures, separated by commas")
parser.add_argument("--seconds", type=float, default=6, help="of every profile")
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

# The first pattern that a symbol matches gives its kind.
KINDS = [
    ("products", r"microkernel|gemm|matmul|pack"),
    ("page faults", r"page_fault|clear_page|handle_mm|exc_page|do_anonymous|rmqueue|unmap|folio|lru_|zap_"),
    ("copies", r"memmove|memcpy|memset|copy_2d|to_contiguous|slice_copy|gather|select"),
    ("own kernels", r"pulp|sc_models|sc_train|sc_data|exp|log"),
    ("burn's passes", r"burn|macerator|call_mut|zip|unary|binary|reduce"),
    ("kernel", r"^\[k\]"),
]
DENSITY = {name: "density=0.08" for name in ("cellplm", "vae", "autoencoder", "mlp", "islander")}
DENSITY["scclip"] = "density=0.05"


def command(name, steps):
    extra = [DENSITY[name]] if name in DENSITY else []
    sizes = [f"steps={steps}", f"threads={args.threads}", *extra]
    return [str(args.step), name, args.mode, "--preset", "small", *sizes]


def once(name):
    begun = time.monotonic()
    out = subprocess.run(command(name, 1), capture_output=True, text=True, check=True)
    line = json.loads(out.stdout)
    # Two steps were done; the rest is what comes before them.
    return line["seconds_per_step"], time.monotonic() - begun - 2 * line["seconds_per_step"]


def profile(name):
    seconds, before = once(name)
    steps = max(3, int(args.seconds / seconds))
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/perf.data"
        record = ["perf", "record", "-F", "499", "-e", "cpu-clock", "-D", str(int(before * 1000)), "-o", data]
        run = subprocess.run([*record, *command(name, steps)], capture_output=True, text=True, check=True)
        script = ["perf", "script", "-i", data, "-F", "time,ip,sym,dso"]
        samples = subprocess.run(script, capture_output=True, text=True, check=True).stdout.splitlines()
    line = next(json.loads(l) for l in run.stdout.splitlines() if l.startswith("{"))
    wall = (steps + 1) * line["seconds_per_step"]
    first = None
    kinds = collections.Counter()
    for sample in samples:
        found = re.match(r"\s*([\d.]+):\s+[0-9a-f]+ (.*) \((.*)\)$", sample)
        if not found:
            continue
        at, symbol, dso = float(found[1]), found[2], found[3]
        first = at if first is None else first
        if at - first > wall:  # What comes after the steps.
            break
        symbol = f"[k] {symbol}" if "kernel" in dso else symbol
        kind = next((k for k, pattern in KINDS if re.search(pattern, symbol)), "other")
        kinds[kind] += 1
    possible = wall * args.threads * 499
    shares = {kind: kinds[kind] / possible for kind, _ in KINDS}
    shares["other"] = kinds["other"] / possible
    shares["idle"] = max(0.0, 1 - sum(shares.values()))
    speed = line.get("gflops")
    # Of all the time, products took this share.
    return line["cells_per_second"], shares, speed and speed / max(shares["products"], 1e-9)


names = args.only.split(",") if args.only else subprocess.check_output([args.step, "list"], text=True).split()
columns = [kind for kind, _ in KINDS] + ["other", "idle"]
print("| architecture | cells/s |", " | ".join(columns), "| GFLOP/s while in products |")
print("|---|" + "---|" * (len(columns) + 2))
for name in names:
    try:
        rate, shares, inside = profile(name)
    except (subprocess.CalledProcessError, StopIteration) as e:
        print(f"| {name} | failed: {getattr(e, 'stderr', e)} |")
        continue
    inside = f"{inside:.0f}" if inside else "–"
    print(f"| {name} | {rate:.3g} |", " | ".join(f"{100 * shares[c]:.0f} %" for c in columns), f"| {inside} |", flush=True)
