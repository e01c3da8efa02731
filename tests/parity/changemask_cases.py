"""The cases of ChangeMask: its transformer alone, and whole models on EfficientNet-B0."""
import changemask_reference as own

CHANNELS = [8, 12]
MAPS = [(2, 8, 9, 7), (2, 12, 4, 5)]
CLASSES = 6


def transformers(table) -> list[dict]:
    def one(name, **options):
        theirs = dict(kernel_size=3, interaction_type="conv3d", symmetric_fusion="add") | options
        ours = dict(type="TemporalSymmetricTransformer") | options
        if options.get("symmetric_fusion", "add") is None:
            ours["symmetric_fusion"] = "none"
        return dict(name=name, kind="change_neck",
                    reference="torchange TemporalSymmetricTransformer", config={},
                    strata=table("model.neck", ours), keys=name, inputs=[*MAPS, *MAPS],
                    build=lambda _: own.LevelsTransformer(CHANNELS, theirs))
    return [one("tst"),
            one("tst_mul_dilated", symmetric_fusion="mul", kernel_size=5, dilation=2),
            one("tst_none", symmetric_fusion=None),
            one("tst_1plus2", interaction_type="conv1plus2d"),
            one("tst_1plus2_mul", interaction_type="conv1plus2d", symmetric_fusion="mul",
                kernel_size=5),
            one("tst_1plus2_point", interaction_type="conv1plus2d", kernel_size=1)]


def term(kind: str, name: str, **options) -> dict:
    return dict(type=kind, loss_name=name) | options


def models(table) -> list[dict]:
    dice = dict(exponent=1.0, smooth=1.0, eps=0.0)

    def one(name, temporal, change_losses, joint, losses, ignored):
        ours = {k: "none" if v is None else v for k, v in temporal.items()}
        toml = table("model", dict(type="ChangeMask"))
        toml += table("model.preprocessor", dict(mean=[0.0] * 3, std=[1.0] * 3))
        toml += table("model.backbone", dict(type="EfficientNet", out_indices=[-1, 0, 1, 2, 3],
                                             keep_head=True, drop_connect=0.0))
        toml += table("model.neck",
                      dict(type="TemporalSymmetricTransformer", image_channels=3) | ours)
        semantic = [term("CrossEntropyLoss", f"{s}_ce_loss", target=t) for s, t in
                    (("s1", "before"), ("s2", "after"))]
        semantic += [term("DiceLoss", f"{s}_dice_loss", target=t, **dice) for s, t in
                     (("s1", "before"), ("s2", "after"))]
        for target, terms, extra in ((["before", "after"], semantic, {}),
                                     (["change"], change_losses, dict(out_channels=1))):
            toml += table("[model.decode_head]", dict(
                type="FCNHead", target=target, num_convs=0, concat_input=False, channels=16,
                dropout=0.0) | extra)
            toml += table("model.decode_head.neck", dict(type="UnetDecoder"))
            for item in terms:
                toml += table("[model.decode_head.loss_decode]", item)
        toml += table("model.joint_loss", joint)
        return dict(name=name, kind="changemask", config={}, strata=toml, keys=name,
                    reference="torchange ChangeMask, drop connect off", num_classes=CLASSES,
                    ignore_index=255, image=(2, 3, 64, 64), losses=losses, ignored=ignored,
                    build=lambda _: own.ChangeMask(CLASSES, temporal))

    return [
        one("changemask_b0", {},
            [term("DiceLoss", "c_dice_loss", **dice), term("BinaryCrossEntropyLoss", "c_bce_loss")],
            term("SemanticConsistencyLoss", "sim_loss"), own.torchange_losses, None),
        one("changemask_b0_options",
            dict(kernel_size=3, interaction_type="conv1plus2d", symmetric_fusion="mul"),
            [term("BinaryCrossEntropyLoss", "c_bce_loss", label_smoothing=0.1),
             term("TverskyLoss", "c_dice_loss", gamma=0.75)],
            term("SemanticConsistencyLoss", "sc_mse_loss"),
            lambda logits, labels: own.configured_losses(logits, labels, 0.1, 0.75), 255)]


def all_cases(table) -> list[dict]:
    return [*transformers(table), *models(table)]
