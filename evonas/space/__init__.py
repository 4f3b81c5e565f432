"""Search space: genes, decoded architectures, and the map between them."""

from evonas.space.architecture import Architecture
from evonas.space.gene import Gene
from evonas.space.limit import Limit
from evonas.space.mutation import Mutation
from evonas.space.search_space import Genome, SearchSpace
from evonas.space.typed_genes import Choice, Integer, LogFloat, Ordinal

__all__ = [
    "Architecture",
    "Choice",
    "Gene",
    "Genome",
    "Integer",
    "Limit",
    "LogFloat",
    "Mutation",
    "Ordinal",
    "SearchSpace",
]
