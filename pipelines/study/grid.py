"""The tasks of a study, each with a digest of everything that decides its result."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.study.cells import Sources
from pipelines.study.config import StudyConfig
from pipelines.study.protocol import best_point
from sctransformer.errors import UserError
from sctransformer.files import read_json, sha256_file, sha256_json
from sctransformer.params import Params
from sctransformer.training.config import Optimisation

PROTOCOL = 2
"""Increased when code changes the result of the same settings, so that finished tasks are run again."""
CELLTYPIST_GENES = 2000
"""CellTypist recommends feature selection. Its penalty is fixed, so with few cells uninformative genes matter: with 18
labelled cells macro-F1 is 0.32 with all 8,863 genes of a file and 0.51 with the 2,000 most variable ones."""
RESULTS = "cells"
"""Folder of the results."""

WEIGHTS = "pretrained"
"""Folder of pretrained weights."""

Kind = Literal["pretraining", "search", "arm", "baseline"]


@dataclass(frozen=True)
class Task:
    """One task, with everything that a worker needs to run it."""

    kind: Kind
    name: str
    """Arm or baseline."""
    percent: float
    seed: int
    point: int
    """Point of the search; 0 for a baseline."""
    repeat: int
    """Inner split of a search; 0 for other tasks."""
    settings: dict[str, Any]
    """Everything that decides the result. The name is not part of it: a renamed arm is not run again."""
    after: "Task | None" = None
    """The pretraining whose weights it starts from."""

    @property
    def digest(self) -> str:
        """Name of the result."""
        return sha256_json(self.settings)[:20]

    @property
    def label(self) -> str:
        """Name of the task in messages."""
        if self.kind == "pretraining":
            return f"{self.name} pretraining s{self.seed} point {self.point}"
        more = f" point {self.point} split {self.repeat}" if self.kind == "search" else ""
        return f"{self.name} {self.percent:g}% s{self.seed}{more}"

    def result(self, out: Path) -> Path:
        """File of the result, which exists when the task is finished."""
        return out / RESULTS / f"{self.digest}.json"

    def weights(self, out: Path) -> Path:
        """Folder of the pretrained weights."""
        return out / WEIGHTS / self.digest

    def ready(self, out: Path) -> bool:
        """Whether its pretraining, if any, is finished."""
        return self.after is None or self.after.result(out).is_file()


@dataclass(frozen=True)
class Filter:
    """Selects tasks by name, percentage and seed; an empty set selects all."""

    names: frozenset[str] = frozenset()
    percents: frozenset[float] = frozenset()
    seeds: frozenset[int] = frozenset()

    @classmethod
    def of(cls, words: Sequence[str], study: StudyConfig) -> "Filter":
        """Parse names of arms and baselines, percentages such as `10%`, and seeds such as `s0`.

        Raises:
            UserError: the study has no such arm, baseline, percentage or seed.
        """
        known: dict[str, tuple[str, Any]] = {name: ("names", name) for name in (*study.arms, *study.baselines)}
        for percent in study.percents:
            known[f"{percent:g}%"] = ("percents", percent)
            known |= {f"s{seed}": ("seeds", seed) for seed in study.seeds_of(percent)}
        for word in words:
            if word not in known:
                raise UserError(f"--only {word}: study {study.name} has {', '.join(known)}.")
        chosen = [known[word] for word in words]
        return cls(
            *(frozenset(value for kind, value in chosen if kind == field) for field in ("names", "percents", "seeds"))
        )

    def selects(self, name: str, percent: float, seed: int) -> bool:
        """Whether a task is selected."""
        return (
            name in (self.names or {name})
            and percent in (self.percents or {percent})
            and seed in (self.seeds or {seed})
        )


@dataclass(frozen=True)
class Grid:
    """The tasks of a study over prepared cells."""

    study: StudyConfig
    sources: Sources
    together: dict[float, list[tuple[int, ...]]]
    """Percentage -> groups of seeds that choose their point of the search together."""
    filter: Filter = Filter()

    def baselines(self) -> Iterator[Task]:
        """One task per baseline, percentage and seed."""
        for percent, seed in self._places():
            for name in self.study.baselines:
                if self.filter.selects(name, percent, seed):
                    own = {"genes": CELLTYPIST_GENES} if name == "celltypist" else {"folds": self.study.inner_folds}
                    settings = self._of_place("baseline", percent, seed) | {"baseline": name} | own
                    yield Task("baseline", name, percent, seed, 0, 0, settings)

    def pretrainings(self) -> Iterator[Task]:
        """Pretraining for every point of the search, since the chosen point is not known yet."""
        for percent, seed in self._places():
            for arm in self.study.arms:
                if any(self.filter.selects(arm, percent, other) for other in self._group(percent, seed)):
                    for point in range(len(self.study.search)):
                        task = self._pretraining(arm, seed, point)
                        if task is not None:
                            yield task

    def searches(self) -> Iterator[Task]:
        """Every point for every arm on the same inner splits; none if there is a single point."""
        if len(self.study.search) < 2:
            return
        for percent, seed in self._places():
            for repeat in range(self.study.repeats_of(percent)):
                for arm in self.study.arms:
                    if any(self.filter.selects(arm, percent, other) for other in self._group(percent, seed)):
                        for point in range(len(self.study.search)):
                            yield self._search(arm, percent, seed, point, repeat)

    def arms(self, out: Path) -> Iterator[Task]:
        """One task per arm, percentage and seed, at the chosen point; only those whose search is finished."""
        for percent, seed in self._places():
            for arm in self.study.arms:
                if self.filter.selects(arm, percent, seed):
                    point = self.chosen_point(arm, percent, seed, out)
                    if point is not None:
                        yield self._arm(arm, percent, seed, point)

    def chosen_point(self, arm: str, percent: float, seed: int, out: Path) -> int | None:
        """The point with the best mean validation macro-F1; None if a score is missing."""
        scores = self.search_scores(arm, percent, seed, out)
        return None if scores is None else best_point(scores)

    def search_scores(self, arm: str, percent: float, seed: int, out: Path) -> list[list[float]] | None:
        """Validation macro-F1 of each point, over inner splits and the seeds of the group; None if unfinished."""
        if len(self.study.search) < 2:
            return [[0.0]]
        scores = []
        for point in range(len(self.study.search)):
            own = []
            for other in self._group(percent, seed):
                for repeat in range(self.study.repeats_of(percent)):
                    file = self._search(arm, percent, other, point, repeat).result(out)
                    if not file.is_file():
                        return None
                    own.append(float(read_json(file)["figures"]["macro_f1"]))
            scores.append(own)
        return scores

    def size(self) -> int:
        """Number of arm and baseline tasks."""
        return sum(
            self.filter.selects(name, percent, seed)
            for percent, seed in self._places()
            for name in (*self.study.arms, *self.study.baselines)
        )

    def _places(self) -> Iterator[tuple[float, int]]:
        for percent in self.study.percents:
            for seed in self.study.seeds_of(percent):
                yield percent, seed

    def _group(self, percent: float, seed: int) -> tuple[int, ...]:
        return next(group for group in self.together[percent] if seed in group)

    def _of_place(self, kind: Kind, percent: float, seed: int) -> dict[str, Any]:
        return {
            "protocol": PROTOCOL,
            "kind": kind,
            "cells": self.sources.cells.name,
            "splits": _sha256(self.study.dataset.split_table),
            "percent": percent,
            "seed": seed,
        }

    def _search(self, arm: str, percent: float, seed: int, point: int, repeat: int) -> Task:
        settings = self._of_place("search", percent, seed) | self._of_model(arm, point, seed)
        settings |= {"repeat": repeat, "validation_share": self.study.validation_share}
        return Task("search", arm, percent, seed, point, repeat, settings, self._pretraining(arm, seed, point))

    def _arm(self, arm: str, percent: float, seed: int, point: int) -> Task:
        settings = self._of_place("arm", percent, seed) | self._of_model(arm, point, seed)
        return Task("arm", arm, percent, seed, point, 0, settings, self._pretraining(arm, seed, point))

    def _pretraining(self, arm: str, seed: int, point: int) -> Task | None:
        params = self.study.params_of(arm, point)
        config = params.train_config(seed)
        if config.pretrain_epochs == 0:
            return None
        settings = self._of_place("pretraining", 0.0, seed) | self._of_model(arm, point, seed)
        settings["params"] |= {"train": config.of_pretraining()}
        return Task("pretraining", arm, 0.0, seed, point, 0, settings)

    def _of_model(self, arm: str, point: int, seed: int) -> dict[str, Any]:
        params = self.study.params_of(arm, point)
        return {"panel": self.sources.panels[seed].name, "params": deciding_params(params)}


@functools.lru_cache(maxsize=4)
def _sha256(path: Path) -> str:
    return sha256_file(path)


def deciding_params(params: Params) -> dict[str, Any]:
    """The parameters that decide the trained model; the control counts only in modes that use edges."""
    uses_edges = params.model.mode in ("mask", "bias")
    return {
        "model": params.model.model_dump(mode="json"),
        "train": params.train_config().model_dump(mode="json", include=set(Optimisation.model_fields)),
        "prior": {"control": params.prior.control if uses_edges else "none"},
    }
