"""Types of the public functions, which `__init__.py` imports when they are first used."""

from sctransformer.api import Model as Model
from sctransformer.api import UserError as UserError
from sctransformer.api import annotate as annotate
from sctransformer.api import load_model as load_model
from sctransformer.api import promote as promote
from sctransformer.api import rank_regulators as rank_regulators
from sctransformer.api import read_bundle as read_bundle
from sctransformer.api import read_network as read_network
from sctransformer.api import register as register
from sctransformer.api import regulators as regulators
from sctransformer.api import report as report
from sctransformer.api import rollback as rollback
from sctransformer.api import train as train

__version__: str
