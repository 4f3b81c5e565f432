"""Search space: genes, decoded architectures, and the map between them."""

from evonas.space.architecture import Architecture
from evonas.space.gene import Gene
from evonas.space.limit import Limit
from evonas.space.mutation import Mutation
from evonas.space.search_space import Genome, SearchSpace

__all__ = ["Architecture", "Gene", "Genome", "Limit", "Mutation", "SearchSpace"]
