#!/usr/bin/env python3
"""The peer: one mmseg run of the config that configs/hrnet/fcn_hrnet-w18_camvid.toml states too.

  CAMVID=DIR mmseg_peer.py --config cfg.py --steps 150 --seed 0 --threads 2 --work-dir DIR [--validate]

Prints one JSON line: seconds from process start to the first training step, seconds of every
iteration, resident memory when built and its peak, seconds of the validation and its mIoU.
Needs Python with torch, mmengine, mmcv or mmcv-lite and mmsegmentation; see README.md here.
"""
import argparse
import json
import os
import sys
import time
import types
import warnings

START = time.time()
warnings.filterwarnings("ignore")


def status_mib(key):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1]) / 1024
    return None


def allow_mmcv_lite():
    """mmcv-lite has no compiled operators; mmseg imports their names and calls none of them here."""
    import torch
    try:
        import mmcv.ops  # noqa: F401
        return
    except ImportError:
        pass
    stub = types.ModuleType("mmcv.ops")
    stub.__path__ = []

    def missing(name):
        if name.startswith("__"):
            raise AttributeError(name)
        return torch.nn.Module

    stub.__getattr__ = missing
    sys.modules["mmcv.ops"] = stub


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--config", required=True)
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--work-dir", required=True)
    p.add_argument("--validate", action="store_true")
    p.add_argument("--decode-head", help="JSON that replaces decode_head, for another head")
    a = p.parse_args()

    import torch
    torch.set_num_threads(a.threads)
    load = torch.load
    torch.load = lambda *args, **kw: load(*args, **{**kw, "weights_only": False})
    allow_mmcv_lite()
    import mmengine.hooks
    from mmengine.config import Config
    from mmengine.runner import Runner

    result = {"peer": "mmseg", "seed": a.seed, "iterations": []}

    class Clock(mmengine.hooks.Hook):
        priority = "LOWEST"

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if batch_idx == 0:
                result["first_step_begins"] = time.time() - START
                result["memory_built_mib"] = status_mib("VmRSS")
                self.last = time.time()

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            now = time.time()
            result["iterations"].append(now - self.last)
            self.last = now

        def before_val(self, runner):
            self.val = time.time()

        def after_val_epoch(self, runner, metrics=None):
            result["validation"] = time.time() - self.val
            result["miou"] = float(metrics["mIoU"]) / 100

    cfg = Config.fromfile(a.config, lazy_import=False)
    cfg.work_dir = a.work_dir
    cfg.train_cfg.max_iters = a.steps
    cfg.train_cfg.val_interval = a.steps if a.validate else 10 * a.steps
    cfg.param_scheduler[0].end = a.steps
    cfg.default_hooks.checkpoint.interval = 10 * a.steps
    cfg.default_hooks.checkpoint.save_last = False
    cfg.randomness = dict(seed=a.seed)
    if a.decode_head:
        cfg.model.decode_head = json.loads(a.decode_head)
    if not a.validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Clock())
    runner.train()
    result["memory_peak_mib"] = status_mib("VmHWM")
    print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
