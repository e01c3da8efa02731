"""VLCD in PyTorch eager, put together from open_clip, timm, mmseg and tests/parity: upstream's own
code cannot run. step_peer.py times it."""
import os
import sys

import open_clip
import timm
import torch
import torch.nn as nn
import torch.nn.functional as F

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(os.path.join(ROOT, "tests/parity"))

from clip_towers import DenseResNet, QuickGELU, Transformer  # noqa: E402
from vlcd_reference import CFC, ContextDecoder, DotBridge, rows  # noqa: E402

PROMPTS = [f"remote sensing image {what} objects" for what in ("background", "foreground")]
CHANNELS, TEXT, LENGTH, CONTEXT = [256, 512, 1024, 2048], 1024, 77, 16


class Texts(nn.Module):
    """CLIP's text tower over [start][16 learned vectors][words]."""

    def __init__(self, width=512):
        super().__init__()
        self.token_embedding = nn.Embedding(49408, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(LENGTH, width))
        self.transformer = Transformer(width, 12, 8, act_layer=QuickGELU)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(width**-0.5 * torch.randn(width, TEXT))
        self.requires_grad_(False)
        self.ctx = nn.Parameter(0.02 * torch.randn(CONTEXT, width))
        self.tokens = open_clip.tokenize(PROMPTS)[:, :LENGTH - CONTEXT]
        self.mask = torch.full((LENGTH, LENGTH), float("-inf")).triu(1)

    def forward(self, images):
        """[images, prompts, TEXT]: the prompts of every image, which may have tags of its own."""
        tokens = self.tokens.repeat(images, 1)
        x = self.token_embedding(tokens)
        ctx = self.ctx.expand(len(x), -1, -1)
        x = torch.cat([x[:, :1], ctx, x[:, 1:]], 1) + self.positional_embedding
        x = self.ln_final(self.transformer(x, attn_mask=self.mask))
        ends = tokens.argmax(1) + CONTEXT
        return (x[torch.arange(len(x)), ends] @ self.text_projection).view(images, -1, TEXT)


class Windows(nn.Module):
    def __init__(self, width, heads, window, shift):
        super().__init__()
        from mmseg.models.backbones.swin import ShiftWindowMSA
        self.msa = ShiftWindowMSA(width, heads, window, shift)

    def forward(self, x):
        return self.msa(x.flatten(1, 2), x.shape[1:3]).view(x.shape)


def text_decoder():
    """The reference's, with mmseg's windows: its own attend to the whole map under a mask."""
    from attention import SwinTextDecode
    head = SwinTextDecode([256] * 4, TEXT, 256, 2, 7)
    for stage in (head.layer1, head.layer2, head.layer3):
        for i, block in enumerate(stage.up.layer.blocks):
            block.attn = Windows(128, 2, 7, 3 * i)
    return head


class Vlcd(nn.Module):
    dates = 2

    def __init__(self, frozen=True):
        super().__init__()
        from mmseg.models import FPN
        self.frozen = frozen
        self.clip = DenseResNet((3, 4, 6, 3), 64, TEXT, 512).requires_grad_(not frozen)
        self.side = timm.create_model("resnet50", pretrained=False, features_only=True,
                                      out_indices=(1, 2, 3, 4))
        self.bridges = nn.ModuleList(DotBridge(c, c, True, True) for c in CHANNELS)
        self.texts = Texts()
        self.context = ContextDecoder(TEXT, 256, 4, 3)
        self.gamma = nn.Parameter(torch.full((TEXT,), 1e-4))
        self.cfc = CFC(CHANNELS, 256, TEXT, 256)
        self.fpn = FPN([256] * 4, 256, 4)
        self.head = text_decoder()

    def train(self, mode=True):
        super().train(mode)
        self.clip.train(mode and not self.frozen)
        return self

    def date(self, image):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            *levels, whole, places = self.clip.forward(image)
        fused = [bridge([c, r])[0]
                 for bridge, c, r in zip(self.bridges, levels, self.side(image))]
        text = self.texts(len(image))
        visual = torch.cat([whole[:, None], rows(places)], 1)
        text = text + self.gamma * self.context([text[:, :, None], visual[:, :, None]])[0]
        return fused, text

    def forward(self, before, after):
        (a, text_a), (b, text_b) = self.date(before), self.date(after)
        maps = self.cfc([*a, *b, text_a[:, :, None], text_b[:, :, None]])
        out = self.head([*self.fpn(maps), text_a, text_b])
        return [F.interpolate(out, size=before.shape[2:], mode="bilinear", align_corners=False)]
