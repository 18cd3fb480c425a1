"""no_grad, enable_grad, set_grad_enabled, inference_mode: as managers, decorators, and around what runs in steps."""

import asyncio

import numpy as np
import pytest
from peers import needs_torch, torch
from samples import leaf

import dlfast as dl


def records():
    return (leaf(2) * 2).requires_grad


def plain():
    """Says."""
    return records()


def generator():
    sent = yield records()
    try:
        yield sent, records()
    except KeyError:
        yield records()
    return records()


async def coroutine():
    first = records()
    await asyncio.sleep(0)
    return first, records()


DECORATORS = [
    dl.no_grad(),
    dl.no_grad,
    dl.inference_mode(),
    dl.inference_mode,
    lambda function: dl.set_grad_enabled(False)(function),
]


@pytest.mark.parametrize("decorate", DECORATORS)
def test_decorators_hold_for_every_line_of_the_function(decorate):
    assert decorate(plain)() is False
    assert decorate(plain).__doc__ == "Says."
    steps = decorate(generator)()
    assert next(steps) is False
    assert records()
    assert steps.send(3) == (3, False)
    assert steps.throw(KeyError) is False
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value is False
    assert asyncio.run(decorate(coroutine)()) == (False, False)
    assert records()


def test_a_generator_that_is_closed_or_fails():
    seen = []

    @dl.no_grad
    def watched():
        try:
            yield 1
        finally:
            seen.append(records())

    steps = watched()
    next(steps)
    steps.close()
    assert seen == [False]
    assert records()

    @dl.no_grad()
    def failing():
        yield 1
        raise ZeroDivisionError

    steps = failing()
    next(steps)
    with pytest.raises(ZeroDivisionError):
        next(steps)
    assert records()


def test_modes_inside_modes():
    with dl.no_grad():
        with dl.enable_grad():
            assert records()
            assert dl.is_grad_enabled()
            with dl.set_grad_enabled(False):
                assert not records()
            assert records()
        assert not records()
        assert dl.enable_grad(plain)()
        with dl.inference_mode(False):
            assert not dl.is_grad_enabled()
    assert records()
    again = dl.no_grad()
    with again, again:
        pass
    assert records()
    dl.set_grad_enabled(False)
    try:
        assert not records()
    finally:
        dl.set_grad_enabled(True)


def test_methods_and_what_cannot_be_decorated():
    class Model:
        @dl.no_grad
        def run(self):
            return records()

    assert Model().run() is False

    async def numbers():
        yield 1

    for wrong in (Model, numbers, 3):
        with pytest.raises(TypeError, match="no_grad: decorate a function or a method"):
            dl.no_grad()(wrong)


@needs_torch
def test_pytorch_does_the_same():
    def tell(library):
        x = library.tensor([1.0], requires_grad=True)

        @library.no_grad()
        def steps():
            yield (x * 2).requires_grad
            with library.enable_grad():
                yield (x * 2).requires_grad

        found = []
        for value in steps():
            found += [value, (x * 2).requires_grad]
        return found

    assert tell(dl) == tell(torch)
    assert np.float32 is dl.float32
