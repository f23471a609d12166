"""Every work that is named has an entry in references.bib, and is cited as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pybtex.database import Entry

from docs.bibliography import line as line_of
from docs.bibliography import place, works
from helpers.run import notebook_files
from helpers.run.notebook_files import committed, walk

ROOT = Path(__file__).resolve().parent.parent
HEADING = re.compile(r"^#+ References\n+", re.M)


def references(path: Path) -> str:
    """The list of references of a notebook, "" if there is none."""
    for cell in notebook_files.read(path).cells:
        if cell.cell_type == "markdown" and HEADING.search(cell.source):
            return HEADING.split(cell.source)[1].split("\n\n")[0]
    return ""


def test_an_entry_is_written_as_one_line():
    assert line_of("sundararajan2017") == (
        "**sundararajan2017** Sundararajan, Taly, Yan 2017. *Axiomatic Attribution for Deep Networks.* "
        "[arXiv 1703.01365](https://arxiv.org/abs/1703.01365)."
    )
    assert line_of("forina1988").startswith("**forina1988** Forina et al. 1988. *Wine")
    assert list(works()) == sorted(works()), "in alphabetical order"


def test_a_work_without_an_address_is_refused():
    with pytest.raises(ValueError, match="expected an eprint"):
        place(Entry("misc", {"title": "Unfindable"}))


def test_the_command_prints_the_lines_of_its_keys():
    command = [sys.executable, "docs/bibliography.py", "holm1979", "adebayo2018"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [f"- {line_of(key)}" for key in ("holm1979", "adebayo2018")]


@pytest.mark.parametrize("path", walk(ROOT / "notebooks"), ids=lambda path: path.stem)
def test_references_of_a_notebook_are_those_of_the_file(path):
    lines = references(path).splitlines()
    assert lines, "no references"
    for line in lines:
        key = re.match(r"- \*\*(\w+)\*\* ", line)
        assert key, f"expected '- **key** ...', got {line!r}"
        assert key.group(1) in works(), f"no such entry: {line!r}"
        assert line.startswith(f"- {line_of(key.group(1))}"), f"expected {line_of(key.group(1))}, got {line}"


def test_every_identifier_in_the_project_has_an_entry():
    known = {place(work)[0] for work in works().values()}
    files = [
        *(ROOT / "helpers").rglob("*.py"),
        *(ROOT / "benchmarks").glob("*.[pm][yd]"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "README.md",
        ROOT / "data" / "README.md",
    ]
    text = {path.name: path.read_text(encoding="utf-8") for path in files}
    text |= {p.name: "\n".join(c.source for c in notebook_files.read(p).cells) for p in committed()}
    for name, content in text.items():
        content = re.sub(r"\s+", " ", content)
        for found in re.findall(r"arXiv:? ?(\d{4}\.\d{5})", content):
            assert f"arXiv {found}" in known, f"{name}: arXiv {found} is not in references.bib"
        for found in re.findall(r"doi:? ?(10\.[^\s),;\]]+)", content):
            assert f"doi {found.rstrip('.')}" in known, f"{name}: doi {found} is not in references.bib"
