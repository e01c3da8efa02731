"""A folder of save_pretrained, there and back: written in Python, read here; written here, read in
Python. Both times the logits of torchange's ChangeMask and ours are compared.

    python tests/parity/changemask_round_trip.py build/tools
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

import torch
from safetensors.torch import load_file, save_file

import changemask_reference as own

SIZE, CLASSES = (2, 3, 96, 64), 6
NAMES = {"semantic_head.": "s.", "change_head.": "c."}


def port_names(state: dict, there: bool) -> dict:
    """torchange's names to those of its port, or back."""
    pairs = [(b, a) if there else (a, b) for a, b in NAMES.items()]
    out = {}
    for name, tensor in state.items():
        for a, b in pairs:
            if name.startswith(a):
                name = b + name[len(a):]
        out[name] = tensor
    return out


def random_model() -> torch.nn.Module:
    net = own.upstream.ChangeMask(dict(num_semantic_classes=CLASSES))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net.eval()


@torch.no_grad()
def logits(net, images) -> dict:
    t1, t2 = own.upstream.bitemporal_forward(net.encoder, torch.cat(images, 1))
    return dict(before=net.s(net.semantic_decoder(*t1)), after=net.s(net.semantic_decoder(*t2)),
                change=net.c(net.change_decoder(*net.temporal_transformer(t1, t2))))


def compare(title: str, got: dict, want: dict) -> None:
    worst = max(float((got[k] - want[k]).abs().max() / want[k].abs().max()) for k in want)
    print(f"{title}: largest difference {worst:.1e} of the largest logit")
    assert worst <= 1e-5, title


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tools", type=pathlib.Path)
    tools = parser.parse_args().tools
    torch.manual_seed(0)
    net = random_model()
    images = [torch.randn(SIZE), torch.randn(SIZE)]
    want = logits(net, images)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)

        def run(tool, *arguments):
            subprocess.run([tools / tool, *map(str, arguments)], check=True, cwd=folder,
                           stdout=subprocess.DEVNULL)

        def ours(weights) -> dict:
            run("parity", "model.toml", "--weights", weights, "--inputs", "in.safetensors",
                "--outputs", "out.safetensors")
            out = load_file(folder / "out.safetensors")
            return {k: out[f"out.{k}.logits"] for k in want}

        theirs = folder / "theirs"
        theirs.mkdir()
        torch.save(port_names(net.state_dict(), True), theirs / "pytorch_model.bin")
        (theirs / "config.json").write_text(json.dumps(
            dict(model_type="changemask", num_semantic_classes=CLASSES, loss_config={})))
        save_file({f"image_{d}": image for d, image in enumerate(images)}, folder / "in.safetensors")
        run("convert", "--config", "theirs/config.json", "model.toml")
        run("convert", "theirs", "own.safetensors", "--map", "changemask")
        compare("written in Python, read here", ours("own.safetensors"), want)

        run("convert", "own.safetensors", "saved", "--pretrained", "model.toml")
        state = torch.load(folder / "saved" / "pytorch_model.bin", weights_only=True)
        again = random_model()
        again.load_state_dict(port_names(state, False), strict=True)
        compare("written here, read in Python", logits(again, images), want)
        print(json.dumps(json.loads((folder / "saved" / "config.json").read_text())))


if __name__ == "__main__":
    main()
