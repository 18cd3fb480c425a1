"""Compiling kernels: ahead of time by `dlfast warmup`, announced where not, kept under a key of their sources."""

import ast
import gc
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from numba.core.dispatcher import Dispatcher

from dlfast import models, nn
from dlfast.cli import main
from dlfast.commands import warmup
from dlfast.kernels.numba import jit
from dlfast.kernels.numba.compiling import Compilations

KERNELS = Path(jit.__file__).parent
FIRST_CALL = "import numpy as np; from dlfast import functional as F; F.mse_loss(*np.ones((2, 5000), np.float32))"


def variants():
    """Every kernel of ours with its number of compiled or loaded signatures."""
    kernels = [each for each in gc.get_objects() if issubclass(type(each), Dispatcher)]
    ours = [each for each in kernels if each.py_func.__module__.startswith("dlfast.kernels")]
    return {(each.py_func.__module__, each.py_func.__qualname__): len(each.overloads) for each in ours}


def test_warmup_covers_other_networks():
    """Nothing is compiled, nor loaded, for networks of other sizes and a different make."""
    result = CliRunner().invoke(main, ["warmup"])
    assert result.exit_code == 0, result.output
    assert "kernels in" in result.output or "every kernel was there" in result.output
    assert str(jit.cache_folder()) in result.output
    before = variants()
    assert len(before) > 20
    convolutions = nn.Conv2d(3, 40, 5, stride=2), nn.ReLU(), nn.Conv2d(40, 40, 3), nn.BatchNorm2d(40), nn.ReLU()
    small = nn.Sequential(*convolutions, nn.MaxPool2d(3, 2), nn.Flatten(), nn.Dropout(), nn.Linear(40 * 5 * 5, 10))
    for model, shape in {
        partial(models.mlp, 300, 70, 10, activation=nn.Tanh): (100, 300),
        partial(models.resnet20, in_channels=4): (3, 24, 24, 4),
        partial(models.resnet20, shortcut="B"): (3, 32, 32, 3),
        partial(models.notes_cnn, 12): (1, 224, 224, 3),
        lambda: small: (9, 32, 32, 3),
    }.items():
        warmup.run(model, shape)
    assert variants() == before


def test_warmup_needs_a_place(monkeypatch):
    monkeypatch.setattr(jit, "cache_folder", lambda: None)
    result = CliRunner().invoke(main, ["warmup"])
    assert result.exit_code == 1
    assert "no folder can be written; set DLFAST_CACHE_DIR" in result.output


def first_call(cache, **environment):
    """What a new process says on stderr when it uses a kernel."""
    env = {**os.environ, "DLFAST_CACHE_DIR": str(cache), **environment}
    done = subprocess.run([sys.executable, "-c", FIRST_CALL], env=env, capture_output=True, text=True, check=True)
    return done.stderr


def test_compilation_is_announced_once(tmp_path):
    said = first_call(tmp_path, DLFAST_QUIET="")
    assert said.count("dlfast: compiling kernels") == said.count("\n") == 1
    assert f"they are kept in {tmp_path}" in said
    assert first_call(tmp_path, DLFAST_QUIET="") == ""
    assert first_call(tmp_path / "other", DLFAST_QUIET="1") == ""


def event(module):
    return SimpleNamespace(data={"dispatcher": SimpleNamespace(py_func=SimpleNamespace(__module__=module))})


def test_only_our_kernels_are_counted_and_helpers_are_not(capsys):
    heard = Compilations(quiet=False)
    heard.on_start(event("somebody.elses"))
    heard.on_end(event("somebody.elses"))
    assert (heard.count, capsys.readouterr().err) == (0, "")
    for _ in range(2):
        heard.on_start(event("dlfast.kernels.numba.pool"))
        heard.on_start(event("dlfast.kernels.numba.simd"))
        heard.on_end(event("dlfast.kernels.numba.simd"))
        heard.on_end(event("dlfast.kernels.numba.pool"))
    assert heard.count == 2
    assert capsys.readouterr().err.count("compiling") == 1


def test_key_changes_with_every_source(tmp_path):
    folder = tmp_path / "numba"
    shutil.copytree(KERNELS, folder)
    keys = [jit._sources_key(), jit._sources_key(folder)]
    for path in sorted(folder.glob("*.py")):
        path.write_bytes(path.read_bytes() + b"\n")
        keys.append(jit._sources_key(folder))
    assert keys[0] == keys[1]
    assert len(set(keys)) == len(keys) - 1
    first, second = sorted(folder.glob("*.py"))[1:3]
    line, rest = second.read_bytes().split(b"\n", 1)
    first.write_bytes(first.read_bytes() + line + b"\n")
    second.write_bytes(rest)
    assert jit._sources_key(folder) not in keys


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.py")), ids=lambda path: path.stem)
def test_kernels_hold_nothing_that_the_key_does_not_see(path):
    """What is imported from outside the folder may serve Python code, but not be compiled into a kernel."""
    tree = ast.parse(path.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level > 1]
    outside = {alias.asname or alias.name for node in imports for alias in node.names}
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        decorators = {n.id for each in function.decorator_list for n in ast.walk(each) if isinstance(n, ast.Name)}
        if decorators & {"jit", "helper", "inlined", "mapped", "summed"}:
            names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
            own = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
            own |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
            used = {node.id for node in names} - own
            assert not used & outside, f"{function.name} is compiled with {used & outside} inside"
