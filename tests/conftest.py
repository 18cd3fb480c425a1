"""Every test begins and ends with the default backend and the default number of threads."""

import pytest

from dlfast import kernels
from dlfast.kernels import threads


@pytest.fixture(autouse=True)
def _defaults():
    names, count = kernels.get_backend(), threads.get_num_threads()
    yield
    kernels.use_backend(*names)
    threads.set_num_threads(count)
