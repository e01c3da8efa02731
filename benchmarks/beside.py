#!/usr/bin/env python3
"""What a training step loses to the loader that runs beside it.

  cmake --build build --target bench_beside
  beside.py --camvid DIR [--passes 5 --turns 4 --steps 5]

HRNet-W18 + FCN on CamVid crops of 256 x 256, batches of 4, all cores computing, one loader thread
(as configs have it). Steps on one batch that is there and on fresh batches, the wait for them
included, follow each other in turns inside one process. Writes results/beside.{json,md}.
"""
import argparse
import os
import statistics
import sys
import time

from measure import ROOT, OtherLoad, finish, interval, machine, result_of, table, write

HERE = os.path.dirname(os.path.abspath(__file__))
AIM = 0.05


def run(workers, a):
    command = [a.strata, os.path.join(ROOT, a.config), "--turns", str(a.turns), "--steps",
               str(a.steps), "--set", f"data.train.workers={workers}"]
    return result_of(finish(command, CAMVID=os.path.abspath(a.camvid)), command)


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--camvid", required=True)
    p.add_argument("--strata", default=os.path.join(ROOT, "build/benchmarks/bench_beside"))
    p.add_argument("--config", default="configs/hrnet/fcn_hrnet-w18_camvid.toml")
    p.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    p.add_argument("--passes", type=int, default=5)
    p.add_argument("--turns", type=int, default=4, help="of each kind in a pass")
    p.add_argument("--steps", type=int, default=5, help="in a turn")
    p.add_argument("--out", default=os.path.join(HERE, "results"))
    p.add_argument("--name", default="beside")
    a = p.parse_args()
    load = OtherLoad()
    runs = {str(workers): [] for workers in a.workers}
    for i in range(a.passes):
        for workers in a.workers:
            one = run(workers, a)
            runs[str(workers)].append(one)
            alone, beside = (statistics.median(one[k]) for k in ("alone", "beside"))
            print(f"pass {i + 1}/{a.passes}, {workers} workers: {1e3 * alone:.0f} ms alone, "
                  f"{1e3 * beside:.0f} ms with the loader", file=sys.stderr, flush=True)
    rows, summary = [], {}
    for workers, ones in runs.items():
        # Turns that follow each other are compared: what the rest of the machine does meets both.
        losses = []
        for one in ones:
            for t in range(a.turns):
                turn = slice(t * a.steps, (t + 1) * a.steps)
                losses.append(statistics.median(one["beside"][turn])
                              / statistics.median(one["alone"][turn]) - 1)
        loss, low, high = interval(losses)
        summary[workers] = {"loss": loss, "low": low, "high": high}
        alone, beside = (statistics.median(s for one in ones for s in one[k])
                         for k in ("alone", "beside"))
        rows.append([workers, f"{1e3 * alone:.0f}", f"{1e3 * beside:.0f}",
                     f"**{100 * loss:.1f} %** ({100 * low:.1f} to {100 * high:.1f})",
                     f"≤ {100 * AIM:g} %"])
    m, other = machine(), load.cores()
    text = (f"# Training steps with the loader beside them\n\n{m['cpu']}, {m['cores']} cores "
            f"({', '.join(m['instructions'])}), {m['memory_gib']} GiB, {m['system']}; other load "
            f"{other} cores; {time.strftime('%Y-%m-%d')}\n\n{a.config}\n\n"
            + table(["workers", "alone, ms", "with the loader, ms", "lost (95 %)", "aim"], rows)
            + f"\n\n{a.passes} passes of {a.turns} turns of {a.steps} steps of each kind.\n")
    write(a.out, a.name, {"machine": m, "runs": runs, "summary": summary,
                          "other_load_cores": other}, text)
    print(text)


if __name__ == "__main__":
    main()
