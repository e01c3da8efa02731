"""Writes the weight files of this folder with the real torch, safetensors and mmengine.

    python tests/data/weights/generate.py

Every tensor is filled by one rule, which tests/framework/io/torch_file_test.cpp knows too: element i
of the k-th tensor is (7 i + k) mod 17 - 8, its parity for bool, plus 8 where a type has no sign.
"""
import argparse
import collections
import pathlib

import numpy
import torch
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).parent
UNSIGNED = {torch.uint8, torch.uint16, torch.uint32, torch.uint64}


def fill(shape, k, dtype=torch.float32):
    count = int(numpy.prod(shape, dtype=int))
    values = torch.tensor([(7 * i + k) % 17 - 8 for i in range(count)], dtype=torch.int64)
    if dtype == torch.bool:
        values = values % 2
    if dtype in UNSIGNED:
        values = values + 8
    return values.reshape(shape).to(torch.float32 if dtype.is_floating_point else torch.int64).to(dtype)


def all_types():
    types = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
             torch.int16, torch.int8, torch.uint8, torch.bool]
    state = collections.OrderedDict(
        (str(dtype).split(".")[1] + ".weight", fill((2, 3), k, dtype)) for k, dtype in enumerate(types))
    state["scalar"] = fill((), 10)
    state["empty"] = fill((0, 4), 11)
    return state


class Block(torch.nn.Module):
    def __init__(self, k):
        super().__init__()
        self.weight = torch.nn.Parameter(fill((2, 2), k))
        self.register_buffer("mean", fill((3,), k + 1))
        self.scale = 3
        self.sizes = [1, 2, 3]

    def forward(self, x):
        return x @ self.weight * self.scale


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = torch.nn.Sequential(Block(0), Block(2))
        self.logit_scale = torch.nn.Parameter(fill((), 4))
        self.proj = torch.nn.Parameter(fill((2, 3), 5, torch.float16))
        self.name = "net"

    def forward(self, x):
        return self.visual(x) * self.logit_scale + self.proj.sum()


def save(name, value, **options):
    torch.save(value, FOLDER / name, **options)


def main():
    torch.manual_seed(0)
    state = all_types()
    save("zip.pth", state)
    save("protocol4.pth", state, pickle_protocol=4)
    save("protocol5.pth", state, pickle_protocol=5)
    save("legacy.pth", state, _use_new_zipfile_serialization=False)
    torch.serialization.set_crc32_options(False)
    save("no_crc.pth", state)
    torch.serialization.set_crc32_options(True)
    save_file(state, FOLDER / "library.safetensors")
    save("new_types.pth", {name: fill((2, 3), k, getattr(torch, name)) for k, name in enumerate(
        ["float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64"])})

    base = fill((4, 6), 0)
    shared = {"whole": base, "tail": base[2:], "columns": base[:, 1:3], "transposed": base.t(),
              "repeated": base[0, :1].expand(5),
              "images": fill((1, 3, 2, 2), 1).contiguous(memory_format=torch.channels_last)}
    save("shared.pth", shared)
    save("shared_legacy.pth", shared, _use_new_zipfile_serialization=False)

    torch.jit.script(Net()).save(str(FOLDER / "script.pt"))

    model = Block(0)
    optimizer = torch.optim.AdamW(model.parameters())
    model.weight.grad = torch.ones_like(model.weight)
    optimizer.step()
    checkpoint = {
        "epoch": 3, "best": torch.tensor(0.5), "args": argparse.Namespace(lr=0.1, names=["a"]),
        "state_dict": {"module.a.weight": fill((2, 2), 0), "module.a.mean": fill((3,), 1)},
        "state_dict_ema": {"module.a.weight": fill((2, 2), 2), "module.a.mean": fill((3,), 3)},
        "optimizer": optimizer.state_dict(), "score": numpy.float64(0.25), "array": numpy.arange(3),
        "size": torch.Size([1, 2]), "device": torch.device("cpu"), "path": FOLDER.name, "seen": {1, 2},
    }
    save("nested.pth", checkpoint)
    save("nested_legacy.pth", checkpoint, _use_new_zipfile_serialization=False)
    save("two.pth", {"generator": {"weight": fill((2,), 0)}, "critic": {"weight": fill((2,), 1)}})
    weight = torch.nn.Parameter(fill((2, 2), 0))
    tagged = torch.nn.Parameter(fill((2, 2), 1))
    tagged.note = "a Python attribute"
    save("parameters.pth", {"plain": weight, "tagged": tagged})
    save("module.pth", Block(0))

    from mmengine.logging import HistoryBuffer, MessageHub
    hub = MessageHub.get_instance("weights")
    hub.update_scalar("train/loss", 0.5)
    assert isinstance(hub.get_scalar("train/loss"), HistoryBuffer)
    save("mmengine.pth", {"meta": {"iter": 4, "dataset_meta": {"classes": ("a",), "palette": [[1, 2, 3]]}},
                          "state_dict": {"backbone.weight": fill((2, 2), 0)},
                          "message_hub": hub.state_dict()})


if __name__ == "__main__":
    main()
