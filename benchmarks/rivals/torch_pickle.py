"""Writes the weights of a checkpoint as the pickle that torch.save() makes, or loads that.

torch_pickle.py {"folder": ..., "pickle": ..., "save": true | false}
"""
import glob
import json
import os
import sys
import time

import numpy
import torch

options = json.loads(sys.argv[1])
PAGE = 4096


def touch(tensor):
    return int(tensor.numpy().reshape(-1).view(numpy.uint8)[::PAGE].sum(dtype=numpy.uint64))


def save():
    from safetensors.torch import load_file

    tensors = {}
    for path in sorted(glob.glob(os.path.join(options["folder"], "*.safetensors"))):
        tensors.update(load_file(path))
    torch.save(tensors, options["pickle"])
    return {"byteLength": os.path.getsize(options["pickle"])}


def load():
    began_ns = time.monotonic_ns()
    tensors = torch.load(options["pickle"], weights_only=True, map_location="cpu")
    loaded_ns = time.monotonic_ns()
    touch(next(iter(tensors.values())))
    first_ns = time.monotonic_ns()
    checksum = sum(touch(tensor) for tensor in tensors.values())
    forward_ns = time.monotonic_ns()
    return {
        "beganNs": str(began_ns),
        "firstNs": str(first_ns),
        "forwardNs": str(forward_ns),
        "residentNs": str(loaded_ns),  # it reads into its own memory
        "openMs": (loaded_ns - began_ns) / 1e6,
        "touchMs": (forward_ns - loaded_ns) / 1e6,
        "byteLength": sum(tensor.nbytes for tensor in tensors.values()),
    }


print(json.dumps(save() if options["save"] else load()))
