"""Networks for property tests: few genes, so that edges repeat, are reciprocal and conflict."""

import pandas as pd
from hypothesis import strategies as st

from sctransformer.prior.network import Network, repaired
from sctransformer.prior.repairs import Repairs

GENES = [f"G{index}" for index in range(8)]

line = st.tuples(
    st.sampled_from(GENES),
    st.sampled_from(GENES),
    st.sampled_from([-1, 0, 1]),
    st.floats(min_value=1e-6, max_value=1.0, exclude_min=True),
    st.sampled_from(["one", "two", "two;one", "three"]),
)
lines = st.lists(line, min_size=1, max_size=40).filter(lambda rows: any(row[0] != row[1] for row in rows))


def frame(rows: list[tuple[str, str, int, float, str]]) -> pd.DataFrame:
    """Lines as a reader returns them."""
    return pd.DataFrame(rows, columns=["regulator", "target", "sign", "confidence", "sources"])


networks: st.SearchStrategy[Network] = lines.map(lambda rows: repaired(frame(rows), "test", Repairs()))
