"""Work in threads: order, errors, and the end of the threads."""

import threading
import time
from collections.abc import Iterator

import pytest

from sctransformer.annotation.parallel import in_order
from sctransformer.errors import UserError


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_keep_the_order_of_the_items_also_if_one_is_slow(threads: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.05 if item in (0, 7) else 0.0)
        return 2 * item

    assert list(in_order(work, range(40), threads)) == list(range(0, 80, 2))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_is_raised_in_its_place_and_the_rest_is_dropped(threads: int) -> None:
    called: list[int] = []

    def work(item: int) -> int:
        called.append(item)
        if item == 5:
            raise UserError("broken")
        return item

    before, results = threading.active_count(), in_order(work, range(1000), threads)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(UserError, match="broken"):
        next(results)
    assert threading.active_count() == before
    assert len(called) < 50


def test_an_error_of_the_items_ends_the_threads() -> None:
    def items() -> Iterator[int]:
        yield from range(30)
        raise UserError("cannot be read")

    before = threading.active_count()
    with pytest.raises(UserError, match="cannot be read"):
        list(in_order(lambda item: item, items(), 2))
    assert threading.active_count() == before


def test_few_items_are_taken_ahead_and_the_threads_end_with_their_consumer() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    before, results = threading.active_count(), in_order(lambda item: item, items(), 2)
    assert next(results) == 0
    assert len(taken) < 20
    results.close()
    assert threading.active_count() == before


def test_items_are_worked_on_at_once() -> None:
    both = threading.Barrier(2, timeout=60)
    assert len(list(in_order(lambda _: both.wait(), range(2), 2))) == 2  # one thread would wait for ever
