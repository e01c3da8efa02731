#!/usr/bin/env python3
"""The peer of bench_step: HRNet-W18 (timm) + FCN in PyTorch eager, plain or tuned.

  step_peer.py --mode train|infer [--tuned] [--steps 10]

plain: NCHW, AdamW as it comes. tuned: channels-last, fused AdamW. Prints one line RESULT {json}.
"""
import argparse
import json
import resource
import time

import timm
import torch
import torch.nn as nn
import torch.nn.functional as F


class HRNetFCN(nn.Module):
    def __init__(self, classes=11):
        super().__init__()
        # feature_location="": the branches themselves, without the blocks of ImageNet's classifier
        self.backbone = timm.create_model("hrnet_w18", pretrained=False, features_only=True,
                                          feature_location="", out_indices=(1, 2, 3, 4))
        c = sum(self.backbone.feature_info.channels())
        self.head = nn.Sequential(nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c),
                                  nn.ReLU(inplace=True), nn.Conv2d(c, classes, 1))

    def forward(self, x):
        f = self.backbone(x)
        f = [f[0]] + [F.interpolate(t, size=f[0].shape[2:], mode="bilinear") for t in f[1:]]
        return F.interpolate(self.head(torch.cat(f, 1)), size=x.shape[2:], mode="bilinear")


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mode", choices=["train", "infer"], required=True)
    p.add_argument("--tuned", action="store_true")
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--warmup", type=int, default=3)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--size", type=int, default=256)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    layout = torch.channels_last if a.tuned else torch.contiguous_format
    model = HRNetFCN().to(memory_format=layout)
    x = torch.randn(a.batch, 3, a.size, a.size).to(memory_format=layout)
    y = torch.randint(0, 11, (a.batch, a.size, a.size))
    model.train(a.mode == "train")
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01, fused=a.tuned)

    def train():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    def infer():
        with torch.inference_mode():
            model(x)

    body, seconds = (train if a.mode == "train" else infer), []
    for i in range(a.warmup + a.steps):
        begin = time.perf_counter()
        body()
        if i >= a.warmup:
            seconds.append(time.perf_counter() - begin)
    print("RESULT " + json.dumps({
        "seconds": seconds, "parameters": sum(q.numel() for q in model.parameters()),
        "threads": torch.get_num_threads(), "torch": torch.__version__, "timm": timm.__version__,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
