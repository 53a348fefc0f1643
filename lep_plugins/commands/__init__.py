"""The verbs of `darumeru` that the adaptation steps bring with them (entry points `darumeru.commands`)."""
