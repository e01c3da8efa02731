"""Dumps mmseg configs, resolved, for tools/convert --config.

    python tests/parity/mmseg_configs.py [--out DIR]     writes DIR/*.json and counts.json
    python tests/parity/mmseg_configs.py CONFIG.py > OUT.json        one of your own

A config alone does not say which classes its data set has: they are added as `metainfo` where the
data set class declares them. counts.json holds the number of parameters of each model.
"""
import argparse
import json
import pathlib
import sys

import reference  # noqa: F401  (mmseg without mmcv's compiled operators)

import mmseg
import mmseg.datasets  # noqa: F401
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS

HERE = pathlib.Path(__file__).resolve().parent
CONFIGS = pathlib.Path(mmseg.__file__).parent / ".mim" / "configs"
NAMES = {
    "fcn_hr18_cityscapes": "hrnet/fcn_hr18_4xb2-40k_cityscapes-512x1024.py",
    "pspnet_r50-d8_cityscapes": "pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "upernet_r50_ade20k": "upernet/upernet_r50_4xb4-80k_ade20k-512x512.py",
    "fpn_r50_cityscapes": "sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py",
}


def plain(value):
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def dump(path) -> dict:
    init_default_scope("mmseg")
    config = plain(Config.fromfile(str(path)).to_dict())
    for key in ("train_dataloader", "val_dataloader", "test_dataloader"):
        dataset = (config.get(key) or {}).get("dataset")
        known = DATASETS.get(dataset["type"]) if dataset else None
        if known is not None and "metainfo" not in dataset:
            dataset["metainfo"] = plain(known.METAINFO)
    return config


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?")
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "data" / "mmseg_configs")
    arguments = parser.parse_args()
    if arguments.config:
        json.dump(dump(arguments.config), sys.stdout, indent=1)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name, path in NAMES.items():
        config = dump(CONFIGS / path)
        (arguments.out / f"{name}.json").write_text(json.dumps(config, indent=1) + "\n")
        model = json.loads(json.dumps(config["model"]).replace("SyncBN", "BN"))
        model["pretrained"] = None
        counts[name] = sum(p.numel() for p in MODELS.build(model).parameters())
    (arguments.out / "counts.json").write_text(json.dumps(counts, indent=1) + "\n")


if __name__ == "__main__":
    main()
