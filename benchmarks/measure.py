"""What the benchmarks share: the machine in words, statistics over passes, tables. No third-party
packages."""
import json
import os
import platform
import random
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def machine():
    """CPU, cores, memory and system; nothing that names a host or a folder."""
    cpu, flags = platform.machine(), set()
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
            elif line.startswith("flags"):
                flags = set(line.split(":", 1)[1].split())
                break
    with open("/proc/meminfo") as f:
        kib = int(f.readline().split()[1])
    system = platform.system()
    try:
        with open("/etc/os-release") as f:
            named = dict(line.rstrip().split("=", 1) for line in f if "=" in line)
        system = named["PRETTY_NAME"].strip('"')
    except (OSError, KeyError):
        pass
    wide = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_gib": round(kib / 2**20, 1),
            "instructions": wide, "system": system}


class OtherLoad:
    """How many cores the rest of the machine used while we measured; ours are this process and the
    children that have ended."""

    @staticmethod
    def _own():
        t = os.times()
        return t.user + t.system + t.children_user + t.children_system

    @staticmethod
    def _all():
        with open("/proc/stat") as f:
            v = [int(x) for x in f.readline().split()[1:8]]
        return (sum(v) - v[3] - v[4]) / os.sysconf("SC_CLK_TCK")  # without idle and iowait

    def __init__(self):
        self.start = (os.times().elapsed, self._own(), self._all())

    def cores(self):
        wall = os.times().elapsed - self.start[0]
        other = (self._all() - self.start[2]) - (self._own() - self.start[1])
        return round(max(0.0, other) / max(wall, 1e-9), 2)


def finish(command, **environment):
    """What a command prints, run in the checkout; ends this program with its errors if it fails."""
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True,
                          env={**os.environ, **environment})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def result_of(output, command):
    """The last line RESULT {json} of what a command printed."""
    lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if not lines:
        sys.exit(f"{' '.join(command)} printed no RESULT:\n{output[-3000:]}")
    return json.loads(lines[-1][len("RESULT "):])


def interval(values, resamples=10000, seed=0):
    """(median, low, high): the median of the values and its 95 % bootstrap interval."""
    values = list(values)
    rng = random.Random(seed)
    medians = sorted(statistics.median(rng.choices(values, k=len(values)))
                     for _ in range(resamples))
    return (statistics.median(values), medians[int(0.025 * resamples)],
            medians[int(0.975 * resamples) - 1])


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def write(folder, name, result, text):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name + ".json"), "w") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    with open(os.path.join(folder, name + ".md"), "w") as f:
        f.write(text)
