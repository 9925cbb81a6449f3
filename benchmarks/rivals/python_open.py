"""Opens all shards of a checkpoint with the reference implementation, and reads the index, twice in one process."""
import json
import os
import sys
import time

import numpy  # noqa: F401 - safe_open() would import it in the midst of what is measured
from safetensors import safe_open

options = json.loads(sys.argv[1])


def open_all():
    started = time.perf_counter()
    with open(os.path.join(options["folder"], "model.safetensors.index.json")) as file:
        weight_map = json.load(file)["weight_map"]
    shards = {
        name: safe_open(os.path.join(options["folder"], name), framework="np") for name in sorted(set(weight_map.values()))
    }
    ms = (time.perf_counter() - started) * 1000
    count = sum(len(shard.keys()) for shard in shards.values())
    if count != options["tensors"]:
        raise SystemExit(f"{count} tensors, required are {options['tensors']}")
    return ms


first_ms = open_all()
opened_ns = time.monotonic_ns()
again_ms = open_all()
print(json.dumps({"firstMs": first_ms, "againMs": again_ms, "atNs": str(opened_ns)}))
