"""The cases: how the reference is built (in its own terms) and how Strata's config would say the same."""
import clip_towers
import reference as ref
import attention as tr
import changemask_cases
import vlcd_cases

BN = dict(type="BN", requires_grad=True)
IMAGE = (2, 3, 64, 64)
IMAGE_ODD = (2, 3, 72, 88)  # strides 8 and 16 and 32 do not divide it: 9x11, 5x6, 3x3


def _toml(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    return repr(value)


def table(path: str, options: dict) -> str:
    return "\n".join([f"[{path}]", *(f"{k} = {_toml(v)}" for k, v in options.items())]) + "\n"


def labels(num_classes: int, ignore_index: int) -> str:
    return table("data.labels.label", dict(classes=[f"c{i}" for i in range(num_classes)],
                                           ignore_index=ignore_index))


# ---------------------------------------------------------------- backbones
def resnet(kind: str, depth: int, stride: int, contract: bool) -> tuple[dict, dict]:
    """(mmseg config, Strata options); a stride of 8 turns the last two strides into dilations."""
    config = dict(type=kind, depth=depth, norm_cfg=BN)
    options = dict(type=kind, depth=depth)
    if stride == 8:
        config |= dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=contract)
        options |= dict(strides=[1, 2, 1, 1], dilations=[1, 1, 2, 4], contract_dilation=contract)
    return config, options


def hrnet(width: int) -> dict:
    return dict(type="HRNet", norm_cfg=BN, extra=ref.hrnet_extra(width))


HRNET_W18S = dict(type="HRNet", norm_cfg=BN,
                  extra=ref.hrnet_extra(18, modules=(1, 1, 3, 2), blocks=2, stem_blocks=2))


def backbone(name, reference, config, options, keys, build=ref.build_mmseg, image=IMAGE,
             names=None) -> dict:
    return dict(name=name, kind="backbone", reference=reference, config=config,
                strata=table("model.backbone", options), keys=keys, build=build, image=image,
                names=names)


def backbones() -> list[dict]:
    cases = []
    for kind, depth, stride, contract in [
            ("ResNet", 18, 32, False), ("ResNet", 50, 32, False), ("ResNet", 50, 8, False),
            ("ResNet", 50, 8, True), ("ResNet", 18, 8, True), ("ResNetV1c", 18, 32, False),
            ("ResNetV1c", 50, 8, True), ("ResNetV1d", 50, 32, False), ("ResNetV1d", 50, 8, True)]:
        config, options = resnet(kind, depth, stride, contract)
        short = f"{kind.lower()}{depth}"
        suffix = "" if stride == 32 else "_os8_contract" if contract else "_os8"
        cases.append(backbone(short + suffix, f"mmseg {kind}", config, options, short))
    for width in (18, 32, 48):
        cases.append(backbone(f"hrnet_w{width}", "mmseg HRNet", hrnet(width),
                              dict(type="HRNet", width=width), f"hrnet_w{width}"))
    cases += [
        backbone("hrnet_w18_odd", "mmseg HRNet", hrnet(18), dict(type="HRNet", width=18),
                 "hrnet_w18", image=IMAGE_ODD),
        backbone("hrnet_w18s", "mmseg HRNet (configs/_base_/models/fcn_hr18.py with hr18s extra)",
                 HRNET_W18S, dict(type="HRNet", variant="w18_small_v2"), "hrnet_w18_small_v2"),
        backbone("hrnet_w18_ac", "mmseg HRNet, fusion with align_corners = true", hrnet(18),
                 dict(type="HRNet", width=18, fuse_upsample="bilinear", align_corners=True),
                 "hrnet_w18", build=ref.build_hrnet_ac),
    ]
    for name, options in [
            ("hrnet_w18", dict(type="HRNet", width=18, fuse_upsample="nearest")),
            ("hrnet_w18_small", dict(type="HRNet", variant="w18_small", fuse_upsample="nearest"))]:
        cases.append(backbone(f"{name}_timm", "timm HighResolutionNet, branches of stage 4",
                              dict(timm=name), options, name,
                              build=lambda config: ref.TimmHRNet(config["timm"])))
    for name, image in [("efficientnet_b0", IMAGE), ("efficientnet_b0_odd", (2, 3, 67, 75))]:
        cases.append(backbone(name, "smp EfficientNetEncoder, drop connect off",
                              dict(smp="efficientnet-b0"), dict(type="EfficientNet", variant="b0"),
                              "efficientnet_b0", image=image, names=[None, "stem", 0, 1, 2, 3],
                              build=lambda config: ref.SmpEfficientNet(config["smp"])))
    return cases + transformers()


def transformers() -> list[dict]:
    cases = []
    build = lambda config: tr.TimmViT(**config)
    narrow = dict(img_size=64, patch_size=16, embed_dim=32, depth=4, num_heads=2)
    small = dict(img_size=256, patch_size=16, embed_dim=384, depth=12, num_heads=6)
    for name, image, size, channels, taps, extra in [
            ("vit_narrow", IMAGE, narrow, 24, [0, 1, 2, 3], dict(out_indices=[0, 1, 2, 3])),
            ("vit_narrow_odd", IMAGE_ODD, narrow, None, [0, 1, 2, 3],
             dict(out_indices=[0, 1, 2, 3])),
            ("vit_deit_small", IMAGE, small, 768, [3, 5, 7, 11], {})]:
        options = dict(type="VisionTransformer") | size | extra
        cases.append(backbone(
            name, "timm VisionTransformer" + ("" if size is narrow else " deit_small"),
            dict(taps=taps, out_channels=channels) | size,
            options | (dict(out_channels=channels) if channels else {}), name, build=build,
            image=image))
    narrow = dict(embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4], drop_path_rate=0.0)
    for name, reference, image, options in [
            ("swin_narrow", "mmseg SwinTransformer", IMAGE, narrow),
            ("swin_narrow_odd", "mmseg SwinTransformer", (2, 3, 67, 90),
             narrow | dict(window_size=3, qkv_bias=False)),
            ("swin_narrow_timm", "timm SwinTransformer", (2, 3, 96, 96),
             narrow | dict(window_size=2)),
            ("swin_tiny", "mmseg SwinTransformer", IMAGE, dict(drop_path_rate=0.0))]:
        options = dict(type="SwinTransformer") | options
        timm = name.endswith("timm")
        cases.append(backbone(name, reference, options | (dict(img_size=96) if timm else {}),
                              options, name, image=image,
                              build=tr.build_timm_swin if timm else ref.build_mmseg))
    return cases


# ---------------------------------------------------------------- necks and heads
LEVELS = [(2, 8, 16, 16), (2, 12, 8, 8), (2, 16, 4, 4), (2, 20, 2, 2)]
LEVELS_ODD = [(2, 8, 17, 15), (2, 12, 9, 8), (2, 16, 5, 4), (2, 20, 3, 2)]
CHANNELS = [8, 12, 16, 20]


def part(kind, name, reference, config, options, inputs=LEVELS) -> dict:
    strata = (table("model.neck", options) if kind == "neck" else
              labels(config["num_classes"], 255) + table("model.decode_head", options))
    return dict(name=name, kind=kind, reference=reference, config=config, strata=strata, keys=name,
                build=ref.build_mmseg, inputs=inputs)


def necks() -> list[dict]:
    cases = []
    for name, inputs, options in [
            ("fpn", LEVELS, dict(num_outs=4)),
            ("fpn_odd", LEVELS_ODD, dict(num_outs=4)),
            ("fpn_bilinear", LEVELS_ODD, dict(num_outs=4, upsample_cfg=dict(
                mode="bilinear", align_corners=False))),
            ("fpn_pool", LEVELS, dict(num_outs=6)),
            ("fpn_norm", LEVELS, dict(num_outs=4, norm_cfg=dict(type="BN"),
                                      act_cfg=dict(type="ReLU"))),
            ("fpn_on_input", LEVELS, dict(num_outs=5, start_level=1,
                                          add_extra_convs="on_input")),
            ("fpn_on_lateral", LEVELS, dict(num_outs=5, start_level=1,
                                            add_extra_convs="on_lateral")),
            ("fpn_on_output", LEVELS_ODD, dict(num_outs=6, add_extra_convs="on_output",
                                               relu_before_extra_convs=True)),
            ("fpn_levels", LEVELS, dict(num_outs=2, start_level=1, end_level=3))]:
        common = dict(type="FPN", in_channels=CHANNELS, out_channels=10)
        strata = {k: v for k, v in options.items() if k not in ("upsample_cfg", "norm_cfg",
                                                                "act_cfg")}
        if "upsample_cfg" in options:
            strata |= dict(upsample="bilinear", align_corners=False)
        if "norm_cfg" in options:
            strata |= dict(norm="BN", act="ReLU")
        cases.append(part("neck", name, "mmseg FPN", common | options, common | strata, inputs))
    return cases + unet_decoders()


def unet_decoders() -> list[dict]:
    large = [(2, 8, 64, 64), (2, 12, 32, 32), (2, 16, 16, 16)]  # sizes of which each is the double
    b0 = [(2, c, 32 >> i, 32 >> i) for i, c in enumerate([32, 24, 40, 112, 320])]
    cases = []
    for name, inputs, channels, options in [
            ("unet", large, [14, 10, 6], {}),
            ("unet_odd", LEVELS_ODD, [16, 12, 8, 6], {}),
            ("unet_scse", LEVELS, [32, 20, 16, 16], dict(attention_type="scse")),
            ("unet_no_norm", large, [14, 10, 6], dict(use_norm="identity")),
            ("unet_b0", b0, [256, 128, 64, 32, 16], {})]:
        config = dict(in_channels=[s[1] for s in inputs], decoder_channels=channels)
        strata = dict(type="UnetDecoder") | config | options
        if strata.pop("use_norm", None):
            strata["norm"] = "none"
        case = part("neck", name, "smp UnetDecoder", config | options, strata, inputs)
        cases.append(case | dict(build=ref.SmpUnetDecoder))
    return cases


def heads() -> list[dict]:
    cases = []
    one = [LEVELS[0]]
    odd = [LEVELS_ODD[0]]
    for name, kind, inputs, options in [
            ("head_fcn2", "FCNHead", one, dict(in_channels=8, in_index=0, channels=6, num_convs=2,
                                               concat_input=True)),
            ("head_fcn1", "FCNHead", one, dict(in_channels=8, in_index=0, channels=6, num_convs=1,
                                               concat_input=False)),
            ("head_fcn0", "FCNHead", one, dict(in_channels=8, in_index=0, channels=8, num_convs=0,
                                               concat_input=False)),
            ("head_fcn_dilated", "FCNHead", one, dict(
                in_channels=8, in_index=0, channels=6, num_convs=2, dilation=6,
                concat_input=True)),
            ("head_fcn_hrnet", "FCNHead", LEVELS_ODD, dict(
                in_channels=CHANNELS, in_index=[0, 1, 2, 3], channels=56, kernel_size=1,
                num_convs=1, concat_input=False, input_transform="resize_concat")),
            ("head_fcn_hrnet_ac", "FCNHead", LEVELS, dict(
                in_channels=CHANNELS, in_index=[0, 1, 2, 3], channels=14, kernel_size=1,
                num_convs=1, concat_input=False, input_transform="resize_concat",
                align_corners=True)),
            ("head_psp", "PSPHead", one, dict(in_channels=8, in_index=0, channels=6,
                                              pool_scales=(1, 2, 3, 6))),
            ("head_psp_odd_ac", "PSPHead", odd, dict(in_channels=8, in_index=0, channels=6,
                                                     pool_scales=(1, 2, 3, 6),
                                                     align_corners=True)),
            ("head_uper", "UPerHead", LEVELS, dict(in_channels=CHANNELS, in_index=[0, 1, 2, 3],
                                                   channels=6, pool_scales=(1, 2, 3, 6))),
            ("head_uper_odd_ac", "UPerHead", LEVELS_ODD, dict(
                in_channels=CHANNELS, in_index=[0, 1, 2, 3], channels=6,
                pool_scales=(1, 2, 3, 6), align_corners=True)),
            ("head_fpn", "FPNHead", [(2, 10, *s[2:]) for s in LEVELS], dict(
                in_channels=[10] * 4, in_index=[0, 1, 2, 3], feature_strides=[4, 8, 16, 32],
                channels=6)),
            ("head_fpn_odd_ac", "FPNHead", [(2, 10, *s[2:]) for s in LEVELS_ODD], dict(
                in_channels=[10] * 4, in_index=[0, 1, 2, 3], feature_strides=[4, 8, 16, 32],
                channels=6, align_corners=True))]:
        common = dict(type=kind, dropout_ratio=0.0) | options
        cases.append(part("head", name, f"mmseg {kind}",
                          common | dict(num_classes=5, norm_cfg=BN), common, inputs))
    for name, inputs, window in [("head_swin_text", LEVELS, 7), ("head_swin_text_odd", LEVELS_ODD, 3)]:
        strata = dict(type="SwinTextDecode", channels=64, window_size=window, drop_path=[0.0, 0.0],
                      dropout_ratio=0.0)
        config = dict(in_channels=CHANNELS, text_dim=10, channels=64, num_classes=5, window=window)
        cases.append(part("head", name, "the formulas of ChangeCLIP's decoder", config, strata,
                          inputs) | dict(build=lambda config: tr.SwinTextDecode(**config),
                                         texts=[(2, 2, 10), (2, 3, 10)]))
    return cases


# ---------------------------------------------------------------- whole models
def ce(weight: float, valid: bool) -> dict:
    return dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=weight,
                avg_non_ignore=valid)


def segmentor(name, keys, backbone_parts, head, aux=None, neck=None, classes=5, ignore=255,
              valid=False, losses=None) -> dict:
    config, options = backbone_parts
    average = "valid" if valid else "all"
    # mmseg's spelling on the left, ours on the right; the loss is the same for both heads.
    model = dict(type="EncoderDecoder", backbone=config, train_cfg=dict(), test_cfg=dict(
        mode="whole"))
    toml = labels(classes, ignore) + table("model", dict(type="EncoderDecoder"))
    toml += table("model.backbone", options)
    if neck:
        model["neck"] = neck
        toml += table("model.neck", neck)
    shared = dict(num_classes=classes, dropout_ratio=0.0, align_corners=False)
    slots = [("decode_head", head, 1.0)] + ([("auxiliary_head", aux, 0.4)] if aux else [])
    for slot, options, weight in slots:
        slot_losses = losses if losses and slot == "decode_head" else [ce(weight, valid)]
        model[slot] = options | shared | dict(norm_cfg=BN, ignore_index=ignore,
                                              loss_decode=slot_losses)
        toml += table(f"model.{slot}", options | dict(dropout_ratio=0.0))
        for item in slot_losses:
            toml += f"[[model.{slot}.loss_decode]]\n"
            strata = {k: v for k, v in item.items() if k != "avg_non_ignore"}
            if item["type"] == "CrossEntropyLoss":
                strata["average"] = average
            toml += "".join(f"{k} = {_toml(v)}\n" for k, v in strata.items())
    return dict(name=name, kind="segmentor", reference="mmseg EncoderDecoder", config=model,
                strata=toml, keys=keys, build=ref.build_mmseg, image=IMAGE, num_classes=classes,
                ignore_index=ignore)


def segmentors() -> list[dict]:
    c5 = [256, 512, 1024, 2048]
    aux = dict(type="FCNHead", in_channels=1024, in_index=2, channels=256, num_convs=1,
               concat_input=False)
    psp = dict(type="PSPHead", in_channels=2048, in_index=3, channels=512, pool_scales=(1, 2, 3, 6))
    uper = dict(type="UPerHead", in_channels=c5, in_index=[0, 1, 2, 3], channels=512,
                pool_scales=(1, 2, 3, 6))
    fpn = dict(type="FPN", in_channels=c5, out_channels=256, num_outs=4)
    fpn_head = dict(type="FPNHead", in_channels=[256] * 4, in_index=[0, 1, 2, 3],
                    feature_strides=[4, 8, 16, 32], channels=128)
    fcn = dict(type="FCNHead", in_channels=[18, 36, 72, 144], in_index=[0, 1, 2, 3], channels=270,
               input_transform="resize_concat", kernel_size=1, num_convs=1, concat_input=False)
    os8 = resnet("ResNetV1c", 50, 8, True)
    hr18 = (hrnet(18), dict(type="HRNet", width=18))
    mixed = [ce(1.0, True), dict(type="DiceLoss", use_sigmoid=False, loss_weight=3.0)]
    return [
        segmentor("seg_r50_psp", "seg_r50_psp", os8, psp, aux),
        segmentor("seg_r50_psp_valid", "seg_r50_psp", os8, psp, aux, valid=True),
        segmentor("seg_hrnet_w18_fcn", "seg_hrnet_w18_fcn", hr18, fcn, classes=11, ignore=11),
        segmentor("seg_hrnet_w18_fcn_dice", "seg_hrnet_w18_fcn", hr18, fcn, classes=11,
                  ignore=11, valid=True, losses=mixed),
        segmentor("seg_r50_uper", "seg_r50_uper", resnet("ResNetV1c", 50, 32, False), uper, aux),
        segmentor("seg_r50_fpn", "seg_r50_fpn", resnet("ResNet", 50, 32, False), fpn_head,
                  neck=fpn),
    ]


def all_cases() -> list[dict]:
    return [*backbones(), *clip_towers.cases(backbone, table, IMAGE), *necks(), *heads(),
            *segmentors(), *vlcd_cases.all_cases(table), *changemask_cases.all_cases(table)]
