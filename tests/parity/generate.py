"""Writes tests/data/parity/*.safetensors: the reference's outputs for weights filled by formula.

    python tests/parity/generate.py [--only GLOB] [--out DIR]
"""
import argparse
import fnmatch
import json
import pathlib
import platform
import time

import numpy as np
import torch

import cases
import fill
import reference as ref
from fixture import Fixture, Run, write_keys

HERE = pathlib.Path(__file__).resolve().parent
LAYOUTS = (torch.contiguous_format, torch.channels_last)  # the float32 reference runs in both
EVAL_GRADS_LIMIT = 250  # parameter tensors up to which eval mode stores gradients too


def prepared(case: dict, mode: str, dtype: torch.dtype, layout: torch.memory_format):
    model = ref.fill_module(case["build"](case["config"]).to(dtype))
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=layout)
    model.train(mode == "train")
    return model


def run_component(case: dict, mode: str, dtype: torch.dtype, layout=LAYOUTS[0]) -> Run:
    """A backbone, neck or head alone; its loss is the probe of its outputs."""
    run = Run()
    model = prepared(case, mode, dtype, layout)
    if case["kind"] == "backbone":
        inputs = {"image": ref.tensor_in("image", case["image"], dtype, True)}
        outputs = model(inputs["image"])
        names = case["names"] or range(len(outputs))
        named = {f"feat.{n}": t for n, t in zip(names, outputs) if n is not None}
    else:
        inputs = {f"in.{i}": ref.tensor_in(f"in.{i}", s, dtype, True)
                  for i, s in enumerate(case["inputs"])}
        inputs |= {f"text.{i}": ref.tensor_in(f"text.{i}", s, dtype, True)
                   for i, s in enumerate(case.get("texts", ()))}
        outputs = model(list(inputs.values()))
        named = ({"out.logits": outputs} if case["kind"] == "head" else
                 {f"feat.{i}": t for i, t in enumerate(outputs)})
    loss = ref.probe(named)
    loss.backward()
    run.tensors = {n: ref.array(t) for n, t in named.items()}
    run.scalars["loss.probe"] = float(loss)
    run.inputs = {n: list(t.shape) for n, t in inputs.items()}
    for name, t in inputs.items():
        if t.grad is not None:
            run.tensors[f"grad.{name}"] = ref.array(t.grad)
    ref.collect(run, model, mode == "train")
    if mode == "eval" and len(run.grads) > EVAL_GRADS_LIMIT:
        run.grads = {}
    return run


def run_segmentor(case: dict, mode: str, dtype: torch.dtype, layout=LAYOUTS[0]) -> Run:
    """eval: features, logits at both sizes, labels; train: loss terms, accuracy, gradients."""
    run = Run()
    model = prepared(case, mode, dtype, layout)
    image = ref.tensor_in("image", case["image"], dtype, mode == "train")
    n, _, h, w = case["image"]
    run.inputs = {"image": [n, 3, h, w], "label": [n, h, w]}
    label = torch.from_numpy(fill.label_value("label", (n, h, w), case["num_classes"],
                                              case["ignore_index"]))
    samples = ref.data_samples(label)
    slots = ["decode_head"] + (["auxiliary_head"] if model.with_auxiliary_head else [])
    with torch.set_grad_enabled(mode == "train"):
        feats = model.backbone(image)
        for i, t in enumerate(feats):
            run.tensors[f"feat.{i}"] = ref.array(t)
        if model.with_neck:
            feats = model.neck(feats)
            for i, t in enumerate(feats):
                run.tensors[f"neck.{i}"] = ref.array(t)
        logits = {slot: getattr(model, slot)(feats) for slot in slots}
    for slot, t in logits.items():
        run.tensors[f"out.{slot}.logits"] = ref.array(t)
    if mode == "eval":
        whole = model.encode_decode(image, [s.metainfo for s in samples])
        run.tensors["out.logits"] = ref.array(whole)
        run.labels["out.label"] = ref.array(whole.argmax(1))
        return run
    total = 0.0
    for slot in slots:
        for term, value in getattr(model, slot).loss_by_feat(logits[slot], samples).items():
            if "loss" in term:
                run.scalars[f"loss.{slot}.{term.removeprefix('loss_')}"] = float(value)
                total = total + value
            else:
                run.scalars[f"{slot}.{term}"] = float(value)
    run.scalars["loss.total"] = float(total)
    total.backward()
    run.tensors["grad.image"] = ref.array(image.grad)
    ref.collect(run, model, True)
    check_against_own_loss(case, run, samples, image.detach(), layout)
    return run


def run_changemask(case: dict, mode: str, dtype: torch.dtype, layout=LAYOUTS[0]) -> Run:
    """eval: levels of both dates and three logits; train: those, loss terms and gradients."""
    run = Run()
    model = prepared(case, mode, dtype, layout)
    images = [ref.tensor_in(f"image_{d}", case["image"], dtype, mode == "train") for d in (0, 1)]
    n, _, h, w = case["image"]
    names = ("before", "after", "change")
    labels = {name: torch.from_numpy(fill.label_value(
        name, (n, h, w), *((2, case["ignored"]) if name == "change" else (case["num_classes"], 255))))
        for name in names}
    run.inputs = {"image_0": [n, 3, h, w], "image_1": [n, 3, h, w]} | {k: [n, h, w] for k in names}
    with torch.set_grad_enabled(mode == "train"):
        features = model.features([i.contiguous(memory_format=layout) for i in images])
        logits = model.logits(features)
    for d, date in enumerate(features):
        for i, t in enumerate(date[1:]):  # the first is the image
            run.tensors[f"feat.{d}.{i}"] = ref.array(t)
    for name, t in logits.items():
        run.tensors[f"out.{name}.logits"] = ref.array(t)
    if mode == "eval":
        return run
    losses = case["losses"](logits, labels)
    run.scalars = {f"loss.{k}": float(v) for k, v in losses.items()}
    total = sum(losses.values())
    run.scalars["loss.total"] = float(total)
    total.backward()
    for d, image in enumerate(images):
        run.tensors[f"grad.image_{d}"] = ref.array(image.grad)
    ref.collect(run, model, True)
    for name, buffer in run.buffers.items():  # computed there though nothing depends on it
        if name.startswith("neck.t.0."):
            run.buffers[name] = fill.state_value(name, buffer.shape)
    return run


def check_against_own_loss(case: dict, run: Run, samples: list, image: torch.Tensor,
                           layout: torch.memory_format) -> None:
    """The terms above must be what the reference's own training entry point computes."""
    model = prepared(case, "train", image.dtype, layout)
    total, _ = model.parse_losses(model.loss(image, samples))
    assert float(total) == run.scalars["loss.total"], (case["name"], float(total))


def generate(case: dict, out: pathlib.Path) -> dict:
    start = time.time()
    config = json.loads(json.dumps(case["config"]))
    fixture = Fixture(case["name"], case["kind"], case["reference"], config, case["strata"],
                      f"keys/{case['keys']}.txt")
    fixture.case |= {k: case[k] for k in ("num_classes", "ignore_index") if k in case}
    run_one = {"segmentor": run_segmentor, "changemask": run_changemask}.get(case["kind"],
                                                                             run_component)
    for mode in ("eval", "train"):
        run64 = run_one(case, mode, torch.float64)
        fixture.case["inputs"] = run64.inputs
        runs32 = [run_one(case, mode, torch.float32, layout) for layout in LAYOUTS]
        fixture.add_mode(mode, run64, runs32)
    model = case["build"](case["config"])
    counts = write_keys(out / "keys" / f"{case['keys']}.txt", case["reference"], ref.state_of(model))
    size = fixture.write(out)
    worst = max(t["err32"] / t["absmax"] for m in fixture.case["modes"].values()
                for t in m["tensors"].values())
    print(f"{case['name']}: {size} bytes, {counts['parameters']} parameters, largest relative "
          f"float32 error {worst:.1e}, {time.time() - start:.1f} s", flush=True)
    return {"name": case["name"], "kind": case["kind"], "file": f"{case['name']}.safetensors",
            "reference": case["reference"], "keys": f"keys/{case['keys']}.txt",
            "inputs": fixture.case["inputs"], "modes": list(fixture.case["modes"]),
            "strata": case["strata"], **counts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="glob on case names")
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "data" / "parity")
    args = parser.parse_args()
    index_path = args.out / "cases.json"
    index = {c["name"]: c for c in json.loads(index_path.read_text())} if index_path.exists() else {}
    everything = cases.all_cases()
    for case in everything:
        if fnmatch.fnmatch(case["name"], args.only):
            index[case["name"]] = generate(case, args.out)
    ordered = [index[c["name"]] for c in everything if c["name"] in index]
    index_path.write_text(json.dumps(ordered, indent=1) + "\n")
    print(f"{len(ordered)} cases in {args.out}; Python {platform.python_version()}, "
          f"torch {torch.__version__}, numpy {np.__version__}")


if __name__ == "__main__":
    main()
