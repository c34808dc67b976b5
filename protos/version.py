"""The one version of every part: agent, aggregator and treaty are released together."""

__version__ = "0.1.0"
