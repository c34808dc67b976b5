"""`gridtokenx validator`: what the process needs from this machine, and nothing of the aggregator's.

Decides nothing. It loads the same networks as the aggregator: a zone's first command names its
network by hash, so another one is refused at the first record.
"""

from pathlib import Path

from cloud.config import load_config
from cloud.grid.shipped import network_named
from cloud.validator.process import ValidatorOptions, run_validator
from protos.codec import ColumnDecoder, decode_columns


def validate(
    config_path: Path | None,
    url: str,
    key: Path,
    state_dir: Path,
    *,
    log_key: str,
    compare: tuple[str, ...],
    mirror: Path | None,
) -> int:
    """Runs a validator until it is stopped (0) or has caught the operator (1)."""
    config = load_config(config_path)
    networks = {zone.name: network_named(zone.network) for zone in config.zones}
    options = ValidatorOptions(url, key, state_dir, log_key, compare, mirror)
    return run_validator(options, networks, columns_decoder())


def columns_decoder() -> ColumnDecoder:
    """The compiled decoder where it was built, else its readable twin."""
    try:
        from ext import columns
    except ImportError:
        return decode_columns
    return columns.decode
