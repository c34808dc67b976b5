"""The zone's network: topology, headroom, congestion price, curtailment and the AC referee.

Pure but for `referee.py`'s solver: no file, no clock. Data come as bytes (see `data`).
"""
