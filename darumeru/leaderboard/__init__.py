"""Boards, comparisons and reports of runs: values first, then renderers."""
