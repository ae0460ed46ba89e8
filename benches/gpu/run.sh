#!/usr/bin/env bash
# Everything that is asked of a lent GPU, as far as eight minutes suffice: agreement of all architectures with
# flex, cells/s at published size on every device, and torch on the same card.
#
#   STEP=./step OUT=out DEVICES="cuda vulkan" benches/gpu/run.sh
#
# STEP is the program `step`, built elsewhere for the same processor:
#   cargo xtask llvm && cargo build --release --workspace --bin step --features sc-cli/cuda,sc-cli/vulkan
# Every part is limited in time, and what is measured is kept when a later part fails or is left out.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

STEP="${STEP:-target/release/step}"
OUT="${OUT:-target/gpu}"
DEVICES="${DEVICES:-cuda vulkan}"
PYTHON="${PYTHON:-python3}"
THREADS="${THREADS:-$(nproc)}"
# Seconds after which nothing more is begun.
TOTAL="${TOTAL:-480}"
# For trying the script without a GPU: `tiny` instead of the published sizes.
PRESET="${PRESET:-paper}"
mkdir -p "$OUT"
lines="$OUT/lines.jsonl"
: >"$lines"

# run SECONDS LABEL COMMAND…: the last line of its output, or a line that says how it failed.
run() {
  local limit="$1" label="$2" started="$SECONDS" line
  shift 2
  if [ "$SECONDS" -ge "$TOTAL" ]; then
    printf '{"what":"%s","left_out":true}\n' "$label" | tee -a "$lines"
    return
  fi
  if line="$(timeout "$limit" "$@" 2>>"$OUT/errors.log" | tail -1)" && [ -n "$line" ]; then
    printf '{"what":"%s","seconds":%d,"line":%s}\n' "$label" "$((SECONDS - started))" "$line" | tee -a "$lines"
  else
    printf '{"what":"%s","seconds":%d,"failed":true}\n' "$label" "$((SECONDS - started))" | tee -a "$lines"
  fi
}

{ nvidia-smi || echo "no nvidia-smi"; } >"$OUT/machine.txt" 2>&1
lscpu >>"$OUT/machine.txt" 2>&1

for device in $DEVICES; do
  for architecture in $("$STEP" list); do
    run 40 "agree $architecture $device" "$STEP" "$architecture" agree --preset tiny \
      "device=$device" "threads=$THREADS"
  done
done

# How busy the card is, twice a second, while the steps below run.
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=timestamp,utilization.gpu,memory.used --format=csv,noheader -lms 500 \
    >"$OUT/utilisation.csv" 2>/dev/null &
  watch=$!
  trap 'kill "$watch" 2>/dev/null' EXIT
fi

for device in $DEVICES; do
  for precision in f32 bf16; do
    for architecture in scgpt uce cellplm nicheformer; do
      for work in train embed; do
        run 45 "$work $architecture $device $precision" "$STEP" "$architecture" "$work" \
          --preset "$PRESET" "device=$device" steps=5 "threads=$THREADS" \
          "train.precision=$precision"
      done
    done
  done
done

for precision in f32 bf16; do
  for work in train embed; do
    run 45 "torch $work $precision" "$PYTHON" benches/gpu/torch_sdpa.py --mode "$work" \
      --precision "$precision" --preset "$PRESET"
  done
done
echo "wrote $lines"
