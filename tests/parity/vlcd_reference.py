"""The parts of VLCD and ChangeCLIP, written from their published formulas: upstream cannot run.

Every module takes one list of tensors and gives one, as generate.py calls components. Inputs have
four dimensions, so that they can be laid out channels-last; texts [N, K, E] come as [N, K, 1, E].
"""
import torch
import torch.nn.functional as F
from torch import nn


def rows(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, HW, C]"""
    return x.flatten(2).transpose(1, 2)


def as_map(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).reshape(x.shape[0], -1, *like.shape[2:])


def attend(q, k, v, heads: int, scale: float | None = None) -> torch.Tensor:
    def split(x):
        return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)
    q, k, v = split(q), split(k), split(v)
    scores = q @ k.transpose(2, 3) * (q.shape[-1]**-0.5 if scale is None else scale)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


class Bridge(nn.Module):
    def forward(self, inputs):
        return [self.fuse(*inputs)]


class DotBridge(Bridge):
    """f = r + alpha softmax(r P^T / sqrt(C)) P, P = LN(c) W + b; without a scale as upstream."""

    def __init__(self, clip: int, side: int, scale_attn: bool, layer_norm: bool):
        super().__init__()
        if layer_norm:
            self.layer_norm = nn.LayerNorm(clip)
        self.use_norm = layer_norm
        self.proj = nn.Linear(clip, side)
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        self.scale = side**-0.5 if scale_attn else 1.0

    def fuse(self, clip, side):
        c, r = rows(clip), rows(side)
        p = self.proj(self.layer_norm(c) if self.use_norm else c)
        scores = (p @ r.transpose(1, 2) * self.scale).softmax(1)  # [N, Nc, Nr], over CLIP's axis
        return side + self.alpha * as_map(scores.transpose(1, 2) @ p, side)


class MhaBridge(Bridge):
    def __init__(self, clip: int, side: int, width: int, heads: int, scale_attn: bool):
        super().__init__()
        self.norm_clip, self.norm_rs = nn.LayerNorm(clip), nn.LayerNorm(side)
        self.q_proj = nn.Linear(side, width)
        self.k_proj, self.v_proj = nn.Linear(clip, width), nn.Linear(clip, width)
        self.out_proj = nn.Linear(width, side)
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        self.heads, self.scale = heads, None if scale_attn else 1.0

    def fuse(self, clip, side):
        c, r = self.norm_clip(rows(clip)), self.norm_rs(rows(side))
        y = attend(self.q_proj(r), self.k_proj(c), self.v_proj(c), self.heads, self.scale)
        return side + self.alpha * as_map(self.out_proj(y), side)


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Conv(nn.Module):
    """A convolution under mmcv's name, with batch norm and ReLU where asked for."""

    def __init__(self, in_, out, kernel=1, norm=False, relu=False, bias=True):
        super().__init__()
        self.conv = nn.Conv2d(in_, out, kernel, padding=kernel // 2, bias=bias)
        if norm:
            self.bn = nn.BatchNorm2d(out)
        self.norm, self.relu = norm, relu

    def forward(self, x):
        x = self.conv(x)
        x = self.bn(x) if self.norm else x
        return F.relu(x) if self.relu else x


class BanBridge(Bridge):
    """BAN: attention of the side to the projected tokens, MixFFN, and the enlarged map itself."""

    def __init__(self, clip: int, side: int, heads: int, hidden: int):
        super().__init__()
        self.conv_clip = nn.Sequential(LayerNorm2d(clip, eps=1e-6), Conv(clip, side))
        self.norm1 = LayerNorm2d(side)
        self.attn = nn.Module()
        self.attn.attn = nn.MultiheadAttention(side, heads, batch_first=True)
        self.norm2 = LayerNorm2d(side)
        self.ffn = nn.Module()
        self.ffn.layers = nn.Sequential(
            nn.Conv2d(side, hidden, 1), nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.GELU(), nn.Dropout(0.0), nn.Conv2d(hidden, side, 1), nn.Dropout(0.0))

    def fuse(self, clip, side):
        given = self.conv_clip(clip)
        q, kv = rows(self.norm1(side)), rows(given)
        x = side + as_map(self.attn.attn(q, kv, kv)[0], side)
        x = x + self.ffn.layers(self.norm2(x))
        return x + F.interpolate(given, side.shape[2:], mode="bilinear", align_corners=False)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width, bias=False)
                                                 for _ in range(3))
        self.proj = nn.Linear(width, width)
        self.heads = heads

    def forward(self, q, kv):
        return self.proj(attend(self.q_proj(q), self.k_proj(kv), self.v_proj(kv), self.heads))


class ContextLayer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.self_attn, self.cross_attn = Attention(width, heads), Attention(width, heads)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(0.0),
                                 nn.Linear(4 * width, width))

    def forward(self, x, memory):
        own = self.norm1(x)
        x = x + self.self_attn(own, own)
        x = x + self.cross_attn(self.norm2(x), memory)
        return x + self.mlp(self.norm3(x))


class ContextDecoder(nn.Module):
    """DenseCLIP's, without dropout."""

    def __init__(self, visual_dim: int, width: int, heads: int, layers: int):
        super().__init__()
        self.memory_proj = nn.Sequential(nn.LayerNorm(visual_dim), nn.Linear(visual_dim, width),
                                         nn.LayerNorm(width))
        self.text_proj = nn.Sequential(nn.LayerNorm(visual_dim), nn.Linear(visual_dim, width))
        self.decoder = nn.ModuleList(ContextLayer(width, heads) for _ in range(layers))
        self.out_proj = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, visual_dim))

    def forward(self, inputs):
        text, visual = (x.squeeze(2) for x in inputs)
        memory, x = self.memory_proj(visual), self.text_proj(text)
        for layer in self.decoder:
            x = layer(x, memory)
        return [self.out_proj(x)]


class CFC(nn.Module):
    """Inputs: the levels of A, those of B, and the texts of both unless `texts` is None."""

    def __init__(self, channels: list[int], out: int, text: int | None, reduce_to: int | None):
        super().__init__()
        self.levels, self.text = len(channels), text
        if reduce_to:
            self.reduce_convs = nn.ModuleList(Conv(c, reduce_to) for c in channels)
            channels = [reduce_to] * len(channels)
        self.reduced = bool(reduce_to)
        maps = 3 if text is None else 4
        self.fusion_convs = nn.ModuleList(
            Conv(maps * c, out, 3, norm=True, relu=True, bias=False) for c in channels)
        if text is not None:
            self.text_proj = nn.ModuleList(
                nn.Sequential(nn.Linear(text, c), nn.LayerNorm(c), nn.ReLU()) for c in channels)

    def relevance(self, i, f, text):
        t = F.normalize(self.text_proj[i](text), dim=2)
        f = F.normalize(f, dim=1)
        return f * torch.einsum("nchw,nkc->nkhw", f, t).mean(1, keepdim=True)

    def forward(self, inputs):
        outs = []
        for i in range(self.levels):
            a, b = inputs[i], inputs[self.levels + i]
            if self.reduced:
                a, b = self.reduce_convs[i](a), self.reduce_convs[i](b)
            maps = [a, b, (a - b).abs()]
            if self.text is not None:
                texts = [x.squeeze(2) for x in inputs[2 * self.levels:]]
                maps.append((self.relevance(i, a, texts[0]) + self.relevance(i, b, texts[1])) / 2)
            outs.append(self.fusion_convs[i](torch.cat(maps, 1)))
        return outs


class ChannelAttention(nn.Module):
    def __init__(self, channels, hidden, out):
        super().__init__()
        self.conv1, self.conv2 = Conv(channels, hidden, relu=True), Conv(hidden, channels)
        self.conv_last = Conv(channels, out, relu=True)

    def forward(self, x):
        weight = self.conv2(self.conv1(x.mean((2, 3), keepdim=True)))
        return self.conv_last(x * ((weight + 3) / 6).clamp(0, 1))


class DFC(nn.Module):
    """Inputs: the levels of A, then those of B."""

    def __init__(self, channels: list[int], fpn: nn.Module, out: int, ratio: int):
        super().__init__()
        self.fpn = fpn
        self.minus_conv = nn.ModuleList(Conv(c, out, relu=True) for c in channels)
        self.channel_att = nn.ModuleList(
            ChannelAttention(3 * out, 3 * out // ratio, out) for _ in channels)

    def forward(self, inputs):
        half = len(inputs) // 2
        a, b = inputs[:half], inputs[half:]
        q = self.fpn([torch.cat(pair, 1) for pair in zip(a, b)])
        outs = []
        for i in range(half):
            m = self.minus_conv[i]((a[i] - b[i]).abs())
            w = (1 - F.cosine_similarity(a[i], b[i], dim=1)).sigmoid()[:, None]
            outs.append(self.channel_att[i](torch.cat([q[i] * w, m, q[i]], 1)))
        return outs
