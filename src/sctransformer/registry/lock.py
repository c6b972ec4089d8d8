"""One decision about a model at a time, on any MLflow store: a mutex made of tags of the registered model.

MLflow has no compare-and-swap. But every holder writes a tag of its own and then reads them all; of two that write at
once, the one that reads later sees the other, and whoever sees another steps back. So never do two hold the lock. A
tag is removed by its own name, so breaking the lock of a command that died cannot hit the lock of one that lives.
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
"""A lock of another machine that nobody has touched for so long is that of a command that died."""
PATIENCE_SECONDS = 90.0
"""How long a command waits for another one."""
_TOLD_AFTER = 2.0


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
        A function to call before each step: it raises when the lock was lost, because this process stood still for
        longer than the lease and another one took over.

    Raises:
        UserError: another command holds the lock and does not end.
    """
    mine = f"{LOCK_TAG}{uuid.uuid4().hex[:12]}"
    _acquire(client, name, mine)

    def require_held() -> None:
        if mine not in client.get_registered_model(name).tags:
            raise UserError(
                f"model {name!r}: another command took over, because this one stood still for more than "
                f"{LEASE_SECONDS:.0f} s; look at `sctransformer history {name}` and run it again if need be."
            )

    try:
        yield require_held
    finally:
        with contextlib.suppress(MlflowException):  # a store that is gone: the next command finds the lock dead
            client.delete_registered_model_tag(name, mine)


def holders(client: MlflowClient, name: str) -> list[Holder]:
    """Who holds or waits for the lock of a model, or died while it did."""
    tags = client.get_registered_model(name).tags
    return [_holder(tag, content) for tag, content in sorted(tags.items()) if tag.startswith(LOCK_TAG)]


def release_dead(client: MlflowClient, name: str) -> list[Holder]:
    """Remove the locks of processes of this machine that have ended; gives whose they were."""
    dead = [holder for holder in holders(client, name) if holder.process.is_alive() is False]
    for holder in dead:
        _remove(client, name, holder.tag)
    return dead


def _acquire(client: MlflowClient, name: str, mine: str) -> None:
    content = _content()
    begun = time.monotonic()
    first_seen: dict[str, float] = {}
    told = False
    while True:
        client.set_registered_model_tag(name, mine, content)
        others = [holder for holder in holders(client, name) if holder.tag != mine]
        first_seen = {holder.tag: first_seen[holder.tag] for holder in others if holder.tag in first_seen}
        living = [holder for holder in others if not _is_gone(holder, first_seen)]
        for holder in others:
            if holder not in living:
                _remove(client, name, holder.tag)
        if not others:
            return
        if not living:
            continue  # look again: somebody may have come meanwhile
        client.delete_registered_model_tag(name, mine)
        waited = time.monotonic() - begun
        if waited > PATIENCE_SECONDS:
            raise UserError(
                f"model {name!r}: {living[0]} is deciding about it and does not end; run again later, or end that "
                "process first."
            )
        if waited > _TOLD_AFTER and not told:
            print(f"Waiting for {living[0]}, who is deciding about {name!r}.", file=sys.stderr)
            told = True
        time.sleep(random.uniform(0.05, 0.5))


def _is_gone(holder: Holder, first_seen: dict[str, float]) -> bool:
    alive = holder.process.is_alive()
    if alive is None:
        since = first_seen.setdefault(holder.tag, time.monotonic())
        return time.monotonic() - since > LEASE_SECONDS
    return not alive


def _remove(client: MlflowClient, name: str, tag: str) -> None:
    with contextlib.suppress(MlflowException):  # another one that waits has removed it
        client.delete_registered_model_tag(name, tag)


def _content() -> str:
    return json.dumps({"who": who(), "when": utc_now(), **ProcessIdentity.current().to_dict()})


def _holder(tag: str, content: str) -> Holder:
    try:
        fields = json.loads(content)
        return Holder(tag, fields["who"], fields["when"], ProcessIdentity.from_json(fields))
    except (ValueError, TypeError, KeyError):  # set by hand, or by a later version
        return Holder(tag, "somebody", "at an unknown time", ProcessIdentity("another machine", 0, 0.0))
