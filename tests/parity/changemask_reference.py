"""torchange's ChangeMask, with ever's losses and smp's parts, under our names of its parts.

torchange and ever-beta are installed without what they depend on (pip install --no-deps torchange
ever-beta einops): of ever only the losses are needed, its registry is replaced here.
"""
import importlib.util
import pathlib
import sys
import types
import warnings

import torch
import torch.nn.functional as F


def _valid_pixels(logits, target, ignore_index):
    """ever's own rounds both to float32, also of float64."""
    valid = target.reshape(-1) != ignore_index
    return logits.reshape(-1)[valid], target.reshape(-1)[valid].to(logits.dtype)


def _stub_ever() -> None:
    folder = pathlib.Path(importlib.util.find_spec("ever").origin).parent
    names = ["ever", "ever.core", "ever.core.dist", "ever.module"]
    made = {name: types.ModuleType(name) for name in names}
    sys.modules.update(made)
    made["ever.core.dist"].get_world_size = lambda: 1
    spec = importlib.util.spec_from_file_location("ever.module.loss", folder / "module" / "loss.py")
    loss = importlib.util.module_from_spec(spec)
    sys.modules["ever.module.loss"] = made["ever.module"].loss = loss
    spec.loader.exec_module(loss)
    loss._masked_ignore = _valid_pixels

    class ERModule(torch.nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self.cfg = types.SimpleNamespace(**cfg)

    made["ever"].ERModule = ERModule
    made["ever"].registry = types.SimpleNamespace(
        MODEL=types.SimpleNamespace(register=lambda **_: lambda cls: cls))
    utils = types.ModuleType("torchange.utils.outputs")
    utils.ChangeDetectionModelOutput = dict
    package = types.ModuleType("torchange")  # its own __init__ asks for more of ever
    package.__path__ = list(importlib.util.find_spec("torchange").submodule_search_locations)
    sys.modules |= {"torchange": package, "torchange.utils": types.ModuleType("torchange.utils"),
                    "torchange.utils.outputs": utils}


_stub_ever()
warnings.filterwarnings("ignore")
import segmentation_models_pytorch as smp  # noqa: E402
from torchange.models import changemask as upstream  # noqa: E402
import ever.module.loss as L  # noqa: E402


class _ListDecoder(upstream.UnetDecoder):
    """smp takes the features as one list since 0.5; torchange still gives them one by one."""

    def forward(self, *features):
        return super().forward(list(features))


def _encoder(name, weights):
    encoder = smp.encoders.__dict__["get_encoder"](name, weights=None)
    encoder._drop_connect_rate = 0.0
    return encoder


upstream.UnetDecoder = _ListDecoder
upstream.smp = types.SimpleNamespace(encoders=types.SimpleNamespace(get_encoder=_encoder))


class Head(torch.nn.Module):
    def __init__(self, neck, conv_seg):
        super().__init__()
        self.neck, self.conv_seg = neck, conv_seg


class ChangeMask(torch.nn.Module):
    """`temporal`: options of the transformer other than torchange's own."""

    def __init__(self, num_semantic_classes: int, temporal: dict):
        super().__init__()
        net = upstream.ChangeMask(dict(num_semantic_classes=num_semantic_classes))
        if temporal:
            channels = net.encoder.out_channels
            net.temporal_transformer = upstream.TemporalSymmetricTransformer(
                channels, channels, **temporal)
        self.backbone, self.neck = net.encoder, net.temporal_transformer
        self.decode_head = torch.nn.ModuleList(
            [Head(net.semantic_decoder, net.s), Head(net.change_decoder, net.c)])
        object.__setattr__(self, "net", net)

    def features(self, images):
        """Of both dates, the images themselves in front."""
        return upstream.bitemporal_forward(self.backbone, torch.cat(images, 1))

    def logits(self, features):
        net = self.net
        t1, t2 = features
        return dict(before=net.s(net.semantic_decoder(*t1)), after=net.s(net.semantic_decoder(*t2)),
                    change=net.c(net.change_decoder(*net.temporal_transformer(t1, t2))))


def torchange_losses(logits: dict, labels: dict) -> dict:
    return upstream.loss(logits["before"], logits["after"], logits["change"],
                         [labels["before"], labels["after"], labels["change"]])


def configured_losses(logits: dict, labels: dict, smoothing: float, gamma: float) -> dict:
    """The terms of the Hugging Face style port, of ever's functions; sc without ignored pixels."""
    out = {}
    for short, name in (("s1", "before"), ("s2", "after")):
        out[f"{short}_ce_loss"] = F.cross_entropy(logits[name], labels[name], ignore_index=255)
        out[f"{short}_dice_loss"] = L.dice_loss_with_logits(logits[name], labels[name])
    change = labels["change"].to(logits["change"].dtype)
    out["c_bce_loss"] = L.label_smoothing_binary_cross_entropy(logits["change"], change, smoothing)
    out["c_dice_loss"] = L.tversky_loss_with_logits(logits["change"], change, 0.5, 0.5, gamma)
    known = (labels["change"] != 255)[:, None].expand_as(logits["before"])
    d = (logits["before"].softmax(1) - logits["after"].softmax(1))**2
    c = change[:, None]
    out["sc_mse_loss"] = ((1 - c) * d + c * (1 - d))[known].mean()
    return out


class LevelsTransformer(torch.nn.Module):
    """The transformer alone, over the levels of one date and then those of the other."""

    def __init__(self, channels: list, options: dict):
        super().__init__()
        made = upstream.TemporalSymmetricTransformer(channels, channels, **options)
        self.t = made.t
        object.__setattr__(self, "made", made)

    def forward(self, inputs):
        half = len(inputs) // 2
        return self.made(list(inputs[:half]), list(inputs[half:]))
