#!/usr/bin/env python3
"""Writes docs/fidelity.md from what the parity tests measured:

  rm -f r.jsonl; STRATA_PARITY_REPORT=$PWD/r.jsonl ctest --test-dir build -R 'backbones|necks|heads|segmentors'
  tests/parity/fidelity.py r.jsonl
"""
import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# What a share of 1 stands for: see tests/support/parity.cpp.
LIMITS = {"forward": 1e-10, "loss": 1e-10, "gradient": 1e-8, "statistic": 1e-10,
          "forward32": 1.0, "gradient32": 1.0}
HEAD = """# How close the numbers come

Components here against their reference, same weights and inputs, measured by the parity tests (`tests/parity/fidelity.py` writes this page; [parity.md](parity.md) says how to compare a model yourself). Key lists and parameter counts are equal in every case.

- forward, loss, statistics (batch norm's running mean and variance): largest error in float64, relative to the largest value of the tensor, or to the value. Limit 1e-10.
- gradients: largest error in float64 relative to the norm of all gradients. Limit 1e-8.
- float32: largest error against float64, in units of the reference's own float32 error, row-major and channels-last. Limit 2.

Each is the worst of both modes (eval, train), all levels, all parameters.

"""
TAIL = """
mmseg adds float32's epsilon to the divisor of its losses, and computes a part of its Dice in float32: that is what the losses and gradients of whole models (`seg_…`) show.

Losses, optimizers and schedules are compared with torch and mmseg by value and gradient (`tests/losses`, `tests/framework/optim`). Where the reference itself surprises is listed in `tests/parity/README.md`; what we changed on purpose in [migration.md](migration.md).
"""


def main():
    with open(os.path.join(ROOT, "tests/data/parity/cases.json")) as f:
        cases = {case["name"]: case for case in json.load(f)}
    worst = {}
    for path in sys.argv[1:]:
        with open(path) as f:
            for line in f:
                entry = json.loads(line)
                row = worst.setdefault(entry["case"], {})
                for kind, share in entry["shares"].items():
                    row[kind] = max(row.get(kind, 0.0), share * LIMITS[kind])
    missing = [name for name in cases if name not in worst]
    if missing:
        print("fidelity: no figures for", ", ".join(missing), file=sys.stderr)

    def cell(row, kind):
        if kind not in row:
            return ""
        if row[kind] == 0:
            return "0"
        return f"{row[kind]:.2f}" if kind.endswith("32") else f"{row[kind]:.0e}"

    text = HEAD
    text += "| case | reference | parameters | forward | loss | gradients | statistics | float32 | its gradients |\n"
    text += "|" + "---|" * 9 + "\n"
    for name, case in cases.items():
        if name not in worst:
            continue
        row = worst[name]
        text += (f"| `{name}` | {case['reference'].split(' (')[0]} | {case['parameters']:,} | "
                 + " | ".join(cell(row, k) for k in ("forward", "loss", "gradient", "statistic",
                                                     "forward32", "gradient32")) + " |\n")
    text += TAIL
    with open(os.path.join(ROOT, "docs/fidelity.md"), "w") as f:
        f.write(text)
    print(f"docs/fidelity.md: {len(worst)} of {len(cases)} cases")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
