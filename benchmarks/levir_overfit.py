#!/usr/bin/env python3
"""VLCD of both forms, narrow, learns the samples of LEVIR-CD by heart: scores of the pairs it was
trained on and of those it was not, a picture of 512 x 512 in windows, labels of 0 and 1.

    benchmarks/levir_overfit.py --samples DIR [--build build] [--work DIR] [--threads 2]

DIR holds {train,test}/{A,B,label} of 256 x 256 PNGs. Runs that are whole in --work are not repeated.
Writes results/levir_overfit.json and .md.
"""
import argparse
import json
import os
import pathlib
import statistics
import struct
import sys
import tempfile
import zlib

import measure

TOP = pathlib.Path(__file__).resolve().parents[1]
FORMS = {"r50": "RN50 with ResNet-50", "vit-b16": "ViT-B/16 with DeiT-S"}
SHORT = 2  # steps of the runs that compare labels


def read_png(path):
    """(width, height, bytes a pixel, rows) of 8-bit grey or RGB that is not interlaced."""
    data, at, packed = path.read_bytes(), 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed += body
        at += 12 + size
    if depth != 8 or colour not in (0, 2) or interlaced:
        sys.exit(f"{path}: is no plain PNG of 8-bit grey or RGB")
    pixel = 1 if colour == 0 else 3
    raw, rows, above = zlib.decompress(packed), [], bytearray(width * pixel)
    for y in range(height):
        begin = y * (width * pixel + 1)
        rule, row = raw[begin], bytearray(raw[begin + 1:begin + 1 + width * pixel])
        for x in range(len(row)):
            a = row[x - pixel] if x >= pixel else 0
            b, c = above[x], above[x - pixel] if x >= pixel else 0
            if rule == 4:
                p = a + b - c
                near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            else:
                near = (0, a, b, (a + b) // 2)[rule]
            row[x] = (row[x] + near) & 255
        rows.append(above := row)
    return width, height, pixel, rows


def write_png(path, width, height, pixel, rows):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixel == 1 else 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                     + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + bytes(r) for r in rows)))
                     + chunk(b"IEND", b""))


def four_in_one(paths, to):
    tiles = [read_png(path) for path in paths]
    width, height, pixel, _ = tiles[0]
    rows = [tiles[2 * i][3][y] + tiles[2 * i + 1][3][y] for i in (0, 1) for y in range(height)]
    write_png(to, 2 * width, 2 * height, pixel, rows)


def page(result):
    machine = result["machine"]
    rows = []
    for form, found in result["forms"].items():
        loss = list(found["loss"].values())
        rows.append([FORMS[form], list(found["loss"])[-1], f"{loss[0]} to {loss[-1]}",
                     f"**{found['train']['f1']:.4f}**", f"{found['test']['f1']:.4f}",
                     f"{found['large']['f1']:.4f}",
                     "the same bytes" if found["labels_alike"] else "NOT the same",
                     f"{found['resident_mib']} MiB"])
    text = f"""# VLCD learns samples of LEVIR-CD by heart

`benchmarks/levir_overfit.py`: four training pairs of 256 x 256 and seven others, the compositions of `configs/vlcd/vlcd_r50_levir.toml` and `vlcd_vit-b16_levir.toml` with narrow towers of random weights (`benchmarks/levir_r50.toml`, `levir_vit-b16.toml`), no augmentation.

{machine['cpu']}, {machine['cores']} cores, {result['threads']} thread{"" if result["threads"] == "1" else "s"}; {machine['system']}; other processes used {result['other_load_cores']} cores meanwhile.

| form | steps | loss | F1 of changed, trained on | F1, not trained on | F1, 512 x 512 | labels 0/255 and 0/1, {SHORT} steps | memory |
|---|---|---|---|---|---|---|---|
"""
    text += "".join("| " + " | ".join(map(str, row)) + " |\n" for row in rows)
    text += """
Towers of random weights that see four pairs learn these and nothing else: what counts is the fourth column. The fifth says that other pairs are predicted, no more. The sixth is of the four training pairs side by side, a picture of 512 x 512 that is predicted in windows of 256 every 128 pixels.
"""
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", required=True, type=pathlib.Path)
    parser.add_argument("--build", default="build")
    parser.add_argument("--work", type=pathlib.Path, help="where runs are kept")
    parser.add_argument("--threads", default=str(len(os.sched_getaffinity(0))))
    arguments = parser.parse_args()
    tools = TOP / arguments.build / "tools"
    samples = arguments.samples.resolve()

    def tool(name, form, *more, root=samples):
        config = f"benchmarks/levir_{form}.toml"
        return measure.finish([str(tools / name), config, *map(str, more)],
                              LEVIR_SAMPLES=str(root), OMP_NUM_THREADS=arguments.threads,
                              OMP_WAIT_POLICY="passive")

    result = {"machine": measure.machine(), "threads": arguments.threads, "forms": {}}
    load = measure.OtherLoad()
    with tempfile.TemporaryDirectory() as name:
        own = pathlib.Path(name)
        work = (arguments.work or own).resolve()
        # The same labels, written as 0 and 1; pictures of 512 x 512 of four pairs each.
        for split in ("train", "test"):
            for part in ("A", "B"):
                (own / "ones" / split).mkdir(parents=True, exist_ok=True)
                (own / "ones" / split / part).symlink_to(samples / split / part)
            for path in (samples / split / "label").glob("*.png"):
                width, height, pixel, rows = read_png(path)
                assert set().union(*rows) <= {0, 255}, path
                ones = [bytes(value // 255 for value in row) for row in rows]
                write_png(own / "ones" / split / "label" / path.name, width, height, pixel, ones)
        for part in ("A", "B", "label"):
            four_in_one(sorted((samples / "train" / part).glob("*.png")), own / "large" / part / "4.png")

        for form in FORMS:
            run = work / form
            at = ("--set", f"runtime.work_dir={run}")
            if not (run / "best").exists():
                print(f"{form}: training", file=sys.stderr, flush=True)
                tool("train", form, *at)
            lines = [json.loads(line) for line in (run / "timing.jsonl").read_text().splitlines()]
            scalars = [json.loads(line) for line in (run / "scalars.jsonl").read_text().splitlines()]
            found = {"seconds_a_step": round(statistics.median(
                         line["time"] for line in lines if "time" in line), 2),
                     "resident_mib": max(line.get("memory_mib", 0) for line in lines),
                     "loss": {line["step"]: round(line["loss"], 4)
                              for line in scalars if "loss" in line}}
            for split, root in (("train", samples / "train"), ("test", samples / "test"),
                                ("large", own / "large")):
                out = own / f"{form}_{split}.json"
                tool("test", form, *at, "--metrics-out", out,
                     "--set", f"data.test.dataset.data_root={root}")
                scores = json.loads(out.read_text())
                found[split] = {key: round(scores[f"{key}.changed"], 4)
                                for key in ("f1", "iou", "precision", "recall")}
            # Both ways of writing labels, a few steps each: the same bytes.
            models = []
            for kind, root in (("255", samples), ("1", own / "ones")):
                short = own / f"{form}_{kind}"
                tool("train", form, "--set", f"runtime.work_dir={short}", "--set",
                     f"train.steps={SHORT}", "--set", f"evaluate.interval={SHORT}", "--set",
                     f"train.checkpoint_interval={SHORT}", root=root)
                step = short / f"step_{SHORT}"
                models.append([(step / "model.safetensors").read_bytes(),
                               (short / "scalars.jsonl").read_bytes()])
            found["labels_alike"] = models[0] == models[1]
            result["forms"][form] = found
            print(f"{form}: {json.dumps(found)}", file=sys.stderr, flush=True)
    result["other_load_cores"] = load.cores()

    text = page(result)
    measure.write(TOP / "benchmarks/results", "levir_overfit", result, text)
    print(text)


if __name__ == "__main__":
    main()
