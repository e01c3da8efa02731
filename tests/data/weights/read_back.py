"""Files that tools/convert writes, read by the real torch and safetensors.

    python tests/data/weights/read_back.py build/tools/convert

Each file of this folder goes to .pth and .safetensors; torch.load(weights_only=True), also with
mmap=True, and safetensors.torch.load_file must give the tensors of the original, bit for bit.
"""
import pathlib
import subprocess
import sys
import tempfile

try:
    import torch
    from safetensors.torch import load_file
except ImportError as missing:
    sys.exit(f"skipped: {missing}")

FOLDER = pathlib.Path(__file__).parent


def original(path):
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.name == "script.pt":
        return torch.jit.load(path).state_dict()
    state = torch.load(path, weights_only=False)
    state = state.get("state_dict", state)
    prefix = "module."
    wrapped = all(name.startswith(prefix) for name in state)
    return {name.removeprefix(prefix) if wrapped else name: t.detach() for name, t in state.items()}


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else tensor


def check(name, read, want):
    assert list(sorted(read)) == list(sorted(want)), (name, list(read), list(want))
    for key, tensor in want.items():
        other = read[key]
        assert other.dtype == tensor.dtype and other.shape == tensor.shape, (name, key)
        assert torch.equal(bits(other), bits(tensor)), (name, key)


def main(convert):
    count = 0
    with tempfile.TemporaryDirectory() as out:
        for path in sorted(FOLDER.iterdir()):
            if path.suffix not in {".pth", ".pt", ".safetensors"} or path.stem in {"two", "module"}:
                continue
            want = original(path)
            for suffix in (".pth", ".safetensors"):
                target = pathlib.Path(out) / (path.name + suffix)
                subprocess.run([convert, path, target], check=True, capture_output=True)
                if suffix == ".pth":
                    check(path.name, torch.load(target, weights_only=True), want)
                    check(path.name, torch.load(target, weights_only=True, mmap=True), want)
                else:
                    check(path.name, load_file(target), want)
                count += 1
            # And back again from the written one.
            back = pathlib.Path(out) / "back.pth"
            subprocess.run([convert, target, back], check=True, capture_output=True)
            check(path.name, torch.load(back, weights_only=True), want)
    print(f"{count} files read back")


if __name__ == "__main__":
    main(sys.argv[1])
