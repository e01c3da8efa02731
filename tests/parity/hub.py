"""Names and shapes of published backbone weights, as the libraries that publish them build them.

    python tests/parity/hub.py [--out DIR]       writes hub/*.txt (no weights are fetched)

Needs transformers 4.57.1 besides requirements.txt.
"""
import argparse
import pathlib

import timm
import torch
import transformers

from fixture import write_keys

HERE = pathlib.Path(__file__).resolve().parent
TIMM = ["resnet18.a1_in1k", "resnet50.a1_in1k", "resnext50_32x4d.a1h_in1k", "resnet50d.ra2_in1k",
        "hrnet_w18.ms_aug_in1k", "hrnet_w18_small_v2.ms_in1k", "efficientnet_b0.ra_in1k",
        "tf_efficientnet_b3.ns_jft_in1k"]


def transformers_models() -> dict[str, torch.nn.Module]:
    """By their configs on the hub, which differ from the classes' defaults in what is given here."""
    resnet = transformers.ResNetForImageClassification
    efficient = transformers.EfficientNetForImageClassification
    return {
        "microsoft_resnet-18": resnet(transformers.ResNetConfig(
            num_labels=1000, layer_type="basic", depths=[2, 2, 2, 2],
            hidden_sizes=[64, 128, 256, 512])),
        "microsoft_resnet-50": resnet(transformers.ResNetConfig(num_labels=1000)),
        "google_efficientnet-b0": efficient(transformers.EfficientNetConfig(
            num_labels=1000, width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280,
            depthwise_padding=[])),
        "google_efficientnet-b1": efficient(transformers.EfficientNetConfig(
            num_labels=1000, width_coefficient=1.0, depth_coefficient=1.1, hidden_dim=1280,
            depthwise_padding=[16])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "data" / "parity")
    out = parser.parse_args().out / "hub"
    with torch.device("meta"):
        models = {f"timm_{name}": timm.create_model(name, pretrained=False) for name in TIMM}
        models |= transformers_models()
    for name, model in models.items():
        state = [(key, tuple(value.shape)) for key, value in model.state_dict().items()]
        print(name, write_keys(out / f"{name}.txt", name, state))


if __name__ == "__main__":
    main()
