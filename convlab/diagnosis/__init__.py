"""Findings from the evidence of a run, each with its numbers and a remedy."""
