"""The Modbus engine: frames, the buses that carry them, and the plan of what to read.

It decides when a frame may be sent and which answer belongs to which question. It must never hand
out a value that might answer a different question.
"""
