#!/usr/bin/env python3
"""Streaming prediction of a large GeoTIFF: time, peak memory, and distance from the unwindowed result.

    cmake --build build --target bench_raster && python3 benchmarks/raster.py [--build build] [--size 20000]

Peak memory is the kernel's (getrusage of the process), of tools/predict as a user runs it. It needs
plugins/geotiff (tools/setup --geo) and 3 GB of disk at 20,000 pixels. Writes results/raster.json and .md.
"""
import argparse
import filecmp
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import measure

TOP = pathlib.Path(__file__).resolve().parents[1]
ALIGNED = 6016  # above the size from which predict streams, a multiple of the model's stride


def run(command, environment):
    """Runs a command; seconds and peak resident MiB."""
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, text=True)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    seconds, mib = round(time.monotonic() - start, 1), round(usage.ru_maxrss / 1024)
    print(f"{seconds} s, {mib} MiB: {' '.join(command)}", file=sys.stderr, flush=True)
    return seconds, mib


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--size", type=int, default=20000)
    parser.add_argument("--classes", type=int, default=20, help="of the model of many classes")
    arguments = parser.parse_args()
    build = TOP / arguments.build
    plugin = build / "plugins/geotiff.so"
    bench = build / "benchmarks/bench_raster"
    config = str(TOP / "benchmarks/raster.toml")

    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        environment = dict(os.environ, SCENES=str(work / "scenes"),
                           STRATA_PLUGIN_PATH=str(plugin.parent))
        run([str(build / "tools/make_scenes"), "--out", str(work / "scenes"), "--train", "2",
             "--val", "1", "--test", "1", "--size", "64"], environment)
        many = ["--set", "data.labels.land.classes=["
                + ", ".join(f'"c{i}"' for i in range(arguments.classes)) + "]"]
        for trained, sets in (("run", []), ("many", many)):
            run([str(build / "tools/train"), config, "--set",
                 f"runtime.work_dir={work / trained}", *sets], environment)

        def predict(image, out, *more, trained="run", overlay=False):
            return run([str(build / "tools/predict"), config, str(work / trained), "--in",
                        str(work / f"{image}.tif"), "--out", str(work / out),
                        *([] if overlay else ["--no-overlay"]),
                        "--set", f"runtime.work_dir={work / trained}", *more], environment)

        for label, size in (("tiny", 32), ("window", 1024), ("aligned", ALIGNED),
                            ("large", arguments.size)):
            run([str(bench), str(plugin), str(work / f"{label}.tif"), str(size)], environment)

        result = {"machine": measure.machine(), "size": arguments.size}
        load = measure.OtherLoad()
        result["model"] = predict("tiny", "out")
        result["one window"] = predict("window", "out")
        result["raster"] = predict("large", "out")
        result["whole"] = predict("aligned", "whole", "--probabilities", "--set",
                                  "evaluate.inference.mode=whole")
        result["windows"] = predict("aligned", "windows", "--probabilities")
        # Both less than its results take, so that it is not predicted as a whole.
        for key, out, memory in (("drawn", "drawn", 256), ("drawn in little", "little", 64)):
            result[key] = predict("aligned", out, "--set",
                                  f'evaluate.inference.memory="{memory} MiB"', overlay=True)
        result["same_files"] = all(
            filecmp.cmp(work / "drawn" / file, work / "little" / file, shallow=False)
            for file in ("aligned.tif", "aligned_overlay.tif"))
        result["many classes"] = predict("large", "many_out", *many, trained="many")
        result["other_load_cores"] = load.cores()
        compared = subprocess.run(
            [str(bench), str(plugin), "--compare", *(str(work / f"{way}/aligned_probabilities.tif")
                                                     for way in ("whole", "windows"))],
            check=True, capture_output=True, text=True, env=environment)
        difference, low, high = map(float, compared.stdout.split())
        result["largest_difference"] = difference
        result["probabilities_between"] = [low, high]
        result["output_bytes"] = (work / "out/large.tif").stat().st_size
    result["above_the_model_mib"] = result["raster"][1] - result["model"][1]
    result["many_above_the_model_mib"] = result["many classes"][1] - result["model"][1]

    folder = TOP / "benchmarks/results"
    (folder / "raster.json").write_text(json.dumps(result, indent=1) + "\n")
    rows = [("the model alone (32 x 32 pixels)", result["model"]),
            ("one window (1024 x 1024)", result["one window"]),
            (f"{arguments.size} x {arguments.size}, streamed", result["raster"]),
            (f"{ALIGNED} x {ALIGNED} with probabilities, as a whole", result["whole"]),
            (f"{ALIGNED} x {ALIGNED} with probabilities, streamed", result["windows"]),
            (f"{ALIGNED} x {ALIGNED} with overlay, memory = 256 MiB", result["drawn"]),
            (f"{ALIGNED} x {ALIGNED} with overlay, memory = 64 MiB", result["drawn in little"]),
            (f"{arguments.size} x {arguments.size}, {arguments.classes} classes, streamed",
             result["many classes"])]
    text = ["# Streaming prediction of a GeoTIFF", "",
            "`benchmarks/raster.py`: a ResNet-18 of an eighth of the width with an FCN head at stride 8, "
            "windows of 1024 every 832 pixels, three bands of bytes in, a DEFLATE label map out.",
            "", f"{measure.machine()['cpu']}, {measure.machine()['cores']} cores; other processes used "
            f"{result['other_load_cores']} cores meanwhile.", "",
            "| raster | seconds | peak resident MiB |", "|---|---|---|"]
    text += [f"| {label} | {seconds} | {mib} |" for label, (seconds, mib) in rows]
    text += ["", f"Above the model: **{result['above_the_model_mib']} MiB**, of {arguments.classes} classes "
             f"{result['many_above_the_model_mib']} MiB. With 64 MiB, label map and overlay are "
             f"{'the same bytes' if result['same_files'] else 'NOT the same bytes'}. "
             "Largest difference of a probability, "
             f"streamed from whole: **{result['largest_difference']:.1e}** "
             f"(they lie between {low:.3f} and {high:.3f}).", ""]
    (folder / "raster.md").write_text("\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
