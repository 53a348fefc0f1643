"""Initialization of the rows of new tokens; `initialize_embeddings` makes a whole model of a model and a tokenizer."""

from lep_plugins.initialization.initialize import initialize_embeddings

__all__ = ["initialize_embeddings"]
