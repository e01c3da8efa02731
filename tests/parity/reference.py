"""The reference implementations: mmseg without mmcv's compiled operators, timm, and smp's encoders."""
import sys
import types
import warnings

import numpy as np
import torch

import fill
from fixture import Run


def _stub_mmcv_ops() -> None:
    """mmcv-lite has no compiled operators; mmseg imports their names, none of our cases calls one."""
    class Missing(torch.nn.Module):
        def __init__(self, *args, **kwargs):
            raise RuntimeError("mmcv's compiled operators are not installed")

    stub = types.ModuleType("mmcv.ops")
    stub.__path__ = []

    def missing(name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Missing

    stub.__getattr__ = missing
    sys.modules["mmcv.ops"] = stub


_stub_mmcv_ops()
warnings.filterwarnings("ignore")
import mmseg.models  # noqa: E402,F401  (registers the models)
from mmengine.structures import PixelData  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


def hrnet_extra(width: int, modules=(1, 1, 4, 3), blocks=4, stem_blocks=4, stem_channels=64) -> dict:
    """mmseg's `extra` of an HRNet whose first branch has `width` channels."""
    extra = {"stage1": dict(num_modules=modules[0], num_branches=1, block="BOTTLENECK",
                            num_blocks=(stem_blocks,), num_channels=(stem_channels,))}
    for stage in (2, 3, 4):
        extra[f"stage{stage}"] = dict(
            num_modules=modules[stage - 1], num_branches=stage, block="BASIC",
            num_blocks=(blocks,) * stage, num_channels=tuple(width * 2**b for b in range(stage)))
    return extra


def build_mmseg(config: dict) -> torch.nn.Module:
    return MODELS.build(config)


def build_hrnet_ac(config: dict) -> torch.nn.Module:
    """mmseg's HRNet with aligned corners in the fusion, as in the original segmentation code."""
    model = MODELS.build(config)
    for module in model.modules():
        if type(module).__name__ == "Upsample":
            module.align_corners = True
    return model


class TimmHRNet(torch.nn.Module):
    """timm's HRNet without what follows stage 4, under the bare key names; gives the four branches."""

    def __init__(self, name: str):
        super().__init__()
        import timm
        net = timm.create_model(name, pretrained=False)
        for child, module in net.named_children():
            if child.split("_")[0] not in ("incre", "downsamp", "final", "global", "head",
                                           "classifier"):
                self.add_module(child, module)
        self.forward_stages = net.stages
        object.__setattr__(self, "net", net)

    def forward(self, x):
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.act2(self.bn2(self.conv2(x)))
        return self.forward_stages(x)


class SmpEfficientNet(torch.nn.Module):
    """smp's EfficientNet encoder without stochastic depth; levels at strides 2 (named stem) to 32."""

    def __new__(cls, name: str):
        from segmentation_models_pytorch.encoders import get_encoder
        encoder = get_encoder(name, weights=None)
        encoder._drop_connect_rate = 0.0
        return encoder


class SmpUnetDecoder(torch.nn.Module):
    """smp's U-Net decoder over levels from fine to coarse; the finest is half as large as its result."""

    def __new__(cls, config: dict):
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

        class Decoder(UnetDecoder):
            def forward(self, levels):
                n, _, h, w = levels[0].shape
                return [super().forward([levels[0].new_empty(n, 1, 2 * h, 2 * w), *levels])]

        return Decoder([1, *config["in_channels"]], config["decoder_channels"],
                       n_blocks=len(config["decoder_channels"]),
                       use_norm=config.get("use_norm", "batchnorm"),
                       attention_type=config.get("attention_type"))


class SmpUnet(torch.nn.Module):
    """smp's Unet without its head, under our names of its parts."""

    def __init__(self, encoder: str):
        super().__init__()
        import segmentation_models_pytorch as smp
        net = smp.Unet(encoder, encoder_weights=None)
        self.backbone, self.neck = net.encoder, net.decoder


def fill_module(module: torch.nn.Module) -> torch.nn.Module:
    """Every parameter and buffer from its name; the values are made in float64 and then cast."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith("relative_position_index"):
            continue  # a table that follows from the window, the same on both sides
        value = torch.from_numpy(fill.state_value(name, tensor.shape))
        with torch.no_grad():
            tensor.copy_(value.to(tensor.dtype))
    return module


def state_of(module: torch.nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(t.shape)) for name, t in module.state_dict().items()]


def tensor_in(name: str, shape, dtype, grad: bool) -> torch.Tensor:
    return torch.from_numpy(fill.input_value(name, shape)).to(dtype).requires_grad_(grad)


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def probe(outputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """sum over outputs of dot(T, v('<name>#probe')) / sqrt(numel): the loss of bare components."""
    total = 0.0
    for name, t in outputs.items():
        r = torch.from_numpy(fill.v(f"{name}#probe", t.numel())).to(t.dtype)
        total = total + (t.reshape(-1) * r).sum() / t.numel()**0.5
    return total


def collect(run: Run, module: torch.nn.Module, buffers: bool) -> None:
    for name, p in module.named_parameters():
        run.grads[name] = array(p.grad if p.grad is not None else torch.zeros_like(p))
    if buffers:
        for name, b in module.named_buffers():
            if b.is_floating_point():
                run.buffers[name] = array(b).astype(np.float64)


def data_samples(label: torch.Tensor) -> list:
    samples = []
    for one in label:
        sample = SegDataSample(gt_sem_seg=PixelData(data=one[None]))
        sample.set_metainfo(dict(img_shape=tuple(one.shape), ori_shape=tuple(one.shape),
                                 pad_shape=tuple(one.shape), padding_size=[0, 0, 0, 0]))
        samples.append(sample)
    return samples
