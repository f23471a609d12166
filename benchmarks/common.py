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
QUICK = HERE.parent / "build" / "quick"
# their ImageNet classes
BUNDLED_CLASSES = {
    "chelsea": 285,
    "coffee": 967,
    "rocket": 657,
    "camera": 872,
    "motorcycle": 665,
    "grace_hopper": 652,
    "china": 698,
    "flower": 985,
}


def parser_of(description: str) -> argparse.ArgumentParser:
    """The options of a bench that takes photographs: --photos and --quick, to which it adds its own."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="folder with a labels.csv (file, class_index)")
    parser.add_argument(
        "--quick", action="store_true", help="few images and cheap methods, in minutes; tables in build/quick"
    )
    return parser


def folder_for(quick: bool) -> Path:
    """Where the tables go: those of a quick run do not replace the measured ones."""
    folder = QUICK if quick else HERE
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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


def page_of(table: pd.DataFrame, columns: list[str], value: str, head: Callable[..., str]) -> pd.DataFrame:
    """A table for a reader: a row a method; a column a group, its values with the verdict on ours in brackets.

    Args:
        table: a row a (group, method), with columns method, verdict, value and those of the groups.
        columns: what makes a group. value: the column that is shown. head: a group's keys -> its heading.
    """
    pages = {}
    for keys, part in table.groupby(columns, sort=False):
        part = part.set_index("method")
        words = [f" ({word})" if isinstance(word, str) else "" for word in part["verdict"]]
        cells = [f"{number:.3f}{word}" for number, word in zip(part[value], words, strict=True)]
        pages[head(*keys)] = pd.Series(cells, part.index)
    methods = table["method"].unique()  # not every method is in every group
    return pd.DataFrame(pages).reindex(methods).fillna("").rename_axis("method").reset_index()


def write_whole(table: pd.DataFrame, file: Path) -> None:
    """A table as CSV under its name once it is whole; a bench that is stopped leaves no half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part")
    table.to_csv(unfinished, index=False)
    unfinished.replace(file)


def write_table(
    name: str, table: pd.DataFrame, notes: str, whole: pd.DataFrame | None = None, folder: Path = HERE
) -> None:
    """NAME.md, a page of it with versions, machine and date, and NAME.csv, the whole (or the same) table."""
    write_whole(table if whole is None else whole, folder / f"{name}.csv")
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "captum", "numpy"))
    cores = f"{torch.get_num_threads()} threads, {platform.machine()}, Python {platform.python_version()}"
    header = f"{notes}\n\nMeasured {datetime.date.today().isoformat()} with {packages}; {cores}; seed 0.\n\n"
    columns = list(table.columns)
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in table.itertuples(index=False):
        cells = ("" if v != v else f"{v:.3g}" if isinstance(v, float) else str(v) for v in row)
        lines.append("| " + " | ".join(cells) + " |")
    (folder / f"{name}.md").write_text(header + "\n".join(lines) + "\n")
