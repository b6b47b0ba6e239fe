"""Sweeps: many members of one experiment, planned, trained as populations, and looked at together."""
