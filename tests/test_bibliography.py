"""Every work that is named has an entry in references.bib, and is cited as it stands there."""

import re
from pathlib import Path

import pytest

from helpers.bibliography import works
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
    line = str(works()["sundararajan2017"])
    assert line == (
        "**sundararajan2017** Sundararajan, Taly, Yan 2017. *Axiomatic Attribution for Deep Networks.* "
        "[arXiv 1703.01365](https://arxiv.org/abs/1703.01365)."
    )
    assert list(works()) == sorted(works()), "in alphabetical order"


@pytest.mark.parametrize("path", walk(ROOT / "notebooks"), ids=lambda path: path.stem)
def test_references_of_a_notebook_are_those_of_the_file(path):
    lines = references(path).splitlines()
    assert lines, "no references"
    for line in lines:
        key = re.match(r"- \*\*(\w+)\*\* ", line)
        assert key, f"expected '- **key** ...', got {line!r}"
        assert key.group(1) in works(), f"no such entry: {line!r}"
        assert line.startswith(f"- {works()[key.group(1)]}"), f"expected {works()[key.group(1)]}, got {line}"


def test_every_identifier_in_the_project_has_an_entry():
    known = {work.place for work in works().values()}
    files = [
        *(ROOT / "helpers").rglob("*.py"),
        *(ROOT / "benchmarks").glob("*.[pm][yd]"),
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
