"""What a fixture file holds and how it is written (the layout is described in README.md)."""
import json
import math
import pathlib

import numpy as np
from safetensors.numpy import save_file

import fill

FULL_LIMIT = 1024  # elements up to which a tensor is stored whole
PROJECTIONS = 16
SAMPLES = 256
GRAD_PROJECTIONS = 4
BUFFER_PROJECTIONS = 2


class Run:
    """Everything one forward (and backward) pass gave: numpy arrays in the run's precision."""

    def __init__(self):
        self.tensors: dict[str, np.ndarray] = {}
        self.scalars: dict[str, float] = {}
        self.labels: dict[str, np.ndarray] = {}
        self.grads: dict[str, np.ndarray] = {}
        self.buffers: dict[str, np.ndarray] = {}
        self.inputs: dict[str, list[int]] = {}


class Fixture:
    """One case: `<name>.safetensors` with the tensors, its JSON in the metadata key `case`."""

    def __init__(self, name: str, kind: str, reference: str, config: dict, strata: str, keys: str):
        self.name = name
        self.arrays: dict[str, np.ndarray] = {}
        self.case = {"name": name, "kind": kind, "reference": reference, "config": config,
                     "strata": strata, "keys": keys, "inputs": {}, "modes": {}}

    def add_mode(self, mode: str, run64: Run, runs32: list[Run]) -> None:
        """The float32 error of a value is the largest over `runs32` (the reference's memory layouts)."""
        info = {"tensors": {}, "scalars": {}}
        for name, ref in run64.tensors.items():
            err = max(float(np.abs(r.tensors[name].astype(np.float64) - ref).max())
                      for r in runs32)
            info["tensors"][name] = {"shape": list(ref.shape), "absmax": float(np.abs(ref).max()),
                                     "err32": err}
            if ref.size <= FULL_LIMIT:
                self.arrays[f"{mode}/{name}"] = ref
            else:
                flat = ref.reshape(-1)
                self.arrays[f"{mode}/{name}#proj"] = fill.projections(name, ref, PROJECTIONS)
                self.arrays[f"{mode}/{name}#samples"] = flat[
                    fill.sample_indices(name, flat.size, SAMPLES)]
        for name, ref in run64.scalars.items():
            info["scalars"][name] = {
                "value": ref, "err32": max(abs(r.scalars[name] - ref) for r in runs32)}
        for name, ref in run64.labels.items():
            self.arrays[f"{mode}/{name}"] = ref.astype(np.uint8)
        if run64.grads:
            rows, squared, squared_err = [], 0.0, np.zeros(len(runs32))
            for name in sorted(run64.grads):
                ref = run64.grads[name]
                errors = [r.grads[name].astype(np.float64) - ref for r in runs32]
                squared += float((ref * ref).sum())
                squared_err += [float((e * e).sum()) for e in errors]
                rows.append([*fill.projections(name, ref, GRAD_PROJECTIONS),
                             float(np.linalg.norm(ref)), max(float(np.abs(e).max()) for e in errors)])
            self.arrays[f"{mode}/grads"] = np.array(rows)
            info["grads"] = {"count": len(rows), "norm": math.sqrt(squared),
                             "err32_norm": math.sqrt(squared_err.max())}
        if run64.buffers:
            self.arrays[f"{mode}/buffers"] = np.array(
                [[*fill.projections(name, run64.buffers[name], BUFFER_PROJECTIONS),
                  float(np.linalg.norm(run64.buffers[name]))] for name in sorted(run64.buffers)])
            info["buffers"] = {"count": len(run64.buffers)}
        self.case["modes"][mode] = info

    def write(self, folder: pathlib.Path) -> int:
        path = folder / f"{self.name}.safetensors"
        save_file(self.arrays, path, metadata={"case": json.dumps(self.case, separators=(",", ":"))})
        path.chmod(0o644)
        return path.stat().st_size


def write_keys(path: pathlib.Path, title: str, state: list[tuple[str, tuple[int, ...]]]) -> dict:
    """Key list in registration order; the five tensors of a batch norm take one line `<name> bn <C>`."""
    names = dict(state)
    buffers = ("running_mean", "running_var", "num_batches_tracked", "relative_position_index")
    params = sum(math.prod(s) for n, s in state if n.rsplit(".", 1)[-1] not in buffers)
    lines = [f"# {title}", f"# parameters {params}", f"# tensors {len(state)}"]
    for name, shape in state:
        stem, _, last = name.rpartition(".")
        if f"{stem}.running_var" in names:
            if last == "weight":
                lines.append(f"{stem} bn {shape[0]}")
            continue
        lines.append(f"{name} {','.join(map(str, shape))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return {"parameters": params, "tensors": len(state)}
