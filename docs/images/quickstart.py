#!/usr/bin/env python3
"""Draws docs/images/quickstart.png from a finished tools/quickstart:

  docs/images/quickstart.py NAME...        # scenes of data/scenes/test: columns date 1, date 2,
                                           # truth, prediction (white: right, red: false alarm,
                                           # blue: missed)
Needs numpy and Pillow.
"""
import os
import sys

import numpy as np
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SIDE, GAP = 220, 4


def read(*path):
    return np.array(Image.open(os.path.join(ROOT, *path)))


def panels(name):
    before, after = (read("data/scenes/test", date, name + ".png") for date in "AB")
    truth = read("data/scenes/test/label", name + ".png") > 0
    found = read("work_dirs/quickstart/predictions", name + ".png") > 0
    both = np.zeros((*truth.shape, 3), np.uint8)
    both[truth & found] = (255, 255, 255)
    both[found & ~truth] = (220, 50, 47)
    both[truth & ~found] = (38, 110, 210)
    return [before, after, np.repeat(255 * truth[..., None].astype(np.uint8), 3, 2), both]


def main():
    names = sys.argv[1:]
    sheet = Image.new("RGB", (4 * (SIDE + GAP) - GAP, len(names) * (SIDE + GAP) - GAP), "white")
    for row, name in enumerate(names):
        for column, panel in enumerate(panels(name)):
            kind = Image.LANCZOS if column < 2 else Image.NEAREST
            sheet.paste(Image.fromarray(panel).resize((SIDE, SIDE), kind),
                        (column * (SIDE + GAP), row * (SIDE + GAP)))
    out = os.path.join(ROOT, "docs/images/quickstart.png")
    sheet.quantize(256, method=Image.MAXCOVERAGE).save(out, optimize=True)
    print(out, os.path.getsize(out) // 1024, "KiB")


if __name__ == "__main__":
    main()
