"""The counter formula that fills weights, inputs and probes on both sides of a parity check.

Every number is a pure function of (name, element index): nothing but outputs needs to be stored, and
the C++ side rebuilds the same weights and inputs. README.md states the same formula for C++.
"""
import math

import numpy as np

GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def fnv1a64(name: str) -> int:
    """FNV-1a, 64 bits, over the UTF-8 bytes of the name."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & _MASK
    return h


def z64(name: str, count: int) -> np.ndarray:
    """splitmix64 finaliser of h0 + (i + 1) * GAMMA for i in [0, count), as uint64."""
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a64(name)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def u(name: str, count: int) -> np.ndarray:
    """Uniform in [0, 1), float64."""
    return (z64(name, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def v(name: str, count: int) -> np.ndarray:
    """Uniform in [-1, 1), float64."""
    return 2.0 * u(name, count) - 1.0


def state_value(name: str, shape) -> np.ndarray:
    """Value of a parameter or buffer: the rule depends on the last part of its name and its rank."""
    shape = tuple(shape)
    count = math.prod(shape)
    last = name.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    if last == "running_mean":
        flat = 0.1 * v(name, count)
    elif last == "running_var":
        flat = 1.0 + 0.5 * u(name, count)
    elif len(shape) >= 2:
        flat = v(name, count) * math.sqrt(3.0 / (count // shape[0]))
    elif last == "weight":
        flat = 1.0 + 0.1 * v(name, count)
    else:
        flat = 0.1 * v(name, count)
    return flat.reshape(shape)


def input_value(name: str, shape) -> np.ndarray:
    """A network input (an image after normalisation, or a feature map)."""
    return v(name, math.prod(shape)).reshape(shape)


def label_value(name: str, shape, num_classes: int, ignore_index: int | None) -> np.ndarray:
    """A label map; about every tenth pixel carries ignore_index (none where it is None)."""
    z = z64(name, math.prod(shape))
    label = (z % np.uint64(num_classes)).astype(np.int64)
    if ignore_index is not None:
        label[(z >> np.uint64(32)) % np.uint64(10) == 0] = ignore_index
    return label.reshape(shape)


def projections(name: str, values: np.ndarray, count: int) -> np.ndarray:
    """dot(values, v(name + '#k')) for k in [0, count), in float64."""
    flat = np.ascontiguousarray(values, dtype=np.float64).reshape(-1)
    return np.array([float(flat @ v(f"{name}#{k}", flat.size)) for k in range(count)])


def sample_indices(name: str, numel: int, count: int) -> np.ndarray:
    """Flat positions whose values a fixture stores for a large tensor (repeats are allowed)."""
    return (z64(f"{name}#idx", count) % np.uint64(numel)).astype(np.int64)
