"""Golden values that need no weights: losses, optimizers, schedules, key lists, the fill formula.

    python tests/parity/small.py [--out DIR]     writes losses.json, optim.json, counts.json,
                                                 fill.json, keys/*.txt and maps/*.txt
"""
import argparse
import json
import pathlib

import torch
import torch.nn.functional as F

import cases
import fill
import reference as ref
from fixture import write_keys

HERE = pathlib.Path(__file__).resolve().parent


def dump(path: pathlib.Path, value) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
    print(f"{path.name}: {path.stat().st_size} bytes")


# ---------------------------------------------------------------- the formula itself
def fill_golden() -> dict:
    names = ["", "conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var",
             "image", "layer1.0.conv1.weight#3"]
    state = {"conv1.weight": (4, 3, 3, 3), "bn1.weight": (4,), "bn1.bias": (4,),
             "bn1.running_mean": (4,), "bn1.running_var": (4,), "fc.bias": (3,)}
    return {
        "names": [{"name": n, "fnv1a64": str(fill.fnv1a64(n)),
                   "z": [str(z) for z in fill.z64(n, 3).tolist()], "v": fill.v(n, 3).tolist()}
                  for n in names],
        "state": [{"name": n, "shape": list(s),
                   "first": fill.state_value(n, s).reshape(-1)[:3].tolist(),
                   "sum": float(fill.state_value(n, s).sum())} for n, s in state.items()],
        "label": {"name": "label", "shape": [2, 4, 5], "num_classes": 5, "ignore_index": 255,
                  "values": fill.label_value("label", (2, 4, 5), 5, 255).reshape(-1).tolist()},
        "projection": {"tensor": "image", "shape": [1, 3, 4, 4], "name": "image",
                       "values": fill.projections("image", fill.input_value("image", (1, 3, 4, 4)),
                                                  4).tolist()},
        "samples": {"name": "feat.0", "numel": 1000,
                    "indices": fill.sample_indices("feat.0", 1000, 8).tolist()},
    }


# ---------------------------------------------------------------- losses
SHAPE = (2, 5, 64, 64)
WEIGHTS = [0.5, 1.0, 2.0, 1.5, 0.25]


def losses_golden() -> list[dict]:
    mmseg_ce = lambda **kw: ref.MODELS.build(dict(type="CrossEntropyLoss", **kw))
    mmseg_dice = lambda **kw: ref.MODELS.build(dict(type="DiceLoss", **kw))
    weight_t = torch.tensor(WEIGHTS, dtype=torch.float64)
    n, c, h, w = SHAPE
    pixel = torch.from_numpy(fill.u("weight", n * h * w).reshape(n, h, w))
    out = []

    def add(name, source, options, function, shape=SHAPE, num_classes=c, ignore=255, uses=()):
        logits = torch.from_numpy(3.0 * fill.v("logits", shape[0] * shape[1] * h * w)
                                  .reshape(shape)).requires_grad_()
        label = torch.from_numpy(fill.label_value("label", (n, h, w), num_classes, ignore))
        value = function(logits, label)
        value.backward()
        grad = logits.grad.numpy()
        out.append(dict(name=name, source=source, options=options, logits_shape=list(shape),
                        num_classes=num_classes, label_ignore=ignore, uses=list(uses),
                        value=float(value), grad_norm=float((grad**2).sum()**0.5),
                        grad_proj=fill.projections("grad.logits", grad, 4).tolist()))

    for average, flag in (("all", False), ("valid", True)):
        add(f"ce_{average}", "mmseg CrossEntropyLoss", dict(average=average),
            lambda x, y: mmseg_ce(avg_non_ignore=flag)(x, y, ignore_index=255))
        add(f"ce_{average}_pixel_weight", "mmseg CrossEntropyLoss", dict(average=average),
            lambda x, y: mmseg_ce(avg_non_ignore=flag)(x, y, weight=pixel, ignore_index=255),
            uses=["weight"])
        add(f"ce_{average}_class_weight_no_ignored", "mmseg CrossEntropyLoss",
            dict(average=average, class_weight=WEIGHTS),
            lambda x, y: mmseg_ce(avg_non_ignore=flag, class_weight=WEIGHTS)(
                x, y, ignore_index=255), ignore=None)
        add(f"bce_{average}", "mmseg CrossEntropyLoss(use_sigmoid)",
            dict(use_sigmoid=True, average=average),
            lambda x, y: mmseg_ce(use_sigmoid=True, avg_non_ignore=flag)(x, y, ignore_index=255))
        add(f"bce_one_channel_{average}", "mmseg CrossEntropyLoss(use_sigmoid), one logit channel",
            dict(use_sigmoid=True, average=average),
            lambda x, y: mmseg_ce(use_sigmoid=True, avg_non_ignore=flag)(x, y, ignore_index=255),
            shape=(n, 1, h, w), num_classes=2)
    add("ce_class_weight", "torch cross_entropy", dict(average="valid", class_weight=WEIGHTS),
        lambda x, y: F.cross_entropy(x, y, weight=weight_t, ignore_index=255))
    add("ce_smooth", "torch cross_entropy", dict(average="valid", label_smoothing=0.1),
        lambda x, y: F.cross_entropy(x, y, ignore_index=255, label_smoothing=0.1))
    add("ce_smooth_class_weight", "torch cross_entropy",
        dict(average="valid", label_smoothing=0.1, class_weight=WEIGHTS),
        lambda x, y: F.cross_entropy(x, y, weight=weight_t, ignore_index=255, label_smoothing=0.1))
    add("bce_torch_pos_weight", "torch binary_cross_entropy_with_logits over valid pixels",
        dict(use_sigmoid=True, average="valid", pos_weight=2.0),
        lambda x, y: F.binary_cross_entropy_with_logits(
            x[:, 0][y != 255], y[y != 255].to(x.dtype), pos_weight=torch.tensor(2.0).to(x)),
        shape=(n, 1, h, w), num_classes=2)
    for ignore, suffix in ((None, "_no_ignored"), (255, "_mmseg_ignored")):
        for naive in (False, True):
            for sigmoid in (False, True):
                tag = ("naive_" if naive else "") + ("sigmoid" if sigmoid else "softmax")
                add(f"dice_{tag}{suffix}", "mmseg DiceLoss",
                    dict(naive_dice=naive, use_sigmoid=sigmoid, eps=1e-3),
                    lambda x, y: mmseg_dice(naive_dice=naive, use_sigmoid=sigmoid)(x, y),
                    ignore=ignore)

    def masked_dice(x, y, naive):
        # mmseg's formula with the ignored pixels taken out of prediction and target.
        valid = (y != 255).to(x.dtype)[:, None]
        p = x.softmax(1) * valid
        t = F.one_hot(y.clamp(max=c), c + 1)[..., :c].permute(0, 3, 1, 2).to(x.dtype) * valid
        inter, eps = (p * t).flatten(1).sum(1), 1e-3
        if naive:
            d = (2 * inter + eps) / (p.flatten(1).sum(1) + t.flatten(1).sum(1) + eps)
        else:
            d = 2 * inter / ((p * p).flatten(1).sum(1) + eps + (t * t).flatten(1).sum(1) + eps)
        return (1 - d).mean()

    for naive in (False, True):
        add("dice_naive_softmax_masked" if naive else "dice_softmax_masked",
            "mmseg's Dice formula, ignored pixels masked",
            dict(naive_dice=naive, use_sigmoid=False, eps=1e-3),
            lambda x, y: masked_dice(x, y, naive))
    return out


# ---------------------------------------------------------------- optimizers and schedules
def optimizer_curves() -> list[dict]:
    """Ten steps on f(x) = sum a_i (x_i - b_i)^2 / 2 from x0; a decaying and a steep direction."""
    import timm.optim
    a = torch.tensor([1.0, 10.0, 0.1, 3.0], dtype=torch.float64)
    b = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)
    x0 = [1.0, 2.0, -1.5, 0.25]
    out = []
    for name, kind, options, clip in [
            ("sgd", "SGD", dict(lr=0.05), None),
            ("sgd_decay", "SGD", dict(lr=0.05, weight_decay=0.1), None),
            ("sgd_momentum", "SGD", dict(lr=0.05, momentum=0.9, weight_decay=5e-4), None),
            ("sgd_dampening", "SGD", dict(lr=0.05, momentum=0.9, dampening=0.5), None),
            ("sgd_nesterov", "SGD", dict(lr=0.05, momentum=0.9, nesterov=True,
                                         weight_decay=0.01), None),
            ("sgd_clip", "SGD", dict(lr=0.05, momentum=0.9), 1.5),
            ("adamw", "AdamW", dict(lr=0.05, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.01),
             None),
            ("adamw_betas", "AdamW", dict(lr=0.1, betas=[0.8, 0.95], eps=1e-6, weight_decay=0.1),
             None),
            ("adamw_no_decay", "AdamW", dict(lr=0.05, weight_decay=0.0), None),
            ("adamw_amsgrad", "AdamW", dict(lr=0.3, betas=[0.9, 0.6], weight_decay=0.01, amsgrad=True), None),
            ("adam", "Adam", dict(lr=0.05, betas=[0.8, 0.95], weight_decay=0.1), None),
            ("lion", "Lion", dict(lr=0.05, betas=[0.8, 0.95], weight_decay=0.1), None),
            ("adamw_clip", "AdamW", dict(lr=0.05, weight_decay=0.01), 1.5)]:
        x = torch.nn.Parameter(torch.tensor(x0, dtype=torch.float64))
        optimizer = getattr(timm.optim if kind == "Lion" else torch.optim, kind)([x], **options)
        losses, params, norms = [], [], []
        for _ in range(10):
            optimizer.zero_grad()
            loss = (a * (x - b)**2).sum() / 2
            loss.backward()
            if clip:
                norms.append(float(torch.nn.utils.clip_grad_norm_([x], clip)))
            optimizer.step()
            losses.append(float(loss))
            params.append(x.detach().tolist())
        out.append(dict(name=name, type=kind, options=options, clip_norm=clip, a=a.tolist(),
                        b=b.tolist(), x0=x0, loss=losses, params=params, grad_norms=norms))
    return out


def mmengine_lrs(base: float, steps: int, schedulers: list[dict]) -> list[float]:
    """The rate that each of `steps` optimizer steps uses under mmengine's chained schedulers."""
    from mmengine.registry import PARAM_SCHEDULERS
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=base)
    built = [PARAM_SCHEDULERS.build(dict(s), default_args=dict(optimizer=optimizer))
             for s in schedulers]
    lrs = []
    for _ in range(steps):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in built:
            scheduler.step()
    return lrs


def torch_lrs(base: float, steps: int, make) -> list[float]:
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=base)
    made = make(optimizer)
    schedulers = made if isinstance(made, list) else [made]
    lrs = []
    for _ in range(steps):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return lrs


def golden_schedules() -> list[dict]:
    """Our schedules (`strata`, TOML) with the rates that torch's or mmengine's scheduler gives."""
    s = torch.optim.lr_scheduler
    steps, out = 40, []

    def add(name, source, strata, lr, base=0.01, steps_in_epoch=0):
        out.append(dict(name=name, source=source, strata=strata, base_lr=base, steps=steps,
                        steps_in_epoch=steps_in_epoch, lr=lr))

    def chain(optimizer, parts, milestones):
        return s.SequentialLR(optimizer, [part(optimizer) for part in parts], milestones)

    def warm(optimizer):
        return s.LinearLR(optimizer, start_factor=0.1, total_iters=8)

    linear_warmup = "\nwarmup = {steps = 8, start_factor = 0.1}"
    for name, strata, make in [
            ("constant", 'type = "ConstantLR"\nfactor = 0.25',
             lambda o: s.ConstantLR(o, factor=0.25, total_iters=100)),
            ("linear", 'type = "LinearLR"\nstart_factor = 0.2\nend_factor = 0.7\nend = 30',
             lambda o: s.LinearLR(o, start_factor=0.2, end_factor=0.7, total_iters=30)),
            ("poly", 'type = "PolyLR"\npower = 0.9\nend = 30',
             lambda o: s.PolynomialLR(o, total_iters=30, power=0.9)),
            ("cosine", 'type = "CosineAnnealingLR"\nmin_lr = 1e-5',
             lambda o: s.CosineAnnealingLR(o, T_max=40, eta_min=1e-5)),
            ("cosine_restarts", 'type = "CosineRestartLR"\nperiods = [6, 12, 24]\nmin_lr = 1e-4',
             lambda o: s.CosineAnnealingWarmRestarts(o, T_0=6, T_mult=2, eta_min=1e-4)),
            ("step", 'type = "StepLR"\nstep_size = 12\ngamma = 0.5',
             lambda o: s.StepLR(o, step_size=12, gamma=0.5)),
            ("multi_step", 'type = "MultiStepLR"\nmilestones = [10, 25, 30]',
             lambda o: s.MultiStepLR(o, milestones=[10, 25, 30], gamma=0.1)),
            ("exponential", 'type = "ExponentialLR"\ngamma = 0.93',
             lambda o: s.ExponentialLR(o, gamma=0.93)),
            ("one_cycle", 'type = "OneCycleLR"',
             lambda o: s.OneCycleLR(o, max_lr=0.01, total_steps=40, cycle_momentum=False)),
            ("one_cycle_linear", 'type = "OneCycleLR"\nanneal_strategy = "linear"\n'
             "pct_start = 0.45\ndiv_factor = 10\nfinal_div_factor = 100",
             lambda o: s.OneCycleLR(o, max_lr=0.01, total_steps=40, cycle_momentum=False,
                                    anneal_strategy="linear", pct_start=0.45, div_factor=10,
                                    final_div_factor=100)),
            ("one_cycle_three_phase", 'type = "OneCycleLR"\nthree_phase = true',
             lambda o: s.OneCycleLR(o, max_lr=0.01, total_steps=40, cycle_momentum=False,
                                    three_phase=True)),
            ("warmup_poly", 'type = "PolyLR"\npower = 0.9' + linear_warmup,
             lambda o: chain(o, [warm, lambda p: s.PolynomialLR(p, total_iters=32, power=0.9)],
                             [8])),
            ("warmup_cosine", 'type = "CosineAnnealingLR"' + linear_warmup,
             lambda o: chain(o, [warm, lambda p: s.CosineAnnealingLR(p, T_max=32)], [8])),
            ("warmup_exponential", 'type = "ExponentialLR"\ngamma = 0.9' + linear_warmup,
             lambda o: chain(o, [warm, lambda p: s.ExponentialLR(p, gamma=0.9)], [8])),
            ("warmup_times_multi_step",
             'type = "MultiStepLR"\nmilestones = [5, 20]\nbegin = 0' + linear_warmup,
             lambda o: [warm(o), s.MultiStepLR(o, milestones=[5, 20], gamma=0.1)]),
            ("sequence", 'type = "SequentialLR"\nmilestones = [8, 20]\nschedules = ['
             '{type = "LinearLR", start_factor = 0.1, end_factor = 1.0}, '
             '{type = "ConstantLR"}, {type = "ExponentialLR", gamma = 0.9}]',
             lambda o: chain(o, [warm, lambda p: s.ConstantLR(p, factor=1.0),
                                 lambda p: s.ExponentialLR(p, gamma=0.9)], [8, 20]))]:
        add(name, "torch", strata, torch_lrs(0.01, steps, make))
    for name, strata, make in [
            ("epochs_multi_step", 'type = "MultiStepLR"\nmilestones = [3, 6]',
             lambda o: s.MultiStepLR(o, milestones=[3, 6], gamma=0.1)),
            ("epochs_cosine", 'type = "CosineAnnealingLR"',
             lambda o: s.CosineAnnealingLR(o, T_max=8)),
            ("epochs_exponential", 'type = "ExponentialLR"\ngamma = 0.8',
             lambda o: s.ExponentialLR(o, gamma=0.8))]:
        rates = torch_lrs(0.01, steps // 5, make)  # stepped once an epoch, of five steps
        add(name, "torch", strata + "\nby_epoch = true",
            [rate for rate in rates for _ in range(5)], steps_in_epoch=5)
    # mmengine's polynomial and linear schedules reach their end at step end - 1.
    def mm(**keys):
        return dict(by_epoch=False, **keys)
    mm_warm = mm(type="LinearLR", start_factor=1e-3, begin=0, end=8)
    for name, strata, schedulers in [
            ("mmengine_warmup_poly", 'type = "PolyLR"\npower = 0.9\nmin_lr = 1e-4\nbegin = 8\n'
             "end = 39\nwarmup = {steps = 7, start_factor = 1e-3}",
             [mm_warm, mm(type="PolyLR", power=0.9, eta_min=1e-4, begin=8, end=40)]),
            ("mmengine_cosine_restarts", 'type = "CosineRestartLR"\nperiods = [10, 20, 10]\n'
             "restart_weights = [1, 0.5, 0.25]\nmin_lr = 1e-4",
             [mm(type="CosineRestartLR", periods=[10, 20, 10], restart_weights=[1, 0.5, 0.25],
                 eta_min=1e-4)])]:
        add(name, "mmengine", strata, mmengine_lrs(0.01, steps, schedulers))
    return out


# ---------------------------------------------------------------- key lists of what is not run
def resnet_config(kind: str, depth: int) -> dict:
    return cases.resnet(kind, depth, 32, False)[0]


def more_keys(out: pathlib.Path) -> dict:
    """Counts of every architecture; key lists where no case writes one."""
    import timm
    import torchvision
    counts = {}

    def add(name, title, module, keys=True):
        state = ref.state_of(module)
        path = out / "keys" / f"{name}.txt"
        target = path if keys else pathlib.Path("/dev/null")
        counts[name] = dict(reference=title, keys=f"keys/{name}.txt" if keys else None,
                            **write_keys(target, title, state))

    for kind in ("ResNet", "ResNetV1c", "ResNetV1d"):
        for depth in (18, 34, 50, 101, 152):
            add(f"{kind.lower()}{depth}", f"mmseg {kind}",
                ref.build_mmseg(resnet_config(kind, depth)))
    for width in (18, 32, 40, 44, 48, 64):
        add(f"hrnet_w{width}", "mmseg HRNet", ref.build_mmseg(cases.hrnet(width)))
    for name in ("hrnet_w18_small", "hrnet_w18_small_v2"):
        add(name, "timm HighResolutionNet, to stage 4", ref.TimmHRNet(name))
    add("efficientnet_b0", "smp EfficientNetEncoder", ref.SmpEfficientNet("efficientnet-b0"))
    add("unet_efficientnet_b0", "smp Unet, encoder and decoder", ref.SmpUnet("efficientnet-b0"))
    for name in ("efficientnet_b0", "tf_efficientnet_b0", "hrnet_w18", "resnet50", "resnet50d"):
        add(f"timm_{name}", f"timm {name}, whole classifier", timm.create_model(name),
            keys=name in ("efficientnet_b0", "tf_efficientnet_b0"))
    for name in ("resnet18", "resnet50"):
        add(f"torchvision_{name}", f"torchvision {name}, whole classifier",
            torchvision.models.get_model(name, weights=None), keys=False)
    for case in cases.segmentors():
        if not case["name"].endswith(("_valid", "_dice")):
            add(case["keys"], case["reference"], case["build"](case["config"]))
    return counts


def timm_efficientnet_map(out: pathlib.Path) -> None:
    """`<timm name> <native name>` for both B0 variants, proved by equal outputs at strides 2 and 32."""
    import timm
    net = timm.create_model("tf_efficientnet_b0", pretrained=False).double().eval()
    native = ref.fill_module(ref.SmpEfficientNet("efficientnet-b0").double()).eval()
    source, pairs = native.state_dict(), []
    renames = dict(conv_pw="_expand_conv", conv_dw="_depthwise_conv", conv_pwl="_project_conv")
    index, place = 0, {}
    for s, stage in enumerate(net.blocks):
        for b, _ in enumerate(stage):
            place[f"blocks.{s}.{b}"] = (f"_blocks.{index}", s == 0)
            index += 1
    for name in net.state_dict():
        parts = name.split(".")
        if name.startswith("classifier"):
            continue
        if parts[0] != "blocks":
            target = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head",
                      "bn2": "_bn1"}[parts[0]] + "." + ".".join(parts[1:])
        else:
            prefix, first = place[".".join(parts[:3])]
            rest = parts[3:]
            if rest[0] == "se":
                rest = [{"conv_reduce": "_se_reduce", "conv_expand": "_se_expand"}[rest[1]],
                        *rest[2:]]
            elif first:  # depthwise-separable block: no expansion, its norms start at _bn1
                rest[0] = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv",
                           "bn2": "_bn2"}[rest[0]]
            else:
                rest[0] = renames.get(rest[0]) or {"bn1": "_bn0", "bn2": "_bn1",
                                                   "bn3": "_bn2"}[rest[0]]
            target = ".".join([prefix, *rest])
        pairs.append((name, target))
    assert sorted(t for _, t in pairs) == sorted(source)
    net.load_state_dict({n: source[t] for n, t in pairs}, strict=False)
    image = ref.tensor_in("image", (1, 3, 64, 64), torch.float64, False)
    with torch.no_grad():
        ours = native(image)
        theirs = net.blocks(net.bn1(net.conv_stem(image)))
    assert torch.allclose(ours[-1], theirs, rtol=0, atol=1e-12 * float(theirs.abs().max()))
    assert list(net.state_dict()) == list(timm.create_model("efficientnet_b0").state_dict())
    path = out / "maps" / "efficientnet_b0_timm.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{n} {t}\n" for n, t in pairs))
    print(f"{path.name}: {len(pairs)} names")


def torchvision_efficientnet_map(out: pathlib.Path) -> None:
    """Both keep the order of Tan and Le's code, so names pair by their places; shapes confirm it."""
    import segmentation_models_pytorch as smp
    import torchvision

    theirs = torchvision.models.efficientnet_b0().state_dict()
    ours = smp.encoders.get_encoder("efficientnet-b0", weights=None).state_dict()
    theirs = {n: t for n, t in theirs.items() if not n.startswith("classifier")}
    ours = {n: t for n, t in ours.items() if not n.startswith("_fc")}
    assert [t.shape for t in theirs.values()] == [t.shape for t in ours.values()]
    path = out / "maps" / "efficientnet_b0_torchvision.txt"
    path.write_text("".join(f"{n} {t}\n" for n, t in zip(theirs, ours)))
    print(f"{path.name}: {len(theirs)} names")


def timm_swin_map(out: pathlib.Path) -> None:
    """Shapes confirm the names, and timm's code the values: case swin_narrow_timm."""
    import attention
    import timm

    theirs = timm.create_model("swin_tiny_patch4_window7_224").state_dict()
    ours = ref.build_mmseg(dict(type="SwinTransformer")).state_dict()
    pairs = [(attention.timm_swin_name(n), n) for n in ours
             if attention.timm_swin_name(n) and not n.endswith("relative_position_index")]
    assert all(theirs[t].shape == ours[n].shape for t, n in pairs)
    path = out / "maps" / "swin_tiny_timm.txt"
    path.write_text("".join(f"{t} {n}\n" for t, n in pairs))
    print(f"{path.name}: {len(pairs)} names")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "data" / "parity")
    out = parser.parse_args().out
    dump(out / "fill.json", fill_golden())
    dump(out / "losses.json", losses_golden())
    dump(out / "optim.json", dict(optimizers=optimizer_curves(), schedules=golden_schedules()))
    timm_efficientnet_map(out)
    torchvision_efficientnet_map(out)
    timm_swin_map(out)
    dump(out / "counts.json", more_keys(out))


if __name__ == "__main__":
    main()
