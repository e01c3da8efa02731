"""Writes tests/data/slide_mmseg.safetensors: mmseg 1.2.2's slide_inference over a strided convolution.

    python tests/parity/slide.py

Only the model is ours (a 3x3 convolution of stride 2, each result repeated 2 x 2); windows, counts and
means are mmseg's own.
"""
import pathlib
import types

import torch
from safetensors.torch import save_file

import reference  # noqa: F401  (mmseg without compiled operators)
from mmseg.models.segmentors import EncoderDecoder

CASES = {"overlapping": ((16, 20), (11, 7)), "touching": ((12, 12), (12, 12)),
         "wide": ((8, 64), (5, 64)), "larger": ((64, 64), (40, 40))}


def main():
    torch.manual_seed(20)
    image = torch.randint(0, 256, (1, 3, 41, 53)).double()
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    bias = torch.randn(4, dtype=torch.float64)

    def encode_decode(inputs, _meta):
        small = torch.nn.functional.conv2d(inputs, weight, bias, stride=2, padding=1)
        large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return large[:, :, :inputs.shape[2], :inputs.shape[3]]

    tensors = {"image": image, "weight": weight, "bias": bias}
    for name, (crop_size, stride) in CASES.items():
        model = types.SimpleNamespace(
            test_cfg=types.SimpleNamespace(crop_size=crop_size, stride=stride),
            out_channels=4, encode_decode=encode_decode)
        meta = [{"img_shape": tuple(image.shape[2:])}]
        tensors[f"out.{name}"] = EncoderDecoder.slide_inference(model, image, meta).contiguous()
    folder = pathlib.Path(__file__).resolve().parents[1] / "data"
    save_file(tensors, folder / "slide_mmseg.safetensors")


if __name__ == "__main__":
    main()
