"""Sweeps over a space of settings; empty so far."""
