"""Conversion: D fitted on T E_base and T E_target, every donor token that base tokens can spell (arXiv:2412.21140,
section 2.2); the default."""

from lep_plugins.conversion import Origin
from lep_plugins.propagation.fit import fitted
from lep_plugins.propagation.methods import Method

METHOD = Method("conversion", lambda setting: fitted(setting, Origin.COPIED, Origin.MEAN))
