#!/usr/bin/env python3
"""The peer of bench_loader: torch's DataLoader with albumentations on CamVid.

  loader_peer.py --camvid DIR --workers N [--batches 100]

The same pipeline: JPEG and PNG from files, resized by 0.5 to 2, a crop of 256 x 256 (padded where
too small), a flip, brightness, contrast, saturation and hue, each with probability 1/2, normalised;
out come float32 images N x 3 x 256 x 256 and int64 labels. Prints one line RESULT {json}.
"""
import argparse
import json
import os
import resource
import time

import albumentations as A
import cv2
import torch
from albumentations.pytorch import ToTensorV2


class Pairs(torch.utils.data.Dataset):
    def __init__(self, root):
        self.items = [(os.path.join(root, "images", f),
                       os.path.join(root, "labels", os.path.splitext(f)[0] + ".png"))
                      for f in sorted(os.listdir(os.path.join(root, "images")))]
        half = {"p": 0.5}
        self.transform = A.Compose([
            A.RandomScale(scale_limit=(-0.5, 1.0), p=1.0),
            A.RandomCrop(256, 256, pad_if_needed=True, fill=0, fill_mask=11, p=1.0),
            A.HorizontalFlip(p=0.5),
            # mmseg's PhotoMetricDistortion in albumentations' terms: two fast table look-ups and
            # one way to HSV and back.
            A.RandomBrightnessContrast(brightness_limit=32 / 255, contrast_limit=0.0, **half),
            A.RandomBrightnessContrast(brightness_limit=0.0, contrast_limit=0.5, **half),
            A.HueSaturationValue(hue_shift_limit=18, sat_shift_limit=50, val_shift_limit=0, p=0.75),
            A.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
            ToTensorV2(),
        ])

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        image, label = self.items[i]
        image = cv2.cvtColor(cv2.imread(image, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        label = cv2.imread(label, cv2.IMREAD_UNCHANGED)
        out = self.transform(image=image, mask=label)
        return out["image"], out["mask"].long()


def one_thread(_=0):
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def forever(loader):
    while True:
        yield from loader


def worker_cpu(loader_iterator):
    """CPU seconds that the living workers have used."""
    total = 0
    for worker in loader_iterator._workers:
        with open(f"/proc/{worker.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--camvid", required=True)
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--batches", type=int, default=100)
    p.add_argument("--warmup", type=int, default=4)
    a = p.parse_args()
    one_thread()
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(
        Pairs(os.path.join(a.camvid, "train")), batch_size=a.batch, shuffle=True, drop_last=True,
        num_workers=a.workers, persistent_workers=a.workers > 0, worker_init_fn=one_thread)
    begin = time.perf_counter()
    batches = forever(loader)
    image, label = next(batches)
    first = time.perf_counter() - begin
    for _ in range(1, a.warmup):
        next(batches)

    def cpu():
        return time.process_time() + (worker_cpu(loader._iterator) if a.workers else 0)

    start, used = time.perf_counter(), cpu()
    for _ in range(a.batches):
        image, label = next(batches)
    wall, used = time.perf_counter() - start, cpu() - used
    assert image.shape == (a.batch, 3, 256, 256) and image.dtype == torch.float32
    assert label.shape == (a.batch, 256, 256) and label.dtype == torch.int64
    samples = a.batches * a.batch
    print("RESULT " + json.dumps({
        "samples_per_second": samples / wall, "cpu_ms_per_sample": 1e3 * used / samples,
        "first_batch_seconds": first, "torch": torch.__version__,
        "albumentations": A.__version__, "opencv": cv2.__version__,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
