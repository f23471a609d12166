"""What the benches share: options, interleaved timing, peak memory, tables."""

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile

HERE = Path(__file__).resolve().parent


def parser_of(description: str) -> argparse.ArgumentParser:
    """The options of a bench that takes photographs: --photos, to which it adds its own."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="folder with a labels.csv (file, class_index)")
    return parser


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


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that tensors made by a call take up at one time, in bytes (CPU).

    Counted from torch's own record of allocations, so it is exact and the same in every run; what the
    allocator keeps back and what libraries use beside torch is not in it.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def write_whole(table: pd.DataFrame, file: Path) -> None:
    """A table as CSV under its name once it is whole; a bench that is stopped leaves no half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part")
    table.to_csv(unfinished, index=False)
    unfinished.replace(file)


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
