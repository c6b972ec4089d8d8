"""Whether a process is still running, from what this version and older ones recorded of it."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from typing import Any

import psutil
import pytest

from sctransformer.processes import ProcessIdentity

MINE = ProcessIdentity.current()


def test_this_process_is_alive_and_a_finished_one_is_not() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = ProcessIdentity.of(child.pid)
    assert (MINE.is_alive(), identity.is_alive()) == (True, True)
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert identity.is_alive() is False  # not yet reaped
    child.wait()
    assert identity.is_alive() is False


def test_a_reused_pid_is_another_process() -> None:
    assert dataclasses.replace(MINE, started=MINE.started - 60).is_alive() is False
    assert dataclasses.replace(MINE, started=MINE.started + 0.5).is_alive() is True


def test_a_process_of_another_machine_or_container_is_unknown() -> None:
    assert dataclasses.replace(MINE, host="far", process_table="other").is_alive() is None
    assert dataclasses.replace(MINE, process_table="other").is_alive() is None
    assert dataclasses.replace(MINE, host="far", process_table="").is_alive() is None


def test_a_process_from_before_the_last_boot_has_ended() -> None:
    before = psutil.boot_time() - 60
    assert dataclasses.replace(MINE, started=before, process_table="other").is_alive() is False
    assert dataclasses.replace(MINE, started=before, process_table="other", host="far").is_alive() is None


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(MINE.to_dict()),
        {"who": "Ada", "when": "2026-01-01", **MINE.to_dict()},
        json.dumps([MINE.host, MINE.pid, MINE.started]),
        {"host": MINE.host, "pid": MINE.pid, "started": MINE.started},
        {"pid": os.getpid(), "started": MINE.started},
    ],
    ids=["text", "with more fields", "list", "fields", "without a host"],  # the same in every process that runs tests
)
def test_records_of_every_version_are_read(content: Any) -> None:
    read = ProcessIdentity.from_json(content)
    assert (read.host, read.pid, read.started) == (MINE.host, MINE.pid, MINE.started)
    assert read.is_alive() is True


@pytest.mark.parametrize("content", ["no JSON", "[1, 2]", "{}", "3", '{"pid": null, "started": 1}'])
def test_other_content_is_refused(content: str) -> None:
    with pytest.raises(ValueError):
        ProcessIdentity.from_json(content)


def test_sigterm_ends_the_command_also_where_sigint_is_ignored() -> None:
    """As under nohup, or in the background of a script."""
    program = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "from sctransformer.processes import run_interruptible\n"
        "run_interruptible([sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'], "
        "os.environ)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        command = ProcessIdentity.of(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(30) == 143
    assert command.is_alive() is False
