"""Swap: the donor's embeddings as they are (D = I; arXiv:2412.21140, section 2.2)."""

from lep_plugins.propagation.changes import Unchanged
from lep_plugins.propagation.methods import Method, Outcome

METHOD = Method("swap", lambda setting: Outcome(Unchanged()))
