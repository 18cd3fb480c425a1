"""Runs a script on several ranks, for tests."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import ranks

import dlfast as dl

ROOT = Path(dl.__file__).parents[1]


def _mpiexec():
    """The mpiexec that belongs to this Python's mpi4py, or the one in the path."""
    return shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")


needs_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None or _mpiexec() is None, reason="needs mpi4py and mpiexec (the extra `mpi`)"
)


def start(count, *command, **variables):
    """A process of mpiexec with so many ranks of one thread each; `variables` are of the environment."""
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "DLFAST_NUM_THREADS": "1", **variables}
    command = [_mpiexec(), "-n", str(count), sys.executable, *map(str, command)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes)


def run(count, *command, **variables):
    """(exit status, output, errors) of a script on so many ranks."""
    process = start(count, *command, **variables)
    try:
        output, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        raise AssertionError(f"the ranks wait for each other:\n{output}\n{errors}") from None
    return process.returncode, output, errors


def job(count, *arguments, **variables):
    """What each rank of a job of ranks.py gives."""
    status, output, errors = run(count, ranks.__file__, *arguments, **variables)
    assert status == 0, errors
    return sorted(
        (json.loads(line) for line in output.splitlines() if line[:1] == "{"), key=lambda found: found["rank"]
    )
