"""The works that the notebooks cite: ``notebooks/references.bib``, and the line that cites one.

``python docs/bibliography.py KEY ...`` prints the lines of those keys, without a key all of them.
"""

import re
import sys
from functools import cache
from pathlib import Path

from pybtex.database import Entry, parse_file

FILE = Path(__file__).resolve().parent.parent / "notebooks" / "references.bib"


@cache
def works() -> dict[str, Entry]:
    """All entries by key, in the order of the file.

    Raises:
        pybtex.exceptions.PybtexError: the file is not BibTeX, or has a key twice.

    Example:
        >>> works()["simonyan2013"].fields["year"]
        '2013'
    """
    return dict(parse_file(FILE).entries)


def place(entry: Entry) -> tuple[str, str]:
    """Where a work is found, in words, and its address.

    Raises:
        ValueError: the entry has neither an eprint (arXiv id) nor a doi nor a url.

    Example:
        >>> place(works()["simonyan2013"])
        ('arXiv 1312.6034', 'https://arxiv.org/abs/1312.6034')
    """
    fields = entry.fields
    if "eprint" in fields:
        return f"arXiv {fields['eprint']}", f"https://arxiv.org/abs/{fields['eprint']}"
    if "doi" in fields:
        return f"doi {fields['doi']}", f"https://doi.org/{fields['doi']}"
    if "url" in fields:
        return re.sub(r"https://(www\.)?", "", fields["url"]), fields["url"]
    raise ValueError(f"{FILE.name}: {entry.key}: expected an eprint (arXiv id), a doi or a url.")


def line(key: str) -> str:
    """The line as it stands in a notebook's list of references, without a bullet and a remark.

    Raises:
        KeyError: no entry of that key, or an entry without an author, a title or a year.

    Example:
        >>> line("simonyan2013")[:53]
        '**simonyan2013** Simonyan, Vedaldi, Zisserman 2013. *'
    """
    entry = works()[key]
    names = [" ".join(person.prelast_names + person.last_names) for person in entry.persons["author"]]
    authors = ", ".join(names).replace(", others", " et al.")
    title = entry.fields["title"]
    mark = "" if title.endswith("?") else "."
    where, address = place(entry)
    return f"**{key}** {authors} {entry.fields['year']}. *{title}{mark}* [{where}]({address})."


if __name__ == "__main__":
    for key in sys.argv[1:] or works():
        print(f"- {line(key)}")
