"""Judging: a model is asked about stored answers, in the same stream and store as everything that is asked."""
