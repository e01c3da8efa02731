#!/usr/bin/env python3
"""Steps on one fixed batch: Strata, plain PyTorch and tuned PyTorch in turns.

  cmake --build build --target bench_step
  step.py --peer-python VENV/bin/python [--passes 5 --steps 10]

HRNet-W18 + FCN, 4 x 3 x 256 x 256. train: forward, loss, backward, AdamW. infer: logits at the size
of the input. plain: NCHW, AdamW. tuned: channels-last, fused AdamW. Writes results/step.{json,md}.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from measure import OtherLoad, interval, machine, table, write

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
CONFIG = "configs/hrnet/fcn_hrnet-w18_camvid.toml"
SIDES = ("strata", "plain", "tuned")
AIMS = {"train": {"plain": 0.87, "tuned": 1.0}, "infer": {"plain": 0.75, "tuned": 0.9}}


def run_side(side, mode, a):
    common = ["--mode", mode, "--steps", str(a.steps), "--warmup", str(a.warmup)]
    if side == "strata":
        command = [a.strata, CONFIG, *common, "--set", f"runtime.threads={a.threads}"]
    else:
        command = [a.peer_python, os.path.join(HERE, "step_peer.py"), *common,
                   "--threads", str(a.threads)] + ["--tuned"] * (side == "tuned")
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode != 0 or not lines:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(lines[-1][len("RESULT "):])


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peer-python", required=True, help="Python that has torch and timm")
    p.add_argument("--strata", default=os.path.join(ROOT, "build/benchmarks/bench_step"))
    p.add_argument("--modes", nargs="+", choices=["train", "infer"], default=["train", "infer"])
    p.add_argument("--passes", type=int, default=5)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--warmup", type=int, default=3)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--out", default=os.path.join(HERE, "results"))
    p.add_argument("--name", default="step")
    a = p.parse_args()
    load = OtherLoad()
    runs = {mode: {side: [] for side in SIDES} for mode in a.modes}
    for i in range(a.passes):
        for mode in a.modes:
            for side in SIDES:
                one = run_side(side, mode, a)
                runs[mode][side].append(one)
                print(f"pass {i + 1}/{a.passes} {mode} {side}: "
                      f"{statistics.median(one['seconds']):.3f} s", file=sys.stderr, flush=True)
    rows, summary = [], {}
    for mode in a.modes:
        medians = {side: [statistics.median(r["seconds"]) for r in runs[mode][side]]
                   for side in SIDES}
        for side in ("plain", "tuned"):
            ratio, low, high = interval([x / y for x, y in zip(medians["strata"], medians[side])])
            summary[f"{mode}/{side}"] = {"ratio": ratio, "low": low, "high": high}
            rows.append([mode, side, f"{1e3 * statistics.median(medians['strata']):.0f}",
                         f"{1e3 * statistics.median(medians[side]):.0f}",
                         f"**{ratio:.2f}** ({low:.2f}-{high:.2f})", f"≤ {AIMS[mode][side]}"])
    peer, m = runs[a.modes[0]]["plain"][0], machine()
    parameters = {side: runs[a.modes[0]][side][0]["parameters"] for side in SIDES}
    text = (f"# HRNet-W18 + FCN on one fixed batch of 4 × 256 × 256\n\n{m['cpu']}, {m['cores']} cores "
            f"({', '.join(m['instructions'])}), {m['memory_gib']} GiB, {m['system']}; {a.threads} "
            f"compute threads; peer: torch {peer['torch']}, timm {peer['timm']}; other load "
            f"{load.cores()} cores; {time.strftime('%Y-%m-%d')}\n\n"
            + table(["", "peer", "Strata, ms", "peer, ms", "ratio (95 %)", "aim"], rows)
            + f"\n\n{a.passes} passes of {a.steps} steps after {a.warmup}; parameters: Strata "
              f"{parameters['strata']}, peer {parameters['plain']}.\n")
    write(a.out, a.name, {"machine": m, "runs": runs, "summary": summary,
                          "other_load_cores": load.cores()}, text)
    print(text)


if __name__ == "__main__":
    main()
