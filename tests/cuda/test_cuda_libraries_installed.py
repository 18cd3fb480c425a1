"""cuBLASLt and cuDNN as they are installed, without a GPU: they take our descriptors, and have plans for our graphs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from libraries_without_driver import driver_of_nothing

import dlfast as dl

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="no C compiler for Linux"),
    pytest.mark.skipif(bool(dl.cuda.status().driver), reason="there is a driver; the tests on a GPU ask more"),
]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A folder with a driver that does nothing."""
    folder = tmp_path_factory.mktemp("driver")
    source = folder / "driver.c"
    source.write_text(driver_of_nothing())
    library = folder / "libcuda.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", library, source], check=True)
    return folder


@pytest.mark.parametrize(("what", "module"), [("descriptors", "nvmath"), ("plans", "cudnn")])
def test_what_the_library_says(what, module, driver):
    pytest.importorskip(module, reason=f"{module} is not installed")
    environment = os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join([str(driver), os.environ.get("LD_LIBRARY_PATH", "")]),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    script = Path(__file__).with_name("libraries_without_driver.py")
    run = subprocess.run([sys.executable, script, what], capture_output=True, text=True, env=environment)
    if run.returncode == 77:
        pytest.skip(run.stdout.strip())
    assert run.returncode == 0, run.stderr
