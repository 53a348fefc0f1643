"""Finished runs for others: the formats of other tools, trackers of experiments, and repositories of the Hub."""
