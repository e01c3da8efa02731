#!/usr/bin/env python3
"""The peers of step.py in PyTorch eager, plain or tuned; one line RESULT {json}.

  step_peer.py --model hrnet-w18_fcn --mode train|infer [--tuned] [--steps 10]

plain: NCHW, AdamW as it comes. tuned: channels-last, fused AdamW. Backbones are timm's where timm
has the same, the U-Net is smp's, VLCD is vlcd_peer.py's, the rest is mmseg's.
"""
import argparse
import json
import resource
import time

import timm
import torch
import torch.nn as nn
import torch.nn.functional as F

from mmseg_peer import allow_mmcv_lite

CLASSES = 11
BN = dict(type="BN", requires_grad=True)


def upsample(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class HRNetFCN(nn.Module):
    def __init__(self):
        super().__init__()
        # feature_location="": the branches themselves, without the blocks of ImageNet's classifier
        self.backbone = timm.create_model("hrnet_w18", pretrained=False, features_only=True,
                                          feature_location="", out_indices=(1, 2, 3, 4))
        c = sum(self.backbone.feature_info.channels())
        self.head = nn.Sequential(nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c),
                                  nn.ReLU(inplace=True), nn.Conv2d(c, CLASSES, 1))

    def forward(self, x):
        f = self.backbone(x)
        f = [f[0]] + [upsample(t, f[0].shape[2:]) for t in f[1:]]
        return [upsample(self.head(torch.cat(f, 1)), x.shape[2:])]


class ResNetUPer(nn.Module):
    def __init__(self):
        super().__init__()
        allow_mmcv_lite()
        from mmseg.models import FCNHead, ResNetV1c, UPerHead
        self.backbone = ResNetV1c(depth=50, norm_cfg=BN)
        common = dict(num_classes=CLASSES, norm_cfg=BN, dropout_ratio=0.1, align_corners=False)
        self.head = UPerHead(in_channels=[256, 512, 1024, 2048], in_index=[0, 1, 2, 3],
                             pool_scales=(1, 2, 3, 6), channels=512, **common)
        self.auxiliary = FCNHead(in_channels=1024, in_index=2, channels=256, num_convs=1,
                                 concat_input=False, **common)

    def forward(self, x):
        f = self.backbone(x)
        heads = [self.head, self.auxiliary] if self.training else [self.head]
        return [upsample(head(f), x.shape[2:]) for head in heads]


class EfficientNetUnet(nn.Module):
    def __init__(self):
        super().__init__()
        from segmentation_models_pytorch import Unet
        self.model = Unet("efficientnet-b0", encoder_weights=None, classes=CLASSES)
        # A 1x1 classifier, as in the others, in place of smp's of 3x3.
        self.model.segmentation_head = nn.Conv2d(16, CLASSES, 1)
        del self.model.encoder._conv_head, self.model.encoder._bn1  # ImageNet's, never asked

    def forward(self, x):
        return [self.model(x)]


def of_vlcd(name, *options):
    def build():
        allow_mmcv_lite()
        import vlcd_peer
        return getattr(vlcd_peer, name)(*options)
    return build


class Tower(nn.Module):
    """A backbone under a linear classifier of its last level's mean, on which the loss stands."""

    def __init__(self, build, channels):
        super().__init__()
        self.backbone, self.head = build(), nn.Conv2d(channels, CLASSES, 1)

    def forward(self, x):
        level = self.backbone(x)[3]
        if level.shape[1] != self.head.in_channels:  # timm's Swin gives [N, H, W, C]
            level = level.permute(0, 3, 1, 2)
        return [upsample(self.head(level), x.shape[2:])]


def swin():
    return timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, features_only=True,
                             img_size=256, drop_path_rate=0.2)


MODELS = {
    "hrnet-w18_fcn": HRNetFCN, "r50_upernet": ResNetUPer, "effb0_unet": EfficientNetUnet,
    "vlcd_r50": of_vlcd("Vlcd", "r50", True), "vlcd_r50_trained": of_vlcd("Vlcd", "r50", False),
    "vlcd_vit": of_vlcd("Vlcd", "vit", True), "changeclip_r50": of_vlcd("ChangeClip", "r50"),
    "swin_t": lambda: Tower(swin, 768),
    "deit_s": lambda: Tower(of_vlcd("deit_small"), 384),
    "clip_rn50": lambda: Tower(of_vlcd("image_tower", "r50"), 2048),
    "clip_vit-b16": lambda: Tower(of_vlcd("image_tower", "vit"), 768)}
LOSS_WEIGHTS = (1.0, 0.4)  # of the head and of the auxiliary one


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", choices=list(MODELS), required=True)
    p.add_argument("--mode", choices=["train", "infer"], required=True)
    p.add_argument("--tuned", action="store_true")
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--warmup", type=int, default=3)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--size", type=int, default=256)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.manual_seed(0)
    layout = torch.channels_last if a.tuned else torch.contiguous_format
    model = MODELS[a.model]().to(memory_format=layout)
    torch.set_num_threads(a.threads)  # now: tests/parity sets its own
    dates = [torch.randn(a.batch, 3, a.size, a.size).to(memory_format=layout)
             for _ in range(getattr(model, "dates", 1))]
    y = torch.randint(0, CLASSES if len(dates) == 1 else 2, (a.batch, a.size, a.size))
    model.train(a.mode == "train")
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01, fused=a.tuned)

    with open("/proc/self/statm") as f:
        built = int(f.read().split()[1]) * resource.getpagesize() / 2**20

    def train():
        optimizer.zero_grad(set_to_none=True)
        sum(w * F.cross_entropy(out, y) for w, out in zip(LOSS_WEIGHTS, model(*dates))).backward()
        optimizer.step()

    def infer():
        with torch.inference_mode():
            model(*dates)

    body, seconds = (train if a.mode == "train" else infer), []
    for i in range(a.warmup + a.steps):
        begin = time.perf_counter()
        body()
        if i >= a.warmup:
            seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("RESULT " + json.dumps({
        "seconds": seconds, "parameters": sum(q.numel() for q in model.parameters()),
        "threads": torch.get_num_threads(), "torch": torch.__version__, "timm": timm.__version__,
        "peak_mib": peak, "grown_mib": peak - built}))


if __name__ == "__main__":
    main()
