"""config.toml: the options of a run, what was found in its data, and the versions, as `dlfast train` keeps them."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .._suggest import nearest
from .options import RULES, Options

NAME = "config.toml"
_HEAD = "# `dlfast train --config THIS_FILE --out FOLDER` repeats this run with the same bits.\n\n"


@dataclass(frozen=True)
class Facts:
    """What a model and its inputs are made from beside the options: found in the training data.

    kind                images, sequences, table, series or text
    shape               of an input: (H, W, C), (T, F) or (F,)
    outputs             how many classes, or numbers to tell
    classes             names of the classes, none where numbers are told
    coded               whether labels in the data are numbers of classes; else they are the names
    mean, std           of each channel or column, which is brought to 0 and 1; empty where inputs stay as they are
    target_mean, target_std    of each number that is told
    table               columns and target of a table, see `data.tables.TableFormat`
    series              which one
    vocabulary          of a text
    rows, val_rows      how many are learned from, and held out; of a text, characters
    """

    kind: str
    shape: list[int] = field(default_factory=list)
    outputs: int = 0
    classes: list[str] = field(default_factory=list)
    coded: bool = False
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)
    target_mean: list[float] = field(default_factory=list)
    target_std: list[float] = field(default_factory=list)
    table: dict[str, Any] = field(default_factory=dict)
    series: str = ""
    vocabulary: str = ""
    rows: int = 0
    val_rows: int = 0


@dataclass(frozen=True)
class Config:
    """A complete run. `facts` is None for a file that was written by hand."""

    options: Options
    facts: Facts | None = None
    versions: dict[str, str] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """Of what the bits of a run depend on."""
    import numpy

    from .._version import __version__

    return {"dlfast": __version__, "numpy": numpy.__version__, "python": sys.version.split()[0]}


def dump(options: Options, facts: Facts) -> str:
    """The text of config.toml; options that are None, such as a path that was not given, are left out."""
    import tomli_w

    given = {name: value for name, value in asdict(options).items() if value is not None}
    found = {name: value for name, value in asdict(facts).items() if value not in ("", [], {})}
    tables = {"set": given.pop("set", {}), "found": found, "versions": versions()}
    return _HEAD + tomli_w.dumps({**given, **tables})


def read_folder(folder: Path) -> Config:
    """The config of the run in a folder. Raises FileNotFoundError or ValueError where there is none."""
    path = folder / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no run of `dlfast train`: there is no {path.name}")
    config = read(path)
    if config.facts is None:
        raise ValueError(f"{path} is not what `dlfast train` writes into a folder: it has no table [found]")
    return config


def read(path: Path) -> Config:
    """A config file. Raises FileNotFoundError; ValueError, which names file and key, for what it must not hold."""
    content = toml(path)
    found, written = content.pop("found", None), content.pop("versions", {})
    for name, value in content.items():
        if name not in RULES:
            raise ValueError(f"{path}: unknown key {name!r}{_near(name, list(RULES))}")
        if wrong := RULES[name].wrong(value):
            raise ValueError(f"{path}: {name} {wrong}, got {value!r}")
    facts = None if found is None else _facts(path, found)
    return Config(Options(**content), facts, written)


def toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds. Raises FileNotFoundError and ValueError."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    if not path.is_file():
        raise FileNotFoundError(f"there is no config file {path}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from error


def _facts(path: Path, found: Any) -> Facts:
    if not isinstance(found, dict):
        raise ValueError(f"{path}: found must be a table, got {found!r}")
    known = {entry.name: entry for entry in fields(Facts)}
    for name, value in found.items():
        if name not in known:
            raise ValueError(f"{path}: unknown key {name!r} in [found]{_near(name, list(known))}")
        if not _is(value, str(known[name].type)):
            raise ValueError(f"{path}: {name} in [found] must be {known[name].type}, got {value!r}")
    if "kind" not in found:
        raise ValueError(f"{path}: [found] lacks the key kind")
    return Facts(**found)


def _is(value: Any, annotation: str) -> bool:
    """Whether a value is of a type of `Facts`."""
    if annotation.startswith("list["):
        return isinstance(value, list) and all(_is(item, annotation[5:-1]) for item in value)
    kinds: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "bool": bool, "dict[str, Any]": dict}
    return isinstance(value, kinds[annotation]) and isinstance(value, bool) is (annotation == "bool")


def _near(name: str, known: list[str]) -> str:
    near = nearest(name, known)
    return f"; did you mean {' or '.join(near)}?" if near else f"; known are {', '.join(known)}"
