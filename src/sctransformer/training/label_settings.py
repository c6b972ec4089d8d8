"""Settings of the classifier of cell types."""

from typing import Annotated

from pydantic import Field

from sctransformer.settings import Settings


class LabelSettings(Settings):
    """The classifier of cell types: a linear map that averages several logistic regressions."""

    genes: bool = True
    """Whether logistic regressions on the expression of all genes of the panel are candidates."""
    scaled_genes: bool = True
    """Whether, with `genes`, logistic regressions on standardised expression are candidates too, if the cells are few
    enough for a second matrix (20 million values)."""
    components: tuple[Annotated[int, Field(ge=1)], ...] = (20, 50, 100)
    """Logistic regressions on this number of leading principal components are candidates; several numbers."""
    activities: bool = True
    """Whether logistic regressions on the activities of regulators are candidates, if the model has any."""
    penalties: tuple[Annotated[float, Field(gt=0.0)], ...] = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    """L2 penalties that are tried, relative to the mean log-loss, with inputs scaled to a mean squared length of 1."""
    folds: int = Field(default=5, ge=2)
    """Maximum number of folds of the cross-validation that chooses the regressions."""
    picks: int = Field(default=12, ge=1)
    """Maximum number of regressions that are averaged; one that is chosen several times has a larger weight."""
    max_cells: int = Field(default=50_000, ge=100)
    """Maximum number of labelled cells that the regressions are fitted on; if there are more, cells of the largest
    classes are left out at random. It bounds memory and time."""
