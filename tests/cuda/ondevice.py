"""Runs kernels of the CUDA backend on a device: the GPU where there is one, else the host that plays one."""

import numpy as np
from agreement import argument_names, float_type, outputs

import dlfast as dl
from dlfast import kernels
from dlfast.kernels.cuda import device


def device_in_use():
    return dl.cuda.get_device() if dl.cuda.is_available() else device.host_device()


def up(x):
    """The array on the device; what is no array stays as it is."""
    return device_in_use().upload(np.array(x, order="C")) if isinstance(x, np.ndarray | np.generic) else x


def down(x):
    return x.numpy() if isinstance(x, device.Array) else x


def call(case, dtype):
    """Forward and backward of a case, as `agreement.call` gives them."""
    inputs = case.inputs(dtype)
    forward, backward = kernels.pair(case.op, "cuda")
    y, saved = forward(*map(up, inputs), **case.options)
    y = tuple(map(down, y)) if isinstance(y, tuple) else down(y)
    dy = case.gradient(y, float_type(inputs))
    dy = tuple(map(up, dy)) if isinstance(dy, tuple) else up(dy)
    gradients = backward(dy, saved, tuple(x is not None for x in inputs))
    names = [f"d{name}" for name in argument_names(case.op, len(inputs))]
    return outputs(y) | {name: down(dx) for name, dx in zip(names, gradients, strict=True) if dx is not None}
