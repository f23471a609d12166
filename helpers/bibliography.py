"""The works that the notebooks cite: ``notebooks/references.bib``, and the line that cites one.

``python -m helpers.bibliography KEY ...`` prints the lines of those keys, without a key all of them.
"""

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "notebooks" / "references.bib"


@dataclass(frozen=True)
class Work:
    """One entry: its key, the authors' family names, title, year, and where it is to be found.

    Example:
        >>> works()["simonyan2013"].year, works()["simonyan2013"].authors
        ('2013', ('Simonyan', 'Vedaldi', 'Zisserman'))
    """

    key: str
    authors: tuple[str, ...]
    title: str
    year: str
    place: str
    address: str

    def __str__(self) -> str:
        """The line as it stands in a notebook's list of references, without a bullet and a remark."""
        mark = "" if self.title.endswith("?") else "."
        authors = ", ".join(self.authors).replace(", et al.", " et al.")
        return f"**{self.key}** {authors} {self.year}. *{self.title}{mark}* [{self.place}]({self.address})."


@cache
def works() -> dict[str, Work]:
    """All entries by key, in the order of the file.

    Raises:
        ValueError: an entry without a field that it needs, or a key that is there twice.

    Example:
        >>> "rosenzweig2021" in works()
        True
    """
    found: dict[str, Work] = {}
    for entry in re.split(r"^@\w+", FILE.read_text(encoding="utf-8"), flags=re.M)[1:]:
        key = re.match(r"\{(\w+),", entry).group(1)
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", entry, flags=re.M))
        lacking = {"author", "title", "year"} - set(fields)
        if lacking or key in found:
            what = f"no {', '.join(sorted(lacking))}" if lacking else "a second one of that key"
            raise ValueError(f"{FILE.name}: {key}: {what}.")
        names = fields["author"].split(" and ")
        authors = tuple("et al." if name == "others" else name.partition(",")[0] for name in names)
        if "eprint" in fields:
            place = f"arXiv {fields['eprint']}", f"https://arxiv.org/abs/{fields['eprint']}"
        elif "doi" in fields:
            place = f"doi {fields['doi']}", f"https://doi.org/{fields['doi']}"
        elif "url" in fields:
            place = re.sub(r"https://(www\.)?", "", fields["url"]), fields["url"]
        else:
            raise ValueError(f"{FILE.name}: {key}: expected an eprint (arXiv id), a doi or a url.")
        found[key] = Work(key, authors, fields["title"], fields["year"], *place)
    return found


if __name__ == "__main__":
    for key in sys.argv[1:] or works():
        print(f"- {works()[key]}")
