#!/usr/bin/env python3
"""HRNet-W18 + FCN on CamVid: Strata and mmseg side by side, in turns A B A B ...

  camvid_vs_mmseg.py speed    --camvid DIR --peer-python VENV/bin/python [--passes 5 --steps 30]
  camvid_vs_mmseg.py accuracy --camvid DIR --peer-python VENV/bin/python [--seeds 0 1 2 --steps 150]

speed: seconds an iteration (median of the steps after --warmup, a pass; then the ratio of each
pass), seconds from process start to the first training step, resident memory when that step begins
and how far it grows, seconds of a validation over the val split (first --validations passes).
accuracy: mIoU on the val split after --steps steps, for each seed.

Writes results/<name>.json and results/<name>.md. Run it on an idle machine: `other load` in the
table says how many cores others used meanwhile. Setting up the peer: README.md here.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from measure import ROOT, OtherLoad, interval, machine, result_of, table, write

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = "configs/hrnet/fcn_hrnet-w18_camvid.toml"
SIDES = ("strata", "mmseg")


def run(command, env, log):
    """Runs to the end; (peak MiB of that process, stdout). Its own output goes to `log`."""
    with open(log, "w") as err:
        process = subprocess.Popen(command, env={**os.environ, **env}, cwd=ROOT, text=True,
                                   stdout=subprocess.PIPE, stderr=err)
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        with open(log) as f:
            tail = f.read()[-3000:]
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{out[-3000:]}\n{tail}")
    return usage.ru_maxrss / 1024, out


def json_lines(path):
    with open(path) as f:
        return [json.loads(line) for line in f if line.strip()]


def strata_numbers(work):
    timing = json_lines(os.path.join(work, "timing.jsonl"))
    first = next(line for line in timing if "first_step_begins" in line)
    numbers = {"first_step_begins": first["first_step_begins"],
               "memory_built_mib": first["resident_mib"],
               "iterations": [line["time"] for line in timing if "time" in line]}
    for line in timing:
        if "validation_time" in line:
            numbers["validation"] = line["validation_time"]
    for line in json_lines(os.path.join(work, "scalars.jsonl")):
        if "val.miou" in line:
            numbers["miou"] = line["val.miou"]
    return numbers


def run_strata(a, steps, seed, validate, folder):
    work = os.path.join(folder, "strata")
    settings = {"runtime.work_dir": work, "runtime.seed": seed, "runtime.threads": a.threads,
                "train.log_interval": 1,
                # Ended by stop_at, as by an interruption, a run has no validation at its end.
                "train.steps": steps if validate else 10 * steps}
    settings["evaluate.interval"] = settings["train.steps"]
    if not validate:
        settings["train.stop_at"] = steps
    command = [a.strata, CONFIG]
    for key, value in settings.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    peak, _ = run(command, {"CAMVID": a.camvid}, os.path.join(folder, "strata.log"))
    return {"peer": "strata", "seed": seed, "memory_peak_mib": peak, **strata_numbers(work)}


def run_mmseg(a, steps, seed, validate, folder):
    command = [a.peer_python, os.path.join(HERE, "mmseg_peer.py"),
               "--config", os.path.join(HERE, "fcn_hrnet-w18_camvid_mmseg.py"),
               "--steps", str(steps), "--seed", str(seed), "--threads", str(a.threads),
               "--work-dir", os.path.join(folder, "mmseg")] + ["--validate"] * validate
    _, out = run(command, {"CAMVID": a.camvid}, os.path.join(folder, "mmseg.log"))
    return result_of(out, command)


def run_side(side, *arguments):
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        result = (run_strata if side == "strata" else run_mmseg)(*arguments, folder)
    result["wall"] = time.time() - began
    return result


def versions(a):
    code = ("import importlib.metadata as m, json\n"
            "def v(*names):\n"
            "    for n in names:\n"
            "        try: return n + ' ' + m.version(n)\n"
            "        except m.PackageNotFoundError: pass\n"
            "print(json.dumps([v('torch'), v('mmsegmentation'), v('mmengine'), v('mmcv', 'mmcv-lite')]))")
    peer = json.loads(subprocess.run([a.peer_python, "-c", code], check=True, text=True,
                                     capture_output=True).stdout)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True,
                            capture_output=True).stdout.strip()
    return {"strata": commit, "peer": ", ".join(x for x in peer if x)}


def machine_line(result):
    m = result["machine"]
    return (f"{m['cpu']}, {m['cores']} cores ({', '.join(m['instructions'])}), "
            f"{m['memory_gib']} GiB, {m['system']}; {result['threads']} compute threads; "
            f"peer: {result['versions']['peer']}; Strata at {result['versions']['strata']}; "
            f"other load {result['other_load_cores']} cores; {result['date']}")


# ---------------------------------------------------------------------------------------- speed
def speed(a, result):
    passes = []
    for i in range(a.passes):
        validate = i < a.validations
        pair = {}
        for side in SIDES:
            pair[side] = run_side(side, a, a.steps, i, validate)
            say(f"pass {i + 1}/{a.passes} {side}", seconds_a_step(pair[side], a.warmup))
        passes.append(pair)
        result["passes"] = passes
        result["summary"] = summarise_speed(passes, a)
        save(a, result, speed_text)


def seconds_a_step(one, warmup):
    return statistics.median(one["iterations"][warmup:])


def summarise_speed(passes, a):
    """name -> {strata, mmseg: medians over passes; ratio, low, high: of the passes' ratios}"""
    quantities = {
        "iteration": lambda r: seconds_a_step(r, a.warmup),
        "first_step_begins": lambda r: r["first_step_begins"],
        "memory_built": lambda r: r["memory_built_mib"],
        "memory_growth": lambda r: r["memory_peak_mib"] - r["memory_built_mib"],
        "memory_peak": lambda r: r["memory_peak_mib"],
        "validation": lambda r: r.get("validation"),
    }
    summary = {}
    for name, of in quantities.items():
        pairs = [(of(p["strata"]), of(p["mmseg"])) for p in passes]
        pairs = [(x, y) for x, y in pairs if x is not None and y is not None]
        if name.startswith("memory"):  # a validation is no part of what training needs
            pairs = pairs[a.validations:] or pairs
        if not pairs:
            continue
        ratio, low, high = interval([x / y for x, y in pairs])
        summary[name] = {"strata": statistics.median(x for x, _ in pairs),
                         "mmseg": statistics.median(y for _, y in pairs),
                         "ratio": ratio, "low": low, "high": high, "passes": len(pairs)}
    return summary


def speed_text(result, a):
    what = {"iteration": ("seconds an iteration", 3, "≤ 0.87"),
            "first_step_begins": ("seconds from process start to the first step", 2, "≤ 1 s"),
            "memory_built": ("MiB resident when the first step begins", 0, "≤ 0.35"),
            "memory_growth": ("MiB it grows by from there", 0, "≤ 1.0"),
            "memory_peak": ("MiB at its peak", 0, ""),
            "validation": ("seconds of a validation (101 images)", 1, "")}
    rows = []
    for name, s in result["summary"].items():
        label, digits, aim = what[name]
        rows.append([label, f"{s['strata']:.{digits}f}", f"{s['mmseg']:.{digits}f}",
                     f"**{s['ratio']:.2f}** ({s['low']:.2f}-{s['high']:.2f})", aim, s["passes"]])
    return (f"# HRNet-W18 + FCN, CamVid, 4 crops of 256 × 256: speed\n\n{machine_line(result)}\n\n"
            + table(["", "Strata", "mmseg", "ratio (95 %)", "aim", "passes"], rows)
            + f"\n\nSides take turns; {a.steps} steps a pass, the first {a.warmup} left out; ratio: "
              "median of the passes' ratios with a bootstrap interval. Memory is that of the main "
              "process: mmseg's two loader processes are not counted. It is taken from passes "
              "without a validation where there are any.\n")


# ------------------------------------------------------------------------------------- accuracy
def accuracy(a, result):
    result["runs"] = []
    for seed in a.seeds:
        for side in SIDES:
            one = run_side(side, a, a.steps, seed, True)
            result["runs"].append(one)
            say(f"seed {seed} {side}", one["miou"])
        save(a, result, accuracy_text)


def accuracy_text(result, a):
    rows, means, spreads = [], {}, []
    for side in SIDES:
        values = [r["miou"] for r in result["runs"] if r["peer"] == side]
        means[side] = statistics.mean(values)
        spread = max(values) - min(values)
        spreads.append(spread)
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        rows.append([side, *(f"{v:.4f}" for v in values), f"**{means[side]:.4f}**",
                     f"{deviation:.4f}", f"{spread:.4f}"])
    difference = means["strata"] - means["mmseg"]
    seeds = [f"seed {r['seed']}" for r in result["runs"] if r["peer"] == "strata"]
    result["difference"] = difference
    result["within_spread"] = abs(difference) <= max(spreads)
    return (f"# HRNet-W18 + FCN, CamVid: mIoU after {a.steps} steps from scratch\n\n"
            f"{machine_line(result)}\n\n"
            + table(["", *seeds, "mean", "deviation", "max - min"], rows)
            + f"\n\nStrata's mean minus mmseg's: {difference:+.4f}; the larger spread over seeds is "
              f"{max(spreads):.4f}. Equal seeds do not mean equal samples: the two sides draw "
              "differently.\n")


# ------------------------------------------------------------------------------------------ main
def say(what, number):
    print(f"{time.strftime('%H:%M:%S')} {what}: {number:.4f}", file=sys.stderr, flush=True)


def save(a, result, text):
    """After every pair, so that a run that is cut short leaves what it has."""
    result["other_load_cores"] = a.load.cores()
    write(a.out, a.name, result, text(result, a))


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("mode", choices=["speed", "accuracy"])
    p.add_argument("--camvid", required=True, help="folder with {train,val}/{images,labels}")
    p.add_argument("--peer-python", required=True, help="Python that has mmseg")
    p.add_argument("--strata", default=os.path.join(ROOT, "build/tools/train"))
    p.add_argument("--passes", type=int, default=5)
    p.add_argument("--steps", type=int, help="default: 30 for speed, 150 for accuracy")
    p.add_argument("--warmup", type=int, default=5, help="first steps of a pass, left out")
    p.add_argument("--validations", type=int, default=2, help="passes that end with a validation")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--out", default=os.path.join(HERE, "results"))
    p.add_argument("--name", help="of the result files; default: camvid_<mode>")
    a = p.parse_args()
    a.camvid = os.path.abspath(a.camvid)
    a.steps = a.steps or (30 if a.mode == "speed" else 150)
    a.name = a.name or f"camvid_{a.mode}"
    if a.mode == "speed" and a.warmup >= a.steps:
        p.error("--warmup must be less than --steps")
    a.load = OtherLoad()
    result = {"benchmark": a.mode, "config": CONFIG, "date": time.strftime("%Y-%m-%d"),
              "steps": a.steps, "warmup": a.warmup, "threads": a.threads, "machine": machine(),
              "versions": versions(a)}
    (speed if a.mode == "speed" else accuracy)(a, result)
    with open(os.path.join(a.out, a.name + ".md")) as f:
        print(f.read())


if __name__ == "__main__":
    main()
