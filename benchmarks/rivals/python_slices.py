"""Takes one rank's part of every tensor with get_slice(), by rows and by columns."""
import glob
import json
import os
import sys
import time

import numpy
from safetensors import safe_open

options = json.loads(sys.argv[1])
ranks, rank = options["ranks"], options["rank"]
shards = [safe_open(path, framework="np") for path in sorted(glob.glob(os.path.join(options["folder"], "*.safetensors")))]


def part(size):
    return slice(size // ranks * rank, size // ranks * (rank + 1))


def measure(take):
    started = time.perf_counter()
    arrays = [take(shard.get_slice(name)) for shard in shards for name in shard.keys()]
    ms = (time.perf_counter() - started) * 1000
    checksum = sum(int(numpy.ascontiguousarray(array).view(numpy.uint16).sum(dtype=numpy.uint64)) for array in arrays)
    return ms, checksum


leading_ms, leading_checksum = measure(lambda tensor: tensor[part(tensor.get_shape()[0])])
inner_ms, inner_checksum = measure(lambda tensor: tensor[:, part(tensor.get_shape()[1])])
print(
    json.dumps(
        {
            "leadingMs": leading_ms,
            "innerMs": inner_ms,
            "leadingChecksum": leading_checksum,
            "innerChecksum": inner_checksum,
        }
    )
)
