"""VLCD and ChangeCLIP in PyTorch eager, put together from open_clip, timm, mmseg and tests/parity:
upstream's own code cannot run. step_peer.py times them."""
import os
import sys

import open_clip
import timm
import torch
import torch.nn as nn
import torch.nn.functional as F

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(os.path.join(ROOT, "tests/parity"))

from attention import TimmViT  # noqa: E402
from clip_towers import DenseResNet, DenseViT, QuickGELU, Transformer  # noqa: E402
from vlcd_reference import CFC, DFC, ContextDecoder, DotBridge, MhaBridge, rows  # noqa: E402

PROMPTS = [f"remote sensing image {what} objects" for what in ("background", "foreground")]
LENGTH, TAPS = 77, [3, 5, 7, 11]
CHANNELS = {"r50": [256, 512, 1024, 2048], "vit": [768] * 4}
TEXT = {"r50": 1024, "vit": 512}


def image_tower(kind):
    """CLIP's, with its maps. (`double` changes one addition and spares the reference's check.)"""
    if kind == "r50":
        return DenseResNet((3, 4, 6, 3), 64, TEXT[kind], 512)
    return DenseViT(256, 16, 768, 12, 12, TEXT[kind], TAPS, double_cls_embed=True)


def deit_small(out_channels=None):
    return TimmViT(TAPS, out_channels, img_size=256, patch_size=16, embed_dim=384, depth=12,
                   num_heads=6)


class Texts(nn.Module):
    """CLIP's text tower over [start][learned vectors][words]."""

    def __init__(self, out, context, trained, width=512):
        super().__init__()
        self.context, self.out = context, out
        self.token_embedding = nn.Embedding(49408, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(LENGTH, width))
        self.transformer = Transformer(width, 12, 8, act_layer=QuickGELU)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(width**-0.5 * torch.randn(width, out))
        self.requires_grad_(trained)
        self.ctx = nn.Parameter(0.02 * torch.randn(context, width))
        self.tokens = open_clip.tokenize(PROMPTS)[:, :LENGTH - context]
        self.mask = torch.full((LENGTH, LENGTH), float("-inf")).triu(1)

    def forward(self, images):
        """[images, prompts, out]: the prompts of every image, which may have tags of its own."""
        tokens = self.tokens.repeat(images, 1)
        x = self.token_embedding(tokens)
        ctx = self.ctx.expand(len(x), -1, -1)
        x = torch.cat([x[:, :1], ctx, x[:, 1:]], 1) + self.positional_embedding
        x = self.ln_final(self.transformer(x, attn_mask=self.mask))
        ends = tokens.argmax(1) + self.context
        return (x[torch.arange(len(x)), ends] @ self.text_projection).view(images, -1, self.out)


class Windows(nn.Module):
    def __init__(self, width, heads, window, shift):
        super().__init__()
        from mmseg.models.backbones.swin import ShiftWindowMSA
        self.msa = ShiftWindowMSA(width, heads, window, shift)

    def forward(self, x):
        return self.msa(x.flatten(1, 2), x.shape[1:3]).view(x.shape)


def text_decoder(text):
    """The reference's, with mmseg's windows: its own attend to the whole map under a mask."""
    from attention import SwinTextDecode
    head = SwinTextDecode([256] * 4, text, 256, 2, 7)
    for stage in (head.layer1, head.layer2, head.layer3):
        for i, block in enumerate(stage.up.layer.blocks):
            block.attn = Windows(128, 2, 7, 3 * i)
    return head


def resized_as(x, like):
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class TextChange(nn.Module):
    """What VLCD and ChangeCLIP share: images meet texts, and the decoder takes both."""
    dates = 2

    def __init__(self, kind, context, trained):
        super().__init__()
        text = TEXT[kind]
        self.clip = image_tower(kind)
        self.texts = Texts(text, context, trained)
        self.context = ContextDecoder(text, 256, 4, 3)
        self.gamma = nn.Parameter(torch.full((text,), 1e-4))
        self.head = text_decoder(text)

    def with_context(self, whole, places):
        text = self.texts(len(whole))
        visual = torch.cat([whole[:, None], rows(places)], 1)
        return text + self.gamma * self.context([text[:, :, None], visual[:, :, None]])[0]

    def forward(self, before, after):
        (a, text_a), (b, text_b) = self.date(before), self.date(after)
        out = self.head([*self.fused(a, b, text_a, text_b), text_a, text_b])
        return [resized_as(out, before)]


class Vlcd(TextChange):
    def __init__(self, kind="r50", frozen=True):
        super().__init__(kind, 16, not frozen)
        from mmseg.models import FPN
        channels = CHANNELS[kind]
        # Of a frozen ViT the pyramid is new, and is trained.
        trained = "fpn" if frozen else ""
        for name, parameter in self.clip.named_parameters():
            parameter.requires_grad_(name.startswith(trained) if kind == "vit" else not frozen)
        self.fixed = frozen and kind == "r50"
        if kind == "r50":
            self.side = timm.create_model("resnet50", pretrained=False, features_only=True,
                                          out_indices=(1, 2, 3, 4))
            self.bridges = nn.ModuleList(DotBridge(c, c, True, True) for c in channels)
        else:
            self.side = deit_small(768)
            self.bridges = nn.ModuleList(MhaBridge(c, c, c, 8, True) for c in channels)
        self.cfc = CFC(channels, 256, TEXT[kind], 256 if kind == "r50" else None)
        self.fpn = FPN([256] * 4, 256, 4)

    def train(self, mode=True):
        super().train(mode)
        self.clip.train(mode and not self.fixed)
        return self

    def date(self, image):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.fixed):
            *levels, whole, places = self.clip.forward(image)
        fused = [bridge([c, r])[0]
                 for bridge, c, r in zip(self.bridges, levels, self.side(image))]
        return fused, self.with_context(whole, places)

    def fused(self, a, b, text_a, text_b):
        return self.fpn(self.cfc([*a, *b, text_a[:, :, None], text_b[:, :, None]]))


class ChangeClip(TextChange):
    """All of CLIP is trained; images' likeness to the texts joins the last level."""

    def __init__(self, kind="r50"):
        super().__init__(kind, 13, True)
        from mmseg.models import FPN
        channels = list(CHANNELS[kind])
        channels[-1] += len(PROMPTS)
        self.dfc = DFC(channels, FPN([2 * c for c in channels], 256, 4), 256, 16)

    def date(self, image):
        *levels, whole, places = self.clip.forward(image)
        text = self.with_context(whole, places)
        score = torch.einsum("nchw,nkc->nkhw", F.normalize(places, dim=1), F.normalize(text, dim=2))
        levels[-1] = torch.cat([levels[-1], resized_as(score, levels[-1])], 1)
        return levels, text

    def fused(self, a, b, text_a, text_b):
        return self.dfc([*a, *b])
