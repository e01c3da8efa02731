#!/usr/bin/env python3
"""Steps on one fixed batch: Strata, plain PyTorch and tuned PyTorch in turns.

  step.py --peer-python VENV/bin/python [--models hrnet-w18_fcn ...] [--passes 5 --steps 10]

4 x 3 x 256 x 256; of models of two dates 2 pairs. train: forward, loss, backward, AdamW. infer:
logits at the size of the input. plain: NCHW, AdamW. tuned: channels-last, fused AdamW. Writes
results/step.{json,md}.
"""
import argparse
import json
import os
import statistics
import sys
import tempfile
import time

from measure import ROOT, OtherLoad, finish, interval, machine, result_of, table, write

HERE = os.path.dirname(os.path.abspath(__file__))
ADAMW = 'optimizer={_delete_=true, type="AdamW", lr=1e-3, weight_decay=0.01}'
PAIRS = ('data={_delete_=true, labels={change={classes=["unchanged", "changed"], role="change"}}}')


def tower(title, backbone, channels):
    """A backbone under a linear classifier of its last level."""
    head = (f'type="FCNHead", num_convs=0, in_index=3, channels={channels}, dropout=0.0, '
            'concat_input=false')
    return (title, "configs/hrnet/fcn_hrnet-w18_camvid.toml",
            [ADAMW, f"model.backbone={{_delete_=true, {backbone}}}",
             f"model.decode_head={{_delete_=true, {head}}}"])


MODELS = {  # name -> title, config, overrides; step_peer.py has the peers under the same names
    "hrnet-w18_fcn": ("HRNet-W18 + FCN", "configs/hrnet/fcn_hrnet-w18_camvid.toml", [ADAMW]),
    "r50_upernet": ("ResNet-50 + UPer", "configs/upernet/upernet_r50_camvid.toml", [ADAMW]),
    "effb0_unet": ("EfficientNet-B0 + U-Net", "configs/unet/unet_effb0_camvid.toml", [ADAMW]),
    "vlcd_r50": ("VLCD, RN50", "configs/vlcd/vlcd_r50_levir.toml", [PAIRS]),
    "vlcd_r50_trained": ("VLCD, RN50, CLIP trained", "configs/vlcd/vlcd_r50_levir.toml",
                         [PAIRS, "model.backbone.freeze_clip=false", "model.freeze_text=false"]),
    "vlcd_vit": ("VLCD, ViT-B/16 and DeiT-S", "configs/vlcd/vlcd_vit-b16_levir.toml", [PAIRS]),
    "changeclip_r50": ("ChangeCLIP, RN50", "configs/changeclip/changeclip_r50_levir.toml", [PAIRS]),
    "swin_t": tower("Swin-T", 'type="SwinTransformer", variant="tiny", drop_path_rate=0.2', 768),
    "deit_s": tower("DeiT-S", 'type="VisionTransformer", variant="deit-small", img_size=256', 384),
    "clip_rn50": tower("CLIP RN50", 'type="CLIPResNetWithAttention"',
                       2048),
    "clip_vit-b16": tower("CLIP ViT-B/16", 'type="CLIPVisionTransformer", variant="B/16", '
                                           'input_resolution=256, double_cls_embed=true', 768),
}
BATCH = {"vlcd_r50": 2, "vlcd_r50_trained": 2, "vlcd_vit": 2, "changeclip_r50": 2}  # others: 4
SIDES = ("strata", "plain", "tuned")
AIMS = {"train": {"plain": 0.87, "tuned": 1.0}, "infer": {"plain": 0.75, "tuned": 0.9}}


def run_strata(model, mode, a):
    _, config, overrides = MODELS[model]
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "benchmark.json")
        command = [a.strata, config, "--mode", mode, "--batch", str(BATCH.get(model, 4)),
                   "--size", "256", "256", "--steps", str(a.steps), "--warmup", str(a.warmup),
                   "--json", out]
        for override in [*overrides, f"runtime.threads={a.threads}"]:
            command += ["--set", override]
        finish(command)
        with open(out) as f:
            result = json.load(f)
    return {"seconds": result[mode]["seconds"], "peak_mib": result[mode]["peak_mib"],
            "grown_mib": result[mode]["grown_mib"], "parameters": result["parameters"]}


def run_peer(model, mode, tuned, a):
    command = [a.peer_python, os.path.join(HERE, "step_peer.py"), "--model", model, "--mode", mode,
               "--steps", str(a.steps), "--warmup", str(a.warmup), "--threads", str(a.threads),
               "--batch", str(BATCH.get(model, 4))]
    command += ["--tuned"] * tuned
    return result_of(finish(command), command)


def run_side(side, model, mode, a):
    return run_strata(model, mode, a) if side == "strata" else run_peer(model, mode,
                                                                        side == "tuned", a)


def summarise(runs, a):
    rows, summary = [], {}
    for model, title in ((name, MODELS[name][0]) for name in a.models):
        for mode in a.modes:
            of = runs[model][mode]
            medians = {s: [statistics.median(r["seconds"]) for r in of[s]] for s in SIDES}
            for side in ("plain", "tuned"):
                pairs = zip(medians["strata"], medians[side])
                ratio, low, high = interval([x / y for x, y in pairs])
                peak = [statistics.median(r["peak_mib"] for r in of[s]) for s in ("strata", side)]
                summary[f"{model}/{mode}/{side}"] = {"ratio": ratio, "low": low, "high": high,
                                                     "peak_mib": peak}
                rows.append([title, mode, side, f"{1e3 * statistics.median(medians['strata']):.0f}",
                             f"{1e3 * statistics.median(medians[side]):.0f}",
                             f"**{ratio:.2f}** ({low:.2f}-{high:.2f})", f"≤ {AIMS[mode][side]}",
                             f"{peak[0]:.0f}", f"{peak[1]:.0f}"])
    return rows, summary


def memory(runs, a):
    """Resident memory once the model is built, and how much training adds."""
    rows = []
    for name in a.models if "train" in a.modes else []:
        of = runs[name]["train"]
        grown = {s: statistics.median(r["grown_mib"] for r in of[s]) for s in SIDES}
        built = {s: statistics.median(r["peak_mib"] - r["grown_mib"] for r in of[s])
                 for s in SIDES}
        for side in ("plain", "tuned"):
            rows.append([MODELS[name][0], side, f"{built['strata']:.0f}", f"{built[side]:.0f}",
                         f"**{built['strata'] / built[side]:.2f}**", f"{grown['strata']:.0f}",
                         f"{grown[side]:.0f}", f"**{grown['strata'] / grown[side]:.2f}**"])
    if not rows:
        return ""
    return "\n" + table(["", "peer", "built, MiB", "peer", "ratio (aim: 0.35)",
                         "growth in training, MiB", "peer", "ratio (aim: 1.0)"], rows) + "\n"


def frozen_beside_trained(runs):
    """What a frozen CLIP saves of a training step."""
    frozen, trained = (runs.get(name, {}).get("train", {}).get("strata")
                       for name in ("vlcd_r50", "vlcd_r50_trained"))
    if not frozen or not trained:
        return ""
    time_of = lambda run: statistics.median(run["seconds"])
    ratio, low, high = interval([time_of(x) / time_of(y) for x, y in zip(frozen, trained)])
    memory, _, _ = interval([x["peak_mib"] / y["peak_mib"] for x, y in zip(frozen, trained)])
    return (f"\nA training step with CLIP frozen takes **{ratio:.2f}** ({low:.2f}-{high:.2f}) of "
            f"the time of one with CLIP trained (aim: 0.77), and **{memory:.2f}** of the memory "
            f"(aim: 0.7).\n")


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peer-python", required=True,
                   help="Python that has torch, timm, mmseg and smp, for VLCD open_clip")
    p.add_argument("--strata", default=os.path.join(ROOT, "build/tools/benchmark"))
    p.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS)[:3])
    p.add_argument("--modes", nargs="+", choices=["train", "infer"], default=["train", "infer"])
    p.add_argument("--passes", type=int, default=5)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--warmup", type=int, default=3)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--out", default=os.path.join(HERE, "results"))
    p.add_argument("--name", default="step")
    a = p.parse_args()
    load = OtherLoad()
    runs = {model: {mode: {side: [] for side in SIDES} for mode in a.modes} for model in a.models}
    for i in range(a.passes):
        for model in a.models:
            for mode in a.modes:
                for side in SIDES:
                    one = run_side(side, model, mode, a)
                    runs[model][mode][side].append(one)
                    print(f"pass {i + 1}/{a.passes} {model} {mode} {side}: "
                          f"{statistics.median(one['seconds']):.3f} s", file=sys.stderr, flush=True)
    rows, summary = summarise(runs, a)
    m, of = machine(), {model: runs[model][a.modes[0]] for model in a.models}
    peer = of[a.models[0]]["plain"][0]
    counts = "; ".join(f"{MODELS[name][0]} {of[name]['strata'][0]['parameters']} and "
                       f"{of[name]['plain'][0]['parameters']}" for name in a.models)
    text = (f"# Steps on one fixed batch at 256 × 256\n\n{m['cpu']}, {m['cores']} cores "
            f"({', '.join(m['instructions'])}), {m['memory_gib']} GiB, {m['system']}; {a.threads} "
            f"compute threads; peer: torch {peer['torch']}, timm {peer['timm']}; other load "
            f"{load.cores()} cores; {time.strftime('%Y-%m-%d')}\n\n"
            + table(["", "", "peer", "Strata, ms", "peer, ms", "ratio (95 %)", "aim",
                     "Strata, peak MiB", "peer"], rows)
            + f"\n\n{a.passes} passes of {a.steps} steps after {a.warmup}. Parameters, Strata and "
              f"peer: {counts}.\n" + frozen_beside_trained(runs)
            + memory(runs, a))
    write(a.out, a.name, {"machine": m, "runs": runs, "summary": summary,
                          "other_load_cores": load.cores()}, text)
    print(text)


if __name__ == "__main__":
    main()
