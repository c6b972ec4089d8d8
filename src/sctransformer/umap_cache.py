"""Keep what UMAP compiles: without this, each process that builds a neighbour graph compiles for fifteen seconds."""


def cache_compiled_umap() -> None:
    """Let numba store the two functions of umap-learn that scanpy's `pp.neighbors` calls, as it does the others.

    The next process loads them. Results do not change. The files are in numba's cache
    (https://numba.readthedocs.io/en/stable/developer/caching.html), beside umap-learn or in `NUMBA_CACHE_DIR`.
    """
    from umap import umap_  # slow to import

    for function in (umap_.smooth_knn_dist, umap_.compute_membership_strengths):
        function.enable_caching()
