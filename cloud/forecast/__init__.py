"""Forecasts of load and generation: a port that anything can stand behind, and two that do."""
