"""Reads the event files of a training with TensorBoard's own reader, and compares them with train.jsonl.

    python check_events.py MODEL_FOLDER

Needs tensorboard 2.18 or newer.
"""

import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder = pathlib.Path(sys.argv[1])
events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
events.Reload()
compared = 0
for line in (folder / "train.jsonl").read_text().splitlines():
    said = json.loads(line)
    for key, group in (("losses", "train"), ("validation", "validation")):
        for name, value in said.get(key, {}).items():
            found = [s.value for s in events.Scalars(f"{group}/{name}") if s.step == said["step"]]
            assert len(found) == 1, (said["step"], name, found)
            assert abs(found[0] - value) <= 1e-6 * abs(value), (said["step"], name, found, value)
            compared += 1
print(f"{compared} scalars equal those of train.jsonl")
