"""Golden values of the metrics on random label maps.

    python tests/parity/metrics.py [--out DIR]     writes metrics.json

IoU, accuracy, Dice, precision, recall: mmseg's own IoUMetric on its own counts, in float64. Boundary
IoU: erosion with OpenCV as in the paper's published code. The rest is plain NumPy from the papers'
formulas: every pair of contour pixels is compared, the change matrix has predictions as rows.
"""
import argparse
import json
import math
import pathlib

import cv2
import numpy as np
import torch
from mmseg.evaluation.metrics import IoUMetric

HERE = pathlib.Path(__file__).resolve().parent
IGNORE = 255


# ---------------------------------------------------------------- label maps
def blobs(rng, height, width, classes, cell):
    """Random map of square cells with ragged edges."""
    coarse = rng.integers(0, classes, (height // cell + 2, width // cell + 2))
    y = np.arange(height)[:, None] + rng.integers(-1, 2, (height, width))
    x = np.arange(width)[None, :] + rng.integers(-1, 2, (height, width))
    return coarse[(y + cell) // cell, (x + cell) // cell]


def disturbed(rng, truth, classes, cell, share):
    other = blobs(rng, *truth.shape, classes, cell)
    where = blobs(rng, *truth.shape, 100, cell) < 100 * share
    return np.where(where, other, np.roll(truth, 1, axis=1))


def text(array):
    return ["".join("." if v == IGNORE else str(v) for v in row) for row in array]


# ---------------------------------------------------------------- one label
def confusion(images, classes):
    matrix = np.zeros((classes, classes), dtype=np.int64)
    for prediction, truth in images:
        valid = truth != IGNORE
        np.add.at(matrix, (truth[valid], prediction[valid]), 1)
    return matrix


def nan_to_none(values):
    return [None if math.isnan(v) else float(v) for v in np.atleast_1d(values)]


def scores_of_mmseg(images, classes):
    areas = [torch.zeros(classes, dtype=torch.float64) for _ in range(4)]
    for prediction, truth in images:
        for total, area in zip(areas, IoUMetric.intersect_and_union(
                torch.from_numpy(prediction.astype(np.int64)),
                torch.from_numpy(truth.astype(np.int64)), classes, IGNORE)):
            total += area.double()
    out = IoUMetric.total_area_to_metrics(*areas, metrics=["mIoU", "mDice", "mFscore"])
    return {"iou": out["IoU"], "acc": out["Acc"], "f1": out["Dice"], "precision": out["Precision"],
            "recall": out["Recall"], "aacc": out["aAcc"]}


def mask_to_boundary(mask, distance):
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), dtype=np.uint8), iterations=distance)
    return mask & (eroded[1:-1, 1:-1] == 0)


def contour(mask):
    """Pixels with a neighbour outside of the mask but inside of the image."""
    height, width = mask.shape
    out = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            around = mask[max(y - 1, 0):y + 2, max(x - 1, 0):x + 2]
            out[y, x] = mask[y, x] and not around.all()
    return out


def near(a, b, distance):
    pa, pb = np.argwhere(a), np.argwhere(b)
    if len(pa) == 0 or len(pb) == 0:
        return 0
    squared = ((pa[:, None, :] - pb[None, :, :])**2).sum(2).min(1)
    return int((squared <= distance**2).sum())


def distance_of(shape, tolerance, ratio):
    return tolerance or max(round(ratio * math.hypot(*shape)), 1)


def boundary(images, classes, tolerance):
    iou, f1, precisions, recalls = [], [], [], []
    for c in range(classes):
        common = united = 0
        counts = np.zeros(4, dtype=np.int64)
        for prediction, truth in images:
            ignored = truth == IGNORE
            distance = distance_of(truth.shape, tolerance, 0.02)
            rims = [mask_to_boundary((m == c) | ignored, distance) & ~ignored
                    for m in (prediction, truth)]
            common += int((rims[0] & rims[1]).sum())
            united += int((rims[0] | rims[1]).sum())
            distance = distance_of(truth.shape, tolerance, 0.0075)
            p, t = [contour((m == c) | ignored) & ~ignored for m in (prediction, truth)]
            counts += (p.sum(), near(p, t, distance), t.sum(), near(t, p, distance))
        with np.errstate(invalid="ignore", divide="ignore"):
            iou.append(np.float64(common) / united if united else math.nan)
            precision = np.float64(counts[1]) / counts[0]
            recall = np.float64(counts[3]) / counts[2]
        if counts[0] + counts[2] == 0:
            f1.append(math.nan)
        elif counts[1] + counts[3] == 0:
            f1.append(0.0)
        else:
            f1.append(2 * precision * recall / (precision + recall))
        precisions.append(precision)
        recalls.append(recall)
    return {"boundary_iou": iou, "boundary_f1": f1, "boundary_precision": precisions,
            "boundary_recall": recalls}


def one_label(name, images, classes, tolerance=None):
    matrix = confusion(images, classes).astype(np.float64)
    total = matrix.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = (matrix.sum(0) * matrix.sum(1)).sum() / total**2
        kappa = (np.trace(matrix) / total - chance) / (1 - chance)
        ious = np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))
        fwiou = np.nansum(matrix.sum(1) / total * ious) if total else math.nan
        micro = np.trace(matrix) / (2 * total - np.trace(matrix))
    per_class = scores_of_mmseg(images, classes)
    overall = {"aacc": per_class.pop("aacc"), "kappa": kappa, "fwiou": fwiou, "micro_iou": micro}
    per_class.update(boundary(images, classes, tolerance))
    return {"name": name, "classes": classes, "tolerance": tolerance,
            "images": [{"prediction": text(p), "truth": text(t)} for p, t in images],
            "confusion": confusion(images, classes).reshape(-1).tolist(),
            "per_class": {k: nan_to_none(v) for k, v in per_class.items()},
            "mean": {k: nan_to_none(np.nanmean(v) if not np.isnan(v).all() else math.nan)[0]
                     for k, v in per_class.items()},
            "overall": {k: nan_to_none(v)[0] for k, v in overall.items()}}


def label_cases():
    rng = np.random.default_rng(20261121)

    def image(classes, size=(25, 31), cell=6, share=0.3, ignored=0.1, used=None):
        truth = blobs(rng, *size, used or classes, cell)
        prediction = disturbed(rng, truth, used or classes, cell, share)
        truth = np.where(blobs(rng, *size, 100, 4) < 100 * ignored, IGNORE, truth)
        return prediction, truth

    noise = (rng.integers(0, 4, (20, 20)), rng.integers(0, 4, (20, 20)))
    ignored = (rng.integers(0, 3, (8, 9)), np.full((8, 9), IGNORE))
    single = (np.zeros((9, 7), dtype=np.int64), np.zeros((9, 7), dtype=np.int64))
    return [
        one_label("blobs", [image(5), image(5, (40, 18), 5), image(5, ignored=0.0)], 5),
        one_label("wide_tolerance", [image(3), image(3, (17, 33))], 3, tolerance=3),
        one_label("large_image", [image(3, (70, 90), 14)], 3),
        one_label("absent_class", [image(6, used=4)], 6),
        one_label("noise", [noise], 4),
        one_label("all_ignored", [ignored], 3),
        one_label("single_class", [single], 2),
    ]


# ---------------------------------------------------------------- semantic change
def change_scores(h):
    """`h`: predictions are rows. What has no pixel counts 0."""
    h = h.astype(np.float64)
    safe = lambda a, b: float(a / b) if b else 0.0
    tn, fn, fp = h[0, 0], h[0].sum() - h[0, 0], h[:, 0].sum() - h[0, 0]
    tp = h[1:, 1:].sum()
    iou_nc, iou_c = safe(tn, tn + fp + fn), safe(tp, tp + fp + fn)
    rest = h.copy()
    rest[0, 0] = 0
    kappa = 0.0
    if rest.sum():
        po = np.trace(rest) / rest.sum()
        pe = (rest.sum(0) * rest.sum(1)).sum() / rest.sum()**2
        kappa = float((po - pe) / (1 - pe)) if pe != 1 else 0.0
    sek = kappa * math.exp(iou_c - 1)
    miou = (iou_nc + iou_c) / 2
    hit = np.trace(h[1:, 1:])
    p, r = safe(hit, h.sum() - h[0].sum()), safe(hit, h.sum() - h[:, 0].sum())
    return {"sek": sek, "score": 0.3 * miou + 0.7 * sek, "scd_miou": miou, "scd_kappa": kappa,
            "scd_iou_unchanged": iou_nc, "scd_iou_changed": iou_c, "fscd_precision": p,
            "fscd_recall": r, "fscd": safe(2 * p * r, p + r)}


def change_case(name, rng, classes, images, share, perfect=False):
    """Maps of classes 1..classes, and where anything changed."""
    out, states = [], []
    for size in images:
        change = (blobs(rng, *size, 100, 6) < 100 * share).astype(np.int64)
        truth = [blobs(rng, *size, classes, 5) for _ in range(2)]
        known = change.copy()
        known[blobs(rng, *size, 100, 4) < 8] = IGNORE
        if perfect:
            guess_change, guess = change, truth
        else:
            guess_change = disturbed(rng, change, 2, 6, 0.2)
            guess = [disturbed(rng, t, classes, 5, 0.3) for t in truth]
        out.append({"truth": [text(np.where(change == 1, t, IGNORE)) for t in truth],
                    "change": text(known), "prediction": [text(g) for g in guess],
                    "predicted_change": text(guess_change)})
        states.append((known != IGNORE, [np.where(change == 1, t + 1, 0) for t in truth],
                       [np.where(guess_change == 1, g + 1, 0) for g in guess]))
    h = np.zeros((classes + 1,) * 2, dtype=np.int64)
    pairs = np.zeros((classes**2 + 1,) * 2, dtype=np.int64)
    accuracy = []
    for valid, truth, guess in states:
        for t, g in zip(truth, guess):
            np.add.at(h, (g[valid], t[valid]), 1)
        accuracy.append(np.mean([(t == g)[valid] for t, g in zip(truth, guess)]))
        pair = lambda m: np.where((m[0] > 0) & (m[1] > 0), (m[0] - 1) * classes + m[1], 0)[valid]
        np.add.at(pairs, (pair(guess), pair(truth)), 1)
    want = change_scores(h)
    with np.errstate(invalid="ignore"):
        iou = np.diag(h) / (h.sum(0) + h.sum(1) - np.diag(h))
        pair_iou = np.diag(pairs) / (pairs.sum(0) + pairs.sum(1) - np.diag(pairs))
    fromto = change_scores(pairs)
    want.update({"sek_fromto": fromto["sek"], "score_fromto": fromto["score"],
                 "scd_kappa_fromto": fromto["scd_kappa"], "fscd_fromto": fromto["fscd"]})
    present = [i for i in range(1, len(pairs)) if pairs[:, i].sum()]
    want["scd_miou_fromto"] = float(np.mean(pair_iou[present])) if present else None
    return {"name": name, "classes": classes, "images": out, "scores": want,
            "iou": nan_to_none(iou[1:]), "oa_pixels": float(np.trace(h) / h.sum()),
            "oa_images": float(np.mean(accuracy))}


def change_cases():
    rng = np.random.default_rng(7)
    return [change_case("blobs", rng, 6, [(24, 30), (31, 20)], 0.4),
            change_case("two_classes", rng, 2, [(20, 20)], 0.3),
            change_case("perfect", rng, 3, [(18, 24)], 0.5, perfect=True),
            change_case("no_change", rng, 3, [(12, 15)], 0.0, perfect=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "data" / "parity")
    out = parser.parse_args().out / "metrics.json"
    out.write_text(json.dumps({"labels": label_cases(), "change": change_cases()}, indent=1) + "\n")
    print(f"{out.name}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
