"""A continued pre-training as a program, for tests that kill it or start it in two processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from darumeru.adaptation.protocols import Candidate, StepContext
from lep_plugins.training.pretraining import Pretrain


def main() -> None:
    """MODEL CORPUS OUTPUT PARAMETERS: run the step; prints the steps of the candidates."""
    model, corpus, output = (Path(name) for name in sys.argv[1:4])
    step = Pretrain(corpus=(str(corpus),), **json.loads(sys.argv[4]))
    for candidate in step.run(StepContext(output), Candidate(model)):
        # One write, or the lines of two ranks run into each other.
        sys.stdout.write(f"candidate {candidate.training_step}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
