"""Converts tensors of some dtypes to 32-bit floats with torch on one core, and copies as many bytes as come out."""
import json
import statistics
import sys
import time

import torch

options = json.loads(sys.argv[1])
torch.set_num_threads(1)
DTYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F64": torch.float64,
    "I8": torch.int8,
    "I32": torch.int32,
}


def median_ms(work):
    work()
    times = []
    for _ in range(options["calls"]):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


elements = options["elements"]
values = torch.randn(elements)
result = {}
for name in options["dtypes"]:
    if name not in DTYPES:
        continue
    source = values.to(DTYPES[name])
    # Into memory that is there, as ours; .float() would also pay for new pages each time.
    out = torch.empty(elements, dtype=torch.float32)
    result[name] = median_ms(lambda: out.copy_(source))
    result[name + " new"] = median_ms(lambda: source.float())
print(json.dumps(result))
