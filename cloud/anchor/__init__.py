"""Roots written to a chain that the operator does not run. Optional; nothing else needs it."""
