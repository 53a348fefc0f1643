"""Overlap: D fitted on the tokens that both vocabularies have (arXiv:2412.21140, section 2.2)."""

from lep_plugins.conversion import Origin
from lep_plugins.propagation.fit import fitted
from lep_plugins.propagation.methods import Method

METHOD = Method("overlap", lambda setting: fitted(setting, Origin.COPIED))
