"""Loads all shards of a checkpoint and reads a byte of each page, and prints when what was there.

python_load.py {"folder": ..., "framework": "np" | "torch"}
"""
import glob
import json
import os
import sys
import time

options = json.loads(sys.argv[1])
torch = options["framework"] == "torch"
if torch:
    from safetensors.torch import load_file
else:
    from safetensors.numpy import load_file
import numpy

PAGE = 4096


def touch(tensor):
    array = tensor.numpy() if torch else tensor
    return int(array.reshape(-1).view(numpy.uint8)[::PAGE].sum(dtype=numpy.uint64))


began_ns = time.monotonic_ns()
first_ns = None
tensors = {}
for path in sorted(glob.glob(os.path.join(options["folder"], "*.safetensors"))):
    shard = load_file(path)
    if first_ns is None:
        touch(shard[next(iter(shard))])
        first_ns = time.monotonic_ns()
    tensors.update(shard)
loaded_ns = time.monotonic_ns()
checksum = sum(touch(tensor) for tensor in tensors.values())
forward_ns = time.monotonic_ns()
print(
    json.dumps(
        {
            "beganNs": str(began_ns),
            "firstNs": str(first_ns),
            "forwardNs": str(forward_ns),
            # numpy gets copies, which are there when they are made; torch gets mapped files, whose pages come when read.
            "residentNs": str(forward_ns if torch else loaded_ns),
            "openMs": (loaded_ns - began_ns) / 1e6,
            "touchMs": (forward_ns - loaded_ns) / 1e6,
            "byteLength": sum(tensor.nbytes for tensor in tensors.values()),
        }
    )
)
