"""The documentation's pages, taken apart: their code, what it prints, the pictures and files they name."""

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
README = DOCS.parent / "README.md"

_BLOCK = re.compile(r"^```([\w{}-]*)[^\n]*\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
_IMAGE = re.compile(r'<img src="([^"]+)"')
_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")


class Block(NamedTuple):
    language: str
    line: int  # of its first line of code, from 1
    code: str


def name(page: Path) -> str:
    return page.relative_to(DOCS if page != README else DOCS.parent).with_suffix("").as_posix()


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], text.count("\n", 0, m.start(2)) + 1, m[2]) for m in _BLOCK.finditer(text)]


def links(page: Path) -> list[str]:
    """Files that the page links to or shows, as it writes them."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return [target for target in _LINK.findall(text) + _IMAGE.findall(text) if "://" not in target]


def pictures(page: Path) -> list[str]:
    return [Path(target).name for target in links(page) if target.endswith((".svg", ".png"))]


def same_output(expected: str, printed: str) -> bool:
    """The same words, and numbers that differ by a twentieth at most: roundings of the processor are let pass."""
    if _NUMBER.sub("#", expected).split() != _NUMBER.sub("#", printed).split():
        return False
    pairs = zip(_numbers(expected), _numbers(printed), strict=True)
    return all(abs(a - b) <= 0.05 * abs(a) for a, b in pairs)


def _numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in _NUMBER.findall(text)]
