"""Every maximum that edge and cloud both enforce. A number that is not bounded here is a defect."""

from protos.clock import MINUTE_NS, SECOND_NS, SLOTS_PER_DAY

MESSAGE_BYTES_MAX = 256 * 1024
"""One gRPC message. gRPC's own default of 4 MiB would let a peer pin that much per stream."""

PAYLOAD_BYTES_MAX = 64 * 1024
"""The signed payload inside one envelope."""

SWEEPS_PER_BATCH_MAX = 600
REGISTERS_PER_MAP_MAX = 1_024
DEVICES_PER_MAP_MAX = 128
VALUES_PER_BATCH_MAX = 65_536
"""Sweeps times columns in one batch: bounds what decoding a hostile header can cost."""

OFFERS_PER_BATCH_MAX = 256
OPEN_OFFERS_PER_DEVICE_MAX = 512
OFFER_ENERGY_WH_MAX = 10_000_000
"""10 MWh in one slot is 40 MW: no home, and still far below where 64-bit money could overflow."""

PRICE_MICRO_PER_KWH_MAX = 1_000_000_000
SLOTS_AHEAD_MAX = SLOTS_PER_DAY
"""A market opens one day before delivery."""

CLOCK_AHEAD_NS_MAX = 30 * SECOND_NS
"""A batch whose newest reading lies further in the cloud's future than this is refused."""

READING_AGE_NS_MAX = 40 * 24 * 60 * MINUTE_NS
"""30 days offline, and ten more for the backlog to drain."""

UNACKNOWLEDGED_BATCHES_MAX = 64
"""How many envelopes a gateway may have in flight on one stream."""

GLIMPSE_PERIOD_S = 4
"""How often a gateway with a backlog shows its newest envelope out of order."""

STREAMS_MAX = 5_000
WRITER_INBOX_MAX = 8_192
DOWNLINK_QUEUE_MAX = 256
CONSOLE_QUEUE_MAX = 4

LEASE_NS_MAX = 24 * 60 * MINUTE_NS
"""No setpoint outlives a day without being given again."""

SETPOINT_W_MAX = 1_000_000
ENROLMENT_TOKEN_NS = 15 * MINUTE_NS
ENROLMENT_FAILURES_PER_MINUTE_MAX = 20
CERTIFICATE_NS = 24 * 60 * MINUTE_NS
RECEIPT_BYTES_MAX = 2_048
BLOCK_NS = 3 * SECOND_NS
"""A root is published this often (in the machine's own seconds, whatever the demo's speed)."""
