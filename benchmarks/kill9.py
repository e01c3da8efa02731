#!/usr/bin/env python3
"""Kills a training run with SIGKILL at random moments and looks at what is left.

    python3 benchmarks/kill9.py --build build [--kills 200] [--seed 1] [--out results.json]

One run of many small steps, each with a checkpoint, is killed again and again and goes on with
--resume. After every kill each step_N folder must be whole by its manifest (sizes and CRC-32C,
computed here), and the newest must not be older than before. At the end the run must have the same
bytes as one that was never interrupted. Needs nothing but Python.
"""
import argparse
import json
import pathlib
import random
import signal
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc_table()


def crc32c(data: bytes) -> str:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return f"{crc ^ 0xFFFFFFFF:08x}"


def faults(folder: pathlib.Path) -> list[str]:
    """What is wrong with a checkpoint by its manifest."""
    try:
        files = json.loads((folder / "manifest.json").read_text())["files"]
        wrong = []
        for name, entry in files.items():
            data = (folder / name).read_bytes()
            if len(data) != entry["size"] or crc32c(data) != entry["crc32c"]:
                wrong.append(f"{folder.name}/{name}")
        return wrong
    except (OSError, ValueError, KeyError) as error:
        return [f"{folder.name}: {error}"]


def checkpoints(work_dir: pathlib.Path) -> dict[int, pathlib.Path]:
    return {int(path.name[5:]): path for path in work_dir.glob("step_*")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, help="of the run; default: three a kill, and 20")
    parser.add_argument("--out", type=pathlib.Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    steps = arguments.steps or 3 * arguments.kills + 20
    chance = random.Random(arguments.seed)
    root = pathlib.Path(tempfile.mkdtemp(prefix="strata_kill9_"))
    tools = arguments.build.resolve() / "tools"
    subprocess.run([tools / "make_scenes", "--out", root / "scenes", "--train", "8", "--val", "2",
                    "--test", "1", "--size", "64", "--seed", "5"], check=True, capture_output=True)

    def command(work_dir: pathlib.Path, resume: bool) -> list:
        sets = {
            "vars.root": root / "scenes", "vars.crop": "[32, 32]", "runtime.work_dir": work_dir,
            "data.train.batch_size": 2, "train.steps": steps, "evaluate.interval": 25,
            "train.log_interval": 1, "train.checkpoint_interval": 1, "train.keep_last": 2,
            "model.backbone.base_channels": 4, "model.neck.1.out_channels": 8,
            "model.decode_head.channels": 8, "hooks.ema": '{type = "EMAHook"}'}
        line = [tools / "train", ROOT / "configs" / "quickstart.toml"]
        for key, value in sets.items():
            line += ["--set", f"{key}={value}"]
        return line + ["--resume"] if resume else line

    whole = root / "whole"
    subprocess.run(command(whole, False), check=True, capture_output=True)
    print(f"{steps} steps without interruption are done", file=sys.stderr)

    work_dir = root / "killed"
    figures = dict(kills=0, steps=steps, seed=arguments.seed, while_writing=0, while_removing=0,
                   whole_checkpoints=0, faults=[], warnings=0, lost_steps=0)
    newest, resume = -1, False
    while figures["kills"] < arguments.kills:
        process = subprocess.Popen(command(work_dir, resume), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        # A new checkpoint must come in each life, or the run would never end.
        target = newest + 1
        while process.poll() is None and max(checkpoints(work_dir), default=-1) < target:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.15))
        if process.poll() is not None:
            print(process.stderr.read().decode(), file=sys.stderr)
            print("the run ended by itself: more --steps", file=sys.stderr)
            return 1
        process.send_signal(signal.SIGKILL)
        log = process.stderr.read().decode(errors="replace")
        process.wait()
        figures["kills"] += 1
        figures["warnings"] += log.count("not a whole checkpoint")
        hidden = [path.name for path in work_dir.glob(".step_*")]
        figures["while_writing"] += any(name.endswith(".partial") for name in hidden)
        figures["while_removing"] += any(name.endswith(".old") for name in hidden)
        left = checkpoints(work_dir)
        for folder in left.values():
            wrong = faults(folder)
            figures["faults"] += wrong
            figures["whole_checkpoints"] += not wrong
        if max(left, default=-1) < newest:
            figures["lost_steps"] += 1
        newest, resume = max(left), True
        if figures["kills"] % 10 == 0:
            print(f"{figures['kills']} kills, at step {newest}, {len(figures['faults'])} faults",
                  file=sys.stderr)
    subprocess.run(command(work_dir, True), check=True, capture_output=True)
    names = [f"step_{steps}/{path.name}" for path in sorted((whole / f"step_{steps}").iterdir())]
    names.append("scalars.jsonl")
    figures["files_that_differ"] = [
        name for name in names
        if name != f"step_{steps}/config.toml" and name != f"step_{steps}/manifest.json"
        and (whole / name).read_bytes() != (work_dir / name).read_bytes()]
    figures["files_compared"] = len(names) - 2  # the config names its work dir, the manifest sums it
    print(json.dumps(figures, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
    shutil.rmtree(root)
    good = not (figures["faults"] or figures["files_that_differ"] or figures["warnings"] or
                figures["lost_steps"])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
