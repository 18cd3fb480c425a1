"""Which backend serves an operation: use_backend, preferences, the table of `auto`, broken and missing kernels."""

import sys

import numpy as np
import pytest

import dlfast
from dlfast import kernels
from dlfast.kernels import auto, use_backend

CACHED = (kernels.operations, kernels.pair, kernels.built, kernels._module)
KERNEL = """
def {op}_forward(x):
    return x + 1, ()

def {op}_backward(dy, saved, needs):
    return (dy,)
"""


@pytest.fixture
def add_file(tmp_path, monkeypatch):
    """add_file(backend, family, source): a kernel file as if it lay in the backend's folder, before those there."""

    def add(backend, family, source):
        package = getattr(kernels, backend, None) or __import__(f"{kernels.__name__}.{backend}", fromlist=["_"])
        folder = tmp_path / backend
        folder.mkdir(exist_ok=True)
        (folder / f"{family}.py").write_text(source)
        monkeypatch.setattr(package, "__path__", [str(folder), *package.__path__])
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{family}", raising=False)
        forget()

    yield add
    for name in [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]
    monkeypatch.undo()
    forget()


def forget():
    for function in CACHED:
        function.cache_clear()
    use_backend(*kernels.get_backend())


def test_auto_is_the_default():
    assert kernels.get_backend() == ("auto",)


def test_package_exports_use_backend():
    assert dlfast.use_backend is use_backend


@pytest.mark.parametrize("names", [("torch",), ("NumPy",), ("",), (), ("numba", "tpu")])
def test_unknown_name(names):
    with pytest.raises(ValueError, match="unknown backend .*; known are auto, reference, numba, cython"):
        use_backend(*names)
    assert kernels.get_backend() == ("auto",)


def test_cuda_is_chosen_by_the_arrays():
    assert "cuda" not in kernels.BACKENDS
    with pytest.raises(ValueError, match="the kernels of 'cuda' serve arrays that lie on a device"):
        use_backend("cuda")
    assert kernels.get_backend() == ("auto",)


def test_backend_that_is_not_built(monkeypatch):
    monkeypatch.setattr(kernels, "built", lambda name: name != "numba")
    with pytest.raises(RuntimeError, match="'numba' is not part of this installation"):
        use_backend("numba")
    assert kernels.get_backend() == ("auto",)


@pytest.mark.parametrize("backend", ["reference", "numba", "cython"])
def test_chosen_backend_serves(backend):
    with use_backend(backend):
        assert kernels.get_backend() == (backend,)
        assert kernels.active("linear") == kernels.pair("linear", backend)
        assert kernels.active_step("adam") is kernels.pair("adam_step", backend)


def test_plain_call_holds_until_changed():
    use_backend("cython")
    use_backend("reference")
    assert kernels.active("relu") == kernels.pair("relu", "reference")


def test_with_restores():
    use_backend("cython")
    with use_backend("reference"):
        with use_backend("numba", "reference"):
            assert kernels.get_backend() == ("numba", "reference")
        assert kernels.get_backend() == ("reference",)
    assert kernels.get_backend() == ("cython",)


def test_with_restores_after_an_exception():
    with pytest.raises(ZeroDivisionError), use_backend("reference"):
        raise ZeroDivisionError
    assert kernels.get_backend() == ("auto",)


def test_one_that_lacks_the_operation_raises_and_names_those_that_have_it(add_file):
    add_file("reference", "novelty", KERNEL.format(op="brand_new"))
    add_file("cython", "novelty", KERNEL.format(op="brand_new"))
    with use_backend("numba"), pytest.raises(RuntimeError) as error:
        kernels.active("brand_new")
    for part in ("'numba'", "'brand_new'", "(these have: reference, cython)", "use_backend('numba', 'reference')"):
        assert part in str(error.value)


def test_the_next_of_several_stands_in(add_file):
    add_file("reference", "novelty", KERNEL.format(op="brand_new"))
    with use_backend("numba", "cython", "reference"):
        assert kernels.active("brand_new") == kernels.pair("brand_new", "reference")
        assert kernels.active("linear") == kernels.pair("linear", "numba")


def test_a_new_file_is_a_new_operation(add_file):
    assert "brand_new" not in kernels.operations()
    add_file("reference", "novelty", KERNEL.format(op="brand_new"))
    assert kernels.operations()["brand_new"] == "novelty"
    assert kernels.backends_of("brand_new") == ["reference"]
    assert kernels.auto_table()["brand_new"] == "reference"
    assert kernels.active("brand_new")[0](np.ones(2))[0].tolist() == [2, 2]


def test_what_a_file_imports_is_no_operation_of_its_family(add_file):
    source = (
        "from .elementwise import relu_backward, relu_forward\nfrom .linear import linear_forward as dense_forward\n"
    )
    add_file("reference", "novelty", source + KERNEL.format(op="brand_new"))
    assert kernels.operations()["brand_new"] == "novelty"
    assert kernels.operations()["relu"] == "elementwise"
    assert "dense" not in kernels.operations()


def test_operations_knows_the_main_ones():
    assert kernels.operations()["conv2d"] == "conv"
    assert kernels.operations()["adam_step"] == "optim"
    with pytest.raises(KeyError):
        kernels.active("no_such_operation")


def test_auto_names_a_backend_that_has_the_operation():
    table = kernels.auto_table()
    assert table.keys() == kernels.operations().keys()
    for op, backend in table.items():
        assert backend in kernels.backends_of(op)
        assert kernels._table[op] == kernels.pair(op, backend)


def test_measured_choices_are_of_operations_and_backends():
    for op, backend in auto.CHOICE.items():
        assert backend in kernels.backends_of(op)


def test_auto_takes_the_measured_choice(monkeypatch):
    for backend in ("reference", "cython"):
        monkeypatch.setitem(auto.CHOICE, "linear", backend)
        assert kernels.auto_table()["linear"] == backend


def test_auto_takes_cython_for_small_arrays(monkeypatch):
    monkeypatch.setattr(auto, "SMALL", 5)
    op, small, large = "mse", np.ones(4), np.ones(5)
    assert kernels.small_size(op) == 5
    assert kernels.active(op, small) == kernels.pair(op, "cython")
    assert kernels.active(op, large) == kernels.pair(op, "numba") == kernels.active(op)
    with use_backend("numba"):
        assert kernels.active(op, small) == kernels.pair(op, "numba")


def test_small_arrays_where_cython_lacks_the_operation(add_file):
    add_file("reference", "novelty", KERNEL.format(op="brand_new"))
    assert kernels.small_size("brand_new") == 0
    assert kernels.active("brand_new", np.ones(1)) == kernels.pair("brand_new", "reference")


@pytest.mark.parametrize("names", [("auto",), ("numba", "reference")])
@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise ImportError('a library is missing')", ImportError),
        ("def (", SyntaxError),
        ("def linear_forward(): pass", AttributeError),  # its backward is missing
    ],
)
def test_broken_file_raises_and_nothing_stands_in(add_file, monkeypatch, source, error, names):
    add_file("numba", "linear", source)
    monkeypatch.setitem(auto.CHOICE, "linear", "numba")
    with use_backend(*names), pytest.raises(error):
        kernels.active("linear")


def test_kernels_are_looked_up_again_after_a_change():
    with use_backend("reference"):
        first = kernels.active("linear")
    with use_backend("cython"):
        assert kernels.active("linear") != first


def test_watch_notes_what_runs():
    x, w = np.ones((3, 4), np.float32), np.ones((2, 4), np.float32)
    with kernels.use_backend("numba", "reference"):
        with kernels.watch() as calls:
            kernels.active("linear")[0](x, w, None, activation="relu")
            kernels.active_step("sgd")
        kernels.active("linear")[0](x, w, None, activation=None)
    assert calls == [("linear", "numba", ((3, 4), (2, 4), None), {"activation": "relu"}, None)]
    assert kernels.get_backend() == ("auto",)
    with pytest.raises(ZeroDivisionError), kernels.watch():
        1 / 0  # noqa: B018
    assert type(kernels._table) is kernels._Table
