#!/usr/bin/env python3
"""The training loader and torch's DataLoader with albumentations, in turns.

  cmake --build build --target bench_loader
  loader.py --camvid DIR --peer-python VENV/bin/python [--passes 5 --batches 100]

CamVid from files to normalised float crops (loader.toml, loader_peer.py), no cache. Besides the
rates it takes CPU time a sample, which other programs on the machine change less. Writes
results/loader.{json,md}.
"""
import argparse
import os
import statistics
import sys
import time

from measure import ROOT, OtherLoad, finish, interval, machine, result_of, table, write

HERE = os.path.dirname(os.path.abspath(__file__))
AIM = 3.0


def run_side(side, workers, a):
    common = ["--batches", str(a.batches)]
    if side == "strata":
        command = [a.strata, os.path.join(HERE, "loader.toml"), *common, "--set",
                   f"data.train.workers={workers}", "--set", "runtime.threads=1"]
    else:
        command = [a.peer_python, os.path.join(HERE, "loader_peer.py"), *common, "--camvid",
                   a.camvid, "--workers", str(workers)]
    output = finish(command, CAMVID=os.path.abspath(a.camvid), OMP_NUM_THREADS="1")
    return result_of(output, command)


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--camvid", required=True)
    p.add_argument("--peer-python", required=True, help="Python that has torch and albumentations")
    p.add_argument("--strata", default=os.path.join(ROOT, "build/benchmarks/bench_loader"))
    p.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    p.add_argument("--passes", type=int, default=5)
    p.add_argument("--batches", type=int, default=100)
    p.add_argument("--out", default=os.path.join(HERE, "results"))
    p.add_argument("--name", default="loader")
    a = p.parse_args()
    load = OtherLoad()
    runs = {str(workers): {"strata": [], "peer": []} for workers in a.workers}
    for i in range(a.passes):
        for workers in a.workers:
            for side in ("strata", "peer"):
                one = run_side(side, workers, a)
                runs[str(workers)][side].append(one)
                print(f"pass {i + 1}/{a.passes}, {workers} workers, {side}: "
                      f"{one['samples_per_second']:.0f} images/s, "
                      f"{one['cpu_ms_per_sample']:.2f} ms of CPU each", file=sys.stderr, flush=True)
    rows, summary = [], {}
    for workers, sides in runs.items():
        for key, what, unit in (("samples_per_second", "images/s", 1),
                                ("cpu_ms_per_sample", "CPU ms an image", -1)):
            ours, theirs = ([r[key] for r in sides[s]] for s in ("strata", "peer"))
            ratio, low, high = interval([(x / y) ** unit for x, y in zip(ours, theirs)])
            summary[f"{workers}/{key}"] = {"ratio": ratio, "low": low, "high": high}
            rows.append([workers, what, f"{statistics.median(ours):.4g}",
                         f"{statistics.median(theirs):.4g}",
                         f"**{ratio:.2f}** ({low:.2f}-{high:.2f})", f"≥ {AIM:g}"])
    peer, m, other = runs[str(a.workers[0])]["peer"][0], machine(), load.cores()
    text = (f"# Loader on CamVid, 256 × 256 crops in batches of 8\n\n{m['cpu']}, {m['cores']} cores "
            f"({', '.join(m['instructions'])}), {m['memory_gib']} GiB, {m['system']}; peer: torch "
            f"{peer['torch']}, albumentations {peer['albumentations']}, OpenCV {peer['opencv']}; "
            f"other load {other} cores; {time.strftime('%Y-%m-%d')}\n\n"
            + table(["workers", "", "Strata", "peer", "times better (95 %)", "aim"], rows)
            + f"\n\n{a.passes} passes of {a.batches} batches in turns; files decoded at each draw, "
              f"no cache.\n")
    write(a.out, a.name, {"machine": m, "runs": runs, "summary": summary,
                          "other_load_cores": other}, text)
    print(text)


if __name__ == "__main__":
    main()
