"""`darumeru view`: the runs of a folder as pages on this machine; reads, and writes nothing."""
