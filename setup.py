"""Build of the Cython extensions and the mapping of kernels/ to dlfast.kernels; all else is in pyproject.toml."""

import os
import subprocess
import sys
from glob import glob
from pathlib import Path

import numpy
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

KERNELS, RUNTIME, CUDA = "kernels/cython", "kernels/runtime", "kernels/cuda"
HEADERS = sorted(
    path for end in ("h", "pxi") for path in glob(f"{KERNELS}/**/*.{end}", recursive=True) + glob(f"{RUNTIME}/*.{end}")
)
WINDOWS = os.name == "nt"
HOST_OF_CUDA = [] if WINDOWS else sorted(glob(f"{CUDA}/*.pyx"))  # its fibers switch stacks as POSIX has it
SANITIZE = bool(os.environ.get("SANITIZE"))  # see ci/sanitize
GNU_FLAGS = ["-O3", "-g0", "-fno-math-errno", "-ffp-contract=fast", "-pthread"]
GNU_FLAGS += ["-falign-functions=64", "-falign-loops=64"]  # else unrelated code moves a loop, and 5 % of a small step
if SANITIZE:
    # A check is a call, and checks that others imply stay out: else compiling takes an hour.
    GNU_FLAGS += ["-O1", "-g1", "-fno-omit-frame-pointer", "-DDL_SANITIZE", "-fno-sanitize-recover=all"]
    GNU_FLAGS += ["-fsanitize=address,alignment,bounds,shift,signed-integer-overflow,integer-divide-by-zero"]
    GNU_FLAGS += ["--param", "asan-instrumentation-with-call-threshold=0"]


class BuildExtensions(build_ext):
    """Builds on all cores: Cython cannot translate in threads, so each .pyx is translated by a process of its own."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extension(self, ext):
        ext.sources = [self.translate(ext, source) for source in ext.sources]
        super().build_extension(ext)

    def translate(self, ext, source):
        """Write the C file of a .pyx below the build folder, where neither the wheel nor a commit picks it up."""
        target = Path(self.build_temp, source).with_suffix(".c")
        target.parent.mkdir(parents=True, exist_ok=True)
        included = [
            path for path in ext.depends if path.endswith((".pxi", ".pxd"))
        ]  # headers are only read by the C compiler
        if self.force or newer_group([source, *included], str(target)):
            name = self.get_ext_fullname(ext.name)
            command = [sys.executable, "-m", "cython", "-3", "--module-name", name, source, "-o", str(target)]
            subprocess.run(command, check=True)
        return str(target)


def extension(package, source, depends=(), headers=(KERNELS, "kernels")):
    """The extension module of one .pyx."""
    return Extension(
        f"{package}.{Path(source).stem}",
        [Path(source).as_posix()],
        include_dirs=[*headers, numpy.get_include()],
        depends=[*depends],
        extra_compile_args=["/O2"] if WINDOWS else GNU_FLAGS,
        extra_link_args=[] if WINDOWS else ["-pthread", *(["-fsanitize=address,undefined"] if SANITIZE else [])],
    )


setup(
    packages=[
        *find_packages(include=["dlfast", "dlfast.*"]),
        "dlfast.kernels",
        *(f"dlfast.kernels.{name}" for name in find_packages("kernels")),
    ],
    package_dir={"dlfast.kernels": "kernels"},
    ext_modules=[
        *(extension("dlfast", source, glob("dlfast/*.pxd")) for source in sorted(glob("dlfast/*.pyx"))),
        *(extension("dlfast.kernels.runtime", source, HEADERS) for source in sorted(glob(f"{RUNTIME}/*.pyx"))),
        *(extension("dlfast.kernels.cython", source, HEADERS) for source in sorted(glob(f"{KERNELS}/*.pyx"))),
        *(extension("dlfast.kernels.cuda", source, glob(f"{CUDA}/*.h"), [CUDA]) for source in HOST_OF_CUDA),
    ],
    cmdclass={"build_ext": BuildExtensions},
    # An editable installation as a line in a .pth file: type checkers do not see the import hooks of the other modes.
    options={"editable_wheel": {"mode": "compat"}},
)
