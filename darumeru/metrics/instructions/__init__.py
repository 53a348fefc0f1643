"""Checks of verifiable instructions: IFEval in English and the Russian rules of ruIFEval."""
