"""The prior-biased Transformer for single-cell RNA-seq, from versioned data to scheduled annotation.

The public functions are listed in `sctransformer.api`, and imported when they are first used.
"""

__version__ = "0.1.0"

__all__ = [
    "Model",
    "UserError",
    "__version__",
    "annotate",
    "load_model",
    "promote",
    "rank_regulators",
    "read_bundle",
    "read_network",
    "register",
    "regulators",
    "report",
    "rollback",
    "train",
]


def __getattr__(name: str) -> object:
    """Import a public function when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module("sctransformer.api"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
