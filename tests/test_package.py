"""The package as others get it: the wheel's contents, its work outside the repository, what an import costs."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IGNORED = shutil.ignore_patterns(
    ".git", ".venv", ".*cache", ".benchmarks", "__pycache__", "build", "dist", "runs", "*.egg-info", "*.so", "*.pyd"
)
BACKENDS = ("reference", "numba", "cython")
NOT_NEEDED = ("matplotlib", "torch", "onnx", "scipy", "pandas")  # by `import dlfast` alone

TRAINING = """
import sys
from pathlib import Path

import dlfast as dl
from dlfast import functional as F, nn, optim

backend, site = sys.argv[1:]
assert Path(dl.__file__).is_relative_to(site), dl.__file__
assert Path(dl.kernels.__file__).is_relative_to(site), dl.kernels.__file__

dl.manual_seed(0)
x, y = next(iter(dl.data.DataLoader(dl.data.load("digits"), batch_size=32)))
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 4 * 4, 10)
)
optimizer = optim.Adam(model.parameters(), lr=1e-2)
losses = []
with dl.use_backend(backend, "reference"):
    for _ in range(10):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
assert losses[-1] < 0.7 * losses[0], losses
print("trained", backend)
"""


def _run(*command, cwd, **environment):
    """Run a command to its end; its output becomes the assertion's message where it fails."""
    env = {**os.environ, **environment}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """(sdist, wheel): the wheel is built from the sdist, and that from a copy, so that no old build leaks in."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT, folder / "tree", ignore=IGNORED)
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, cwd=folder / "tree")
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def site(distributions, tmp_path_factory):
    """A folder that holds the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    _run(*pip, "--target", folder, distributions[1], cwd=folder)
    return folder


def _sources(folder, pattern):
    """Files below a folder of the repository, relative to it."""
    files = (path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob(pattern) if path.is_file())
    return {path.as_posix() for path in files if "__pycache__" not in path.parts}


def test_wheel_holds_the_package_alone(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
    metadata = {name for name in names if name.startswith("dlfast_kernels-") and ".dist-info/" in name}
    assert any(name.endswith("/LICENSE") for name in metadata)
    extensions = {name for name in names if name.endswith((".so", ".pyd"))}
    compiled = {*_sources("dlfast", "*.pyx"), *(f"kernels/{name}" for name in _sources("kernels", "*.pyx"))}
    assert {name.split(".")[0] for name in extensions} == {f"dlfast/{name.removesuffix('.pyx')}" for name in compiled}
    files = {f"dlfast/{name}" for name in _sources("dlfast", "*") if not name.endswith((".pyx", ".pxd", ".so", ".pyd"))}
    files |= {f"dlfast/kernels/{name}" for name in _sources("kernels", "*.py")}
    assert names - metadata - extensions == files


def test_wheel_has_every_backend(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = wheel.namelist()
    for backend in BACKENDS:
        assert f"dlfast/kernels/{backend}/__init__.py" in names
        assert sum(name.startswith(f"dlfast/kernels/{backend}/") for name in names) > 1


def test_sdist_holds_what_the_build_needs(distributions):
    with tarfile.open(distributions[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    for pattern in ("*.py", "*.pyi", "*.pyx", "*.h"):
        for folder in ("dlfast", "kernels"):
            assert {f"{folder}/{name}" for name in _sources(folder, pattern)} <= names
    assert {f"tests/{name}" for name in _sources("tests", "*.py")} <= names
    assert {"pyproject.toml", "setup.py", "LICENSE", "README.md", "ci/setup"} <= names
    assert not {name for name in names if name.endswith((".c", ".so", ".pyd", ".pyc"))}


@pytest.mark.parametrize("backend", BACKENDS)
def test_installed_wheel_trains(backend, site, tmp_path):
    script = tmp_path / "training.py"
    script.write_text(TRAINING)
    out = _run(sys.executable, script, backend, site, cwd=tmp_path, PYTHONPATH=str(site))
    assert out.splitlines()[-1] == f"trained {backend}"


def test_installed_command_runs(site, tmp_path):
    out = _run(sys.executable, site / "bin" / "dlfast", "--help", cwd=tmp_path, PYTHONPATH=str(site))
    assert all(command in out for command in ("demo", "info", "gradcheck"))


def test_version_is_the_installed_one(site, tmp_path):
    code = "import dlfast, importlib.metadata as m; print(dlfast.__version__ == m.version('dlfast-kernels'))"
    assert _run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(site)).strip() == "True"


def test_kernels_folder_is_no_package_of_its_own():
    done = subprocess.run([sys.executable, "-c", "import kernels"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "ImportError" in done.stderr
    assert "dlfast.kernels" in done.stderr


def test_import_loads_only_what_it_needs(tmp_path):
    code = "import sys, dlfast; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = _run(sys.executable, "-c", code, cwd=tmp_path).split()
    assert "dlfast" in loaded
    assert [name for name in NOT_NEEDED if name in loaded] == []


def test_type_checkers_find_the_installed_package(tmp_path):
    """In an editable installation too: they read .pth files, but run no import hooks."""
    pytest.importorskip("mypy")
    code = "import dlfast; reveal_type(dlfast.Tensor([1.0]))"
    out = _run(sys.executable, "-m", "mypy", "--cache-dir", tmp_path / "cache", "-c", code, cwd=tmp_path)
    assert 'Revealed type is "dlfast.tensor.Tensor"' in out
