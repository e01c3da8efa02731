"""CLIP's towers as open_clip has them, with the maps that DenseCLIP takes out of them, and the cases."""
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import QuickGELU, Transformer, VisionTransformer
from torch import nn
from torch.nn import functional as F


def resized(positions: torch.Tensor, h: int, w: int) -> torch.Tensor:
    """The first row, and the grid of the others in another size."""
    side = round((positions.shape[0] - 1) ** 0.5)
    grid = positions[1:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, (h, w), mode="bilinear", align_corners=False)
    return torch.cat([positions[:1], grid.flatten(2)[0].T])


class DenseResNet(nn.Module):
    """Four stages, the image's embedding, and those of its places: attention among all of them."""

    def __new__(cls, layers, width, output_dim, input_resolution):
        net = ModifiedResNet(layers, output_dim, width * 32 // 64, input_resolution, width)
        whole = net.forward

        def forward(x):
            levels = []
            y = net.stem(x)
            for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
                y = stage(y)
                levels.append(y)
            pool = net.attnpool
            h, w = y.shape[2:]
            tokens = y.flatten(2).permute(2, 0, 1)
            tokens = torch.cat([tokens.mean(0, keepdim=True), tokens])
            tokens = tokens + resized(pool.positional_embedding, h, w)[:, None]
            tokens, _ = F.multi_head_attention_forward(
                tokens, tokens, tokens, tokens.shape[-1], pool.num_heads, None,
                torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]), None, None,
                False, 0.0, pool.c_proj.weight, pool.c_proj.bias, need_weights=False,
                use_separate_proj_weight=True, q_proj_weight=pool.q_proj.weight,
                k_proj_weight=pool.k_proj.weight, v_proj_weight=pool.v_proj.weight)
            if not net.training and h * w + 1 == pool.positional_embedding.shape[0]:
                assert torch.allclose(whole(x), tokens[0], rtol=1e-4, atol=1e-4)
            return [*levels, tokens[0], tokens[1:].permute(1, 2, 0).unflatten(2, (h, w))]

        net.forward = forward
        return net


class DenseViT(VisionTransformer):
    """Four levels from the residual stream, the image's embedding, and those of its places."""

    def __init__(self, input_resolution, patch_size, width, layers, heads, output_dim, taps,
                 double_cls_embed=False):
        super().__init__(input_resolution, patch_size, width, layers, heads, 4.0,
                         output_dim=output_dim, act_layer=QuickGELU)
        self.taps, self.double = taps, double_cls_embed
        up = lambda: nn.ConvTranspose2d(width, width, 2, 2)
        norm = lambda: nn.GroupNorm(1, width)
        self.fpn1 = nn.Sequential(norm(), up(), nn.BatchNorm2d(width), nn.GELU(), up())
        self.fpn2 = nn.Sequential(norm(), up())
        self.fpn3 = norm()
        self.fpn4 = nn.Sequential(norm(), nn.MaxPool2d(2, 2))
        if patch_size == 32:
            self.fpn1 = nn.Sequential(norm(), up(), nn.BatchNorm2d(width), nn.GELU(), up(),
                                      nn.BatchNorm2d(width), nn.GELU(), up())
            self.fpn2 = nn.Sequential(norm(), up(), nn.BatchNorm2d(width), nn.GELU(), up())
            self.fpn3 = nn.Sequential(norm(), up())
            self.fpn4 = norm()

    def forward(self, x):
        whole = x
        x = self.conv1(x)
        n, c, h, w = x.shape
        x = x.flatten(2).transpose(1, 2)
        positions = resized(self.positional_embedding, h, w)
        cls = self.class_embedding
        x = torch.cat([(2 * cls if self.double else cls).expand(n, 1, c), x], 1) + positions
        x = self.ln_pre(x)
        to_map = lambda t: t[:, 1:].transpose(1, 2).unflatten(2, (h, w))
        maps = []
        for i, block in enumerate(self.transformer.resblocks):
            x = block(x)
            maps += [to_map(x)] * self.taps.count(i)
        levels = [op(m) for op, m in zip((self.fpn1, self.fpn2, self.fpn3, self.fpn4), maps)]
        x = self.ln_post(x) @ self.proj
        if not self.double and h * w + 1 == self.positional_embedding.shape[0]:
            assert torch.allclose(super().forward(whole), x[:, 0], rtol=1e-4, atol=1e-4)
        return [*levels, x[:, 0], to_map(x)]


class TextTower(nn.Module):
    """From embeddings of tokens to features, as CLIP.encode_text goes on from them."""
    ENDS = [11, 4, 8]

    def __init__(self, context_length, vocab_size, transformer_width, transformer_heads,
                 transformer_layers, embed_dim):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(context_length, transformer_width))
        self.text_projection = nn.Parameter(torch.empty(transformer_width, embed_dim))
        self.transformer = Transformer(transformer_width, transformer_layers, transformer_heads,
                                       act_layer=QuickGELU)
        self.token_embedding = nn.Embedding(vocab_size, transformer_width)
        self.ln_final = nn.LayerNorm(transformer_width)

    def forward(self, inputs):
        x = inputs[0] + self.positional_embedding
        length = x.shape[1]
        mask = torch.full((length, length), float("-inf"), dtype=x.dtype).triu(1)
        x = self.ln_final(self.transformer(x, attn_mask=mask))
        return [x[torch.arange(len(x)), torch.tensor(self.ENDS)] @ self.text_projection]


NARROW_TEXT = dict(context_length=16, vocab_size=714, transformer_width=64, transformer_heads=2,
                   transformer_layers=2, embed_dim=24)


def cases(backbone, table, image) -> list[dict]:
    """`backbone` and `table` of cases.py."""
    named = [0, 1, 2, 3, "global", "dense"]
    found = []
    rn = dict(layers=[1, 2, 1, 1], width=4, output_dim=24, input_resolution=64)
    for name, size in [("clip_rn_narrow", image), ("clip_rn_narrow_resized", (2, 3, 96, 64))]:
        found.append(backbone(name, "open_clip ModifiedResNet, all tokens of its pool", rn,
                              dict(type="CLIPResNetWithAttention") | rn, "clip_rn_narrow",
                              image=size, names=named, build=lambda c: DenseResNet(**c)))
    vit = dict(input_resolution=64, patch_size=16, width=64, layers=4, heads=2, output_dim=24)
    for name, size, extra in [("clip_vit_narrow", image, {}),
                              ("clip_vit_narrow_resized", (2, 3, 96, 64), {}),
                              ("clip_vit_narrow_double", image, dict(double_cls_embed=True)),
                              ("clip_vit_narrow_p32", image, dict(patch_size=32))]:
        options = vit | extra
        found.append(backbone(name, "open_clip VisionTransformer and DenseCLIP's pyramid",
                              options | dict(taps=[0, 1, 2, 3]),
                              dict(type="CLIPVisionTransformer", out_indices=[0, 1, 2, 3]) | options,
                              "clip_vit_narrow_p32" if "p32" in name else "clip_vit_narrow",
                              image=size, names=named, build=lambda c: DenseViT(**c)))
    strata = {k: v for k, v in NARROW_TEXT.items()}
    found.append(dict(name="clip_text_narrow", kind="text_encoder",
                      reference="open_clip's text tower", config=NARROW_TEXT,
                      strata=table("model.text_encoder",
                                   dict(type="CLIPTextContextEncoder") | strata),
                      keys="clip_text_narrow", build=lambda c: TextTower(**c),
                      inputs=[(3, NARROW_TEXT["context_length"],
                               NARROW_TEXT["transformer_width"])]))
    return found
