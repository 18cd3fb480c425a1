"""How a run of `dlfast train` begins: options of the command line and of config files, a folder, its data."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from .. import distributed
from . import config, examples, networks, text
from .config import Config, Facts
from .errors import check_device
from .options import MODELS, Options, flag
from .run import Job

_FREE = ("epochs", "early_stopping", "checkpoint_steps", "device")  # what a resumed run may change
_DATA = {"data", "path", "target", "drop", "val_fraction", "image_size", "grey", "normalize", "seed", "model"}
_LAID_OUT = ("one-cycle", "warmup-cosine")  # schedules over all epochs


def begin(given: dict[str, Any], file: Path | None, out: Path | None, resume: bool) -> Job:
    """A new run by the options given and those of a config file, or the one in a folder that goes on.

    Nothing is written yet. Raises FileNotFoundError, OSError, ValueError and, for a device that cannot be used,
    ClickException, which tell what to do.
    """
    if "steps" in given and ("epochs" in given or resume):
        raise ValueError("--steps stands alone: not with --epochs, nor with --resume")
    if file is not None and resume:
        raise ValueError("--config and --resume exclude each other: a folder has its own config.toml")
    folder = out or (Path("runs", given["model"]) if "model" in given else None)
    if resume:
        before = resumed(folder, given)
        options = before.options
    else:
        before = Config(Options()) if file is None else config.read(file)
        options = new_options(given, before.options)
        folder = folder or Path("runs", options.model)
        _check_free(folder)
    check_device(options.device or "cpu")
    if options.amp not in (None, "none") and options.device in (None, "cpu"):
        raise ValueError(
            f"--amp {options.amp} is for GPUs, the CPU computes in float32: give --device cuda, or leave it out"
        )
    if not resume and options.ranks is None and distributed.size() > 1:
        options = replace(options, ranks=distributed.size())
    if options.model in networks.LANGUAGE:
        options = text.complete(options)
        work = text.work(options)
    else:
        work = examples.work(options)
    assert folder is not None
    changed = "" if before.facts is None else _changed(before.facts, work.facts)
    if changed and resume:
        raise ValueError(f"the data has changed since the run in {folder} began: {changed}")
    where = folder / config.NAME if resume else file
    notes = [f"{where} was written with {words}: the bits may differ" for words in _other_versions(before)]
    if changed and not given.keys() & _DATA:
        notes.append(f"the data has changed since {where} was written: {changed}")
    return Job(folder, options, work, resume, tuple(notes))


def new_options(given: dict[str, Any], read: Options) -> Options:
    """Those given, then those of a config file, then the usual ones. ValueError for what does not go together."""
    merged = {name: value for name, value in asdict(read).items() if value is not None} | given
    if "set" in given:
        merged["set"] = {**(read.set or {}), **given["set"]}
    if "model" not in merged:
        raise ValueError(f"MODEL is missing, one of {', '.join(MODELS)}")
    return networks.complete(Options(**merged))


def _check_free(folder: Path) -> None:
    if (folder / "last.safetensors").exists():
        raise ValueError(f"{folder} holds a run: go on with it by --resume, or name another folder with --out")


def resumed(folder: Path | None, given: dict[str, Any]) -> Config:
    """The config in the folder, with the number of epochs that is given.

    Raises ValueError where another option differs from the run's, which would make it another run.
    """
    if folder is None:
        raise ValueError("--resume needs the run: name its MODEL or its folder, --out")
    before = config.read_folder(folder)
    for name, value in given.items():
        old = getattr(before.options, name)
        same = value.items() <= (old or {}).items() if name == "set" else value == old
        if name not in _FREE and not same:
            raise ValueError(
                f"the run in {folder} has {flag(name).removeprefix('--')} {old}, not {value}: leave the option out, or "
                "start another run without --resume"
            )
    schedule, epochs = before.options.schedule, before.options.epochs
    if schedule in _LAID_OUT and given.get("epochs", epochs) != epochs:
        raise ValueError(
            f"the run in {folder} has a {schedule} schedule over its {epochs} epochs, which cannot be made longer: "
            "leave --epochs out"
        )
    free = {name: given[name] for name in _FREE if name in given}
    return replace(before, options=replace(before.options, **free))


def _changed(before: Facts, now: Facts) -> str:
    """What of the data is not as it was, in words."""
    for entry in fields(Facts):
        old, new = getattr(before, entry.name), getattr(now, entry.name)
        if old != new:
            return f"{entry.name} was {_short(old)}, is {_short(new)}"
    return ""


def _other_versions(before: Config) -> list[str]:
    """The versions that were others when a config was written."""
    now = config.versions()
    return [f"{name} {old}, this is {now[name]}" for name, old in before.versions.items() if now.get(name, old) != old]


def _short(value: Any) -> str:
    return words if len(words := repr(value)) < 60 else f"{words[:57]}..."
