"""The class for a real GPU, over the real cuda.core and a stand-in for the driver: calls are checked, not a GPU."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cuda.core", reason="cuda-core is not installed")
HERE = Path(__file__).parent


@pytest.mark.skipif(not (sys.platform == "linux" and shutil.which("cc")), reason="no C compiler for Linux")
def test_calls_of_the_driver(tmp_path):
    library = tmp_path / "libcuda.so.1"
    compile_ = [
        "cc",
        "-O1",
        "-shared",
        "-fPIC",
        "-Wl,-soname,libcuda.so.1",
        "-o",
        library,
        "-x",
        "c",
        HERE / "driver.h",
    ]
    subprocess.run([*compile_, "-ldl", "-lpthread"], check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("DLFAST_CUDA", None)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", HERE / "gpu_calls.py"]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, cwd=HERE.parent.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
