"""A signal stops a command, wherever it arrives."""

import os
import signal
import time
import weakref

import pytest

from sctransformer.stopping import TERMINATED, stoppable


class Thing:
    """Something that a weak reference can be had of."""


def lose(signum: signal.Signals) -> None:
    """Take the signal in a callback whose exceptions Python drops."""
    thing = Thing()
    held = weakref.ref(thing, lambda reference: os.kill(os.getpid(), signum))
    del thing
    assert held() is None


@pytest.mark.parametrize(("signum", "expected"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_that_comes_in_a_callback_is_heard(signum: signal.Signals, expected: type[BaseException]) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)
    with pytest.raises(expected) as caught, stoppable():
        lose(signum)
        time.sleep(5)
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == TERMINATED
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)) == before


def test_other_exceptions_of_callbacks_go_where_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: received.append(unraisable.exc_value))
    with stoppable():
        thing = Thing()
        held = weakref.ref(thing, lambda reference: 1 // 0)
        del thing
        assert held() is None
    assert [type(one) for one in received] == [ZeroDivisionError]
