"""What the benches share: interleaved timing, peak memory in a process of its own, tables."""

import datetime
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

HERE = Path(__file__).resolve().parent


def median_seconds(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each call; the calls take turns, so that a slow moment of the machine hits all."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_bytes(module: str, job: str) -> int:
    """Peak memory that a job of a benchmark module needs beyond its set-up, in a fresh process (Linux).

    The module offers `prepare()` and a dict `JOBS` of functions of what it returns.
    """
    code = (
        "import importlib, re\n"
        "def memory(name):\n"
        "    with open('/proc/self/status') as status:\n"
        "        return 1024 * int(re.search(name + r':\\s+(\\d+)', status.read()).group(1))\n"
        f"module = importlib.import_module({module!r})\n"
        "ready = module.prepare()\n"
        "open('/proc/self/clear_refs', 'w').write('5')  # the peak starts anew from here\n"
        "before = memory('VmRSS')\n"
        f"module.JOBS[{job!r}](ready)\n"
        "print(memory('VmHWM') - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HERE.parent
    )
    return int(done.stdout.split()[-1])


def write_table(name: str, table: pd.DataFrame, notes: str) -> None:
    """NAME.csv and NAME.md beside the benches, with versions, machine and date."""
    table.to_csv(HERE / f"{name}.csv", index=False)
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "captum", "numpy"))
    cores = f"{torch.get_num_threads()} threads, {platform.machine()}, Python {platform.python_version()}"
    header = f"{notes}\n\nMeasured {datetime.date.today().isoformat()} with {packages}; {cores}.\n\n"
    columns = list(table.columns)
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in table.itertuples(index=False):
        cells = ("" if v != v else f"{v:.3g}" if isinstance(v, float) else str(v) for v in row)
        lines.append("| " + " | ".join(cells) + " |")
    (HERE / f"{name}.md").write_text(header + "\n".join(lines) + "\n")
