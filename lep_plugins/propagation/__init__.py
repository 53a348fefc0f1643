"""Learned Embedding Propagation (arXiv:2412.21140, section 2.2): a Russian vocabulary and its trained embeddings moved
into an instruct-tuned variant of the same base model, without instruction data."""

from lep_plugins.propagation.pipeline import propagate
from lep_plugins.propagation.report import MatrixReport, MovedToken, PropagationReport
from lep_plugins.propagation.step import PropagationStep

__all__ = ["MatrixReport", "MovedToken", "PropagationReport", "PropagationStep", "propagate"]
