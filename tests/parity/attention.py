"""References of transformer components: timm under our names, and the text decoder from its formulas."""
import math
import types

import torch
import torch.nn.functional as F
from torch import nn

import reference as ref


def up(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, 2, 2)


def resized_positions(posemb, new_size, num_prefix_tokens=1, **_):
    """timm's resize, which casts to float32, in the precision that it is given."""
    side = math.isqrt(posemb.shape[1] - num_prefix_tokens)
    if tuple(new_size) == (side, side):
        return posemb
    head, grid = posemb[:, :num_prefix_tokens], posemb[:, num_prefix_tokens:]
    grid = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=new_size, mode="bicubic", antialias=True)
    return torch.cat([head, grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)


class TimmViT(nn.Module):
    """timm's transformer up to its blocks, one shared projection, and a pyramid for patches of 16."""

    def __init__(self, taps, out_channels=None, **options):
        super().__init__()
        from timm.models import vision_transformer as timm_vit
        timm_vit.resample_abs_pos_embed = resized_positions
        net = timm_vit.VisionTransformer(num_classes=0, dynamic_img_size=True, dynamic_img_pad=True, **options)
        self.cls_token, self.pos_embed = net.cls_token, net.pos_embed
        self.patch_embed, self.blocks, self.norm = net.patch_embed, net.blocks, net.norm
        object.__setattr__(self, "net", net)
        self.taps = taps
        c = options["embed_dim"]
        self.proj = nn.Linear(c, out_channels) if out_channels else nn.Identity()
        c = out_channels or c
        self.fpn1 = nn.Sequential(nn.GroupNorm(1, c), up(c), nn.BatchNorm2d(c), nn.GELU(), up(c))
        self.fpn2 = nn.Sequential(nn.GroupNorm(1, c), up(c))
        self.fpn3 = nn.GroupNorm(1, c)
        self.fpn4 = nn.Sequential(nn.GroupNorm(1, c), nn.MaxPool2d(2, 2, ceil_mode=True))

    def forward(self, x):
        maps = self.net.forward_intermediates(x, indices=self.taps, norm=False,
                                              output_fmt="NCHW", intermediates_only=True)
        levels = []
        for i, (m, op) in enumerate(zip(maps, (self.fpn1, self.fpn2, self.fpn3, self.fpn4))):
            level = op(self.proj(m.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
            h, w = (math.ceil(s / (4 << i)) for s in x.shape[2:])
            levels.append(level[:, :, :h, :w])
        return levels


PARTS = {"norm1": "norm1", "attn.w_msa": "attn", "norm2": "norm2", "ffn.layers.0.0": "mlp.fc1",
         "ffn.layers.1": "mlp.fc2"}


def timm_swin_name(name: str) -> str | None:
    """Our (mmseg's) name in timm's SwinTransformer; None for the norms of the levels."""
    if name.startswith("patch_embed."):
        return name.replace("projection", "proj")
    part = name.split(".")
    if part[0] != "stages":
        return None
    if part[2] == "downsample":
        return ".".join(["layers", str(int(part[1]) + 1), *part[2:]])
    rest = ".".join(part[4:])
    for ours, theirs in PARTS.items():
        if rest.startswith(ours + "."):
            return ".".join(["layers", part[1], "blocks", part[3], theirs + rest[len(ours):]])
    raise KeyError(name)


def timm_swin_value(name: str, value: torch.Tensor) -> torch.Tensor:
    """Patch merging: timm has (column, row, channel) where mmseg has (channel, row, column)."""
    if ".downsample." not in name:
        return value
    c = value.shape[-1] // 4
    return value.unflatten(-1, (c, 2, 2)).movedim(-3, -1).transpose(-3, -2).flatten(-3)


def build_timm_swin(config: dict) -> nn.Module:
    """mmseg's model as the holder of the parameters, computed by timm's code."""
    from timm.models.swin_transformer import SwinTransformer

    class Trunk(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            x, maps = self.net.patch_embed(x), []
            for layer in self.net.layers:
                x = layer(x)
                maps.append(x)
            return maps

    options = dict(config)
    size = options.pop("img_size")
    trunk = Trunk(SwinTransformer(
        img_size=size, num_classes=0, window_size=options["window_size"],
        embed_dim=options["embed_dims"], depths=tuple(options["depths"]),
        num_heads=tuple(options["num_heads"]), drop_path_rate=0.0))
    model = ref.build_mmseg(options)

    def forward(self, x):
        trunk.to(x.dtype)
        own = {f"net.{timm_swin_name(n)}": timm_swin_value(n, p)
               for n, p in self.named_parameters() if timm_swin_name(n)}
        maps = torch.func.functional_call(trunk, own, (x,))
        norms = [getattr(self, f"norm{i}") for i in range(len(maps))]
        return [norm(m).permute(0, 3, 1, 2) for norm, m in zip(norms, maps)]

    model.forward = types.MethodType(forward, model)
    return model


# ---------------------------------------------------------------- the text decoder, by its formulas
class WindowAttention(nn.Module):
    def __init__(self, width, heads, window, shift):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1)**2, heads))
        row, col = (torch.arange(window**2) // window, torch.arange(window**2) % window)
        index = ((row[:, None] - row[None] + window - 1) * (2 * window - 1) +
                 col[:, None] - col[None] + window - 1)
        self.register_buffer("relative_position_index", index)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        """[N, H, W, C]; every pair of tokens at once: who shares a window, who is a stranger."""
        n, h, w, c = x.shape
        k, s = self.window, self.shift
        x = F.pad(x, (0, 0, 0, -w % k, 0, -h % k))
        rows, cols = x.shape[1:3]
        i = (torch.arange(rows)[:, None].expand(rows, cols) - s) % rows
        j = (torch.arange(cols)[None].expand(rows, cols) - s) % cols
        i, j = i.reshape(-1), j.reshape(-1)
        together = (i[:, None] // k == i[None] // k) & (j[:, None] // k == j[None] // k)
        strip = lambda t, size: (t >= size - k).long() + (t >= size - s).long()
        zone = strip(i, rows) * 3 + strip(j, cols)
        place = ((i[:, None] % k - i[None] % k + k - 1) * (2 * k - 1) +
                 j[:, None] % k - j[None] % k + k - 1).clamp(0, (2 * k - 1)**2 - 1)
        bias = self.relative_position_bias_table[place.reshape(-1)].view(*place.shape, self.heads)
        if s > 0:
            bias = bias - 100.0 * (zone[:, None] != zone[None])[..., None]
        q, key, v = self.qkv(x.reshape(n, rows * cols, c)).view(
            n, rows * cols, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ key.transpose(-1, -2) / (c // self.heads)**0.5 + bias.permute(2, 0, 1)
        y = scores.masked_fill(~together, -torch.inf).softmax(-1) @ v
        y = self.proj(y.transpose(1, 2).reshape(n, rows, cols, c))
        return y[:, :h, :w]


class TextBlock(nn.Module):
    def __init__(self, width, heads, window, shift):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window, shift)
        self.mlp = nn.ModuleDict(dict(fc1=nn.Linear(width, 4 * width),
                                      fc2=nn.Linear(4 * width, width)))
        self.proj = nn.Linear(2 * width, width)
        self.low_rank_bilinear = nn.ModuleDict(dict(
            WQ=nn.Linear(width, width // 2), WK=nn.Linear(width, width // 2),
            WV=nn.Linear(width, 2 * width)))

    def forward(self, x, text):
        low = self.low_rank_bilinear
        q, k, v = low["WQ"](x.flatten(1, 2)), low["WK"](text), low["WV"](text)
        y = (q @ k.transpose(1, 2) / q.shape[-1]**0.5).softmax(-1) @ v
        x = x + self.proj(y).view(x.shape)
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Seq(nn.Module):
    """A holder of children under given names."""

    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            self.add_module(name.removeprefix("_"), child)


class TextStage(nn.Module):
    def __init__(self, below, level, channels, window):
        super().__init__()
        c = channels // 2
        self.up = Seq(
            up=Seq(up=Seq(_1=nn.Conv2d(below, c, 3, padding=1), _2=nn.GroupNorm(32, c))),
            layer=Seq(blocks=nn.ModuleList([TextBlock(c, 2, window, s) for s in (0, window // 2)])),
            conv_relu=Seq(_0=nn.Conv2d(c, c, 1)))
        self.conv_relu = Seq(_0=nn.Conv2d(2 * c, channels, 3, padding=1))
        self.conv2 = Seq(_0=nn.Conv2d(level, c, 1))

    def forward(self, below, level, text):
        one, two = (self.up.up.up.get_submodule(n) for n in "12")
        x = F.relu(two(one(F.interpolate(below, size=level.shape[2:], mode="nearest"))))
        x = x.permute(0, 2, 3, 1)
        for block in self.up.layer.blocks:
            x = block(x, text)
        x = F.relu(self.up.conv_relu.get_submodule("0")(x.permute(0, 3, 1, 2)))
        skip = F.relu(self.conv2.get_submodule("0")(level))
        return F.relu(self.conv_relu.get_submodule("0")(torch.cat([skip, x], 1)))


class SwinTextDecode(nn.Module):
    """Called with the maps from fine to coarse, then the texts of both dates."""

    def __init__(self, in_channels, text_dim, channels, num_classes, window):
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        c = channels // 2
        self.linearA = nn.Sequential(nn.Linear(text_dim, c), nn.LayerNorm(c))
        self.linearB = nn.Sequential(nn.Linear(text_dim, c), nn.LayerNorm(c))
        below = in_channels[-1]
        for i, level in enumerate(reversed(in_channels[:-1])):
            self.add_module(f"layer{i + 1}", TextStage(below, level, channels, window))
            below = channels

    def forward(self, inputs):
        *maps, a, b = inputs
        text = torch.cat([self.linearA(a), self.linearB(b)], 1)
        x = maps[-1]
        for i, level in enumerate(reversed(maps[:-1])):
            x = getattr(self, f"layer{i + 1}")(x, level, text)
        return self.conv_seg(x)
