"""Scores while a model is being trained: live weights in a running engine, a Trainer callback, a checkpoint watcher."""
