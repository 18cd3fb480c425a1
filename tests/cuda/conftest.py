"""The device of the tests in this folder: the GPU where there is one, else the host that plays it."""

import pytest

import dlfast as dl


@pytest.fixture(autouse=True, scope="session")
def _device_in_use():
    """Without a GPU, "cuda" is the host in every test here; `with dl.cuda.host(False)` undoes it."""
    if dl.cuda.is_available():
        yield
        return
    with dl.cuda.host():
        yield


@pytest.fixture
def device():
    """What "cuda" is in the tests."""
    return dl.cuda.get_device()


@pytest.fixture(scope="module")
def the_host():
    """Lets the CPU play the GPU, in processes that tests start too, where there is a GPU as well."""
    with pytest.MonkeyPatch.context() as patch, dl.cuda.host():
        patch.setenv("DLFAST_CUDA", "host")
        yield
