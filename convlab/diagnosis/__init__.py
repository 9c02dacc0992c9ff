"""Findings from the evidence of a run or a model; empty so far."""
