"""Prefetching: order, errors, and the end of the thread."""

import threading
import time
from collections.abc import Iterator

import pytest

from sctransformer.annotation.prefetch import prefetch
from sctransformer.errors import UserError


def test_items_keep_their_order() -> None:
    assert list(prefetch(range(50))) == list(range(50))


def test_an_error_in_the_thread_is_raised_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise UserError("broken")

    ahead = prefetch(items())
    assert next(ahead) == 1
    with pytest.raises(UserError, match="broken"):
        next(ahead)


def test_the_thread_is_bounded_and_ends_with_its_consumer() -> None:
    produced = []

    def items() -> Iterator[int]:
        for item in range(1000):
            produced.append(item)
            yield item

    before = threading.active_count()
    ahead = prefetch(items(), depth=2)
    assert next(ahead) == 0
    time.sleep(0.05)
    assert len(produced) <= 4
    ahead.close()
    assert threading.active_count() == before
