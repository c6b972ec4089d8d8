"""One decision about a model at a time, on any MLflow store: a mutex made of tags of the registered model.

MLflow has no compare-and-swap. Every command writes its own tag and then reads all tags; of two that write at the same
time, the one that reads later sees the other, and a command that sees another tag withdraws its own. So two commands
never hold the lock. A tag is removed by its own name, so breaking the lock of a dead command cannot remove the lock of
a running one. A file lock would not do: commands on several machines share only the store.
"""

import contextlib
import json
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sctransformer.errors import UserError
from sctransformer.processes import ProcessIdentity
from sctransformer.registry.lineage import utc_now, who
from sctransformer.registry.names import LOCK_TAG

LEASE_SECONDS = 60.0
"""A lock of another machine that is older than this is taken to be that of a dead command."""
PATIENCE_SECONDS = 90.0
"""How long a command waits for another one."""
_NOTICE_AFTER_SECONDS = 2.0


@dataclass(frozen=True)
class Holder:
    """A command that holds the lock or waits for it."""

    tag: str
    who: str
    when: str
    process: ProcessIdentity

    def __str__(self) -> str:
        return f"{self.who} on {self.process.host} (process {self.process.pid}, {self.when})"


@contextmanager
def exclusive(client: MlflowClient, name: str) -> Iterator[Callable[[], None]]:
    """Hold the lock of a model.

    Args:
        client: of the store.
        name: of a registered model.

    Yields:
        A function to call before each step. It raises if the lock was lost, because this process was suspended for
        longer than the lease and another one took over.

    Raises:
        UserError: another command holds the lock and does not end.
    """
    mine = f"{LOCK_TAG}{uuid.uuid4().hex[:12]}"
    _acquire(client, name, mine)

    def require_held() -> None:
        if mine not in client.get_registered_model(name).tags:
            raise UserError(
                f"model {name!r}: another command took over, because this one was suspended for more than "
                f"{LEASE_SECONDS:.0f} s; look at `sctransformer history {name}` and run it again if needed."
            )

    try:
        yield require_held
    finally:
        with contextlib.suppress(MlflowException):  # the store is unreachable: the next command breaks the lock
            client.delete_registered_model_tag(name, mine)


def holders(client: MlflowClient, name: str) -> list[Holder]:
    """Commands that hold or wait for the lock of a model, or died while doing so."""
    tags = client.get_registered_model(name).tags
    return [_holder(tag, content) for tag, content in sorted(tags.items()) if tag.startswith(LOCK_TAG)]


def release_dead(client: MlflowClient, name: str) -> list[Holder]:
    """Remove the locks of processes of this machine that have ended; returns their holders."""
    dead = [holder for holder in holders(client, name) if holder.process.is_alive() is False]
    for holder in dead:
        _remove(client, name, holder.tag)
    return dead


def _acquire(client: MlflowClient, name: str, mine: str) -> None:
    content = _content()
    started = time.monotonic()
    first_seen: dict[str, float] = {}
    noticed = False
    while True:
        client.set_registered_model_tag(name, mine, content)
        others = [holder for holder in holders(client, name) if holder.tag != mine]
        first_seen = {holder.tag: first_seen[holder.tag] for holder in others if holder.tag in first_seen}
        living = [holder for holder in others if not _is_dead(holder, first_seen)]
        for holder in others:
            if holder not in living:
                _remove(client, name, holder.tag)
        if not others:
            return
        if not living:
            continue  # look again: another command may have come in the meantime
        client.delete_registered_model_tag(name, mine)
        waited = time.monotonic() - started
        if waited > PATIENCE_SECONDS:
            raise UserError(
                f"model {name!r}: {living[0]} is deciding about it and has not finished; run again later, or end that "
                "process first."
            )
        if waited > _NOTICE_AFTER_SECONDS and not noticed:
            print(f"Waiting for {living[0]}, who is deciding about {name!r}.", file=sys.stderr)
            noticed = True
        time.sleep(random.uniform(0.05, 0.5))


def _is_dead(holder: Holder, first_seen: dict[str, float]) -> bool:
    alive = holder.process.is_alive()
    if alive is None:
        since = first_seen.setdefault(holder.tag, time.monotonic())
        return time.monotonic() - since > LEASE_SECONDS
    return not alive


def _remove(client: MlflowClient, name: str, tag: str) -> None:
    with contextlib.suppress(MlflowException):  # already removed by another waiting command
        client.delete_registered_model_tag(name, tag)


def _content() -> str:
    return json.dumps({"who": who(), "when": utc_now(), **ProcessIdentity.current().to_dict()})


def _holder(tag: str, content: str) -> Holder:
    try:
        fields = json.loads(content)
        return Holder(tag, fields["who"], fields["when"], ProcessIdentity.from_json(fields))
    except (ValueError, TypeError, KeyError):  # written by hand or by a later version
        return Holder(tag, "another user", "at an unknown time", ProcessIdentity("another machine", 0, 0.0))
