"""Networks by name: what comes with the package, or a file of the operator's own.

The only module of this room, besides `data`, that opens a file; the pure rest gets bytes.
"""

from pathlib import Path

from cloud.grid.data import SHIPPED, read_shipped
from cloud.grid.network import Network, load_network
from cloud.grid.tables import BYTES_MAX, NetworkError

PROFILES_SUFFIX = ".profiles.npz"


def network_named(name: str) -> Network:
    """`rural` or `tiny`, else the path of a PGM JSON file, gzipped or plain.

    Profiles are looked for next to it: `village.pgm.json.gz` has `village.profiles.npz`, or none.
    Raises NetworkError for unfit data, also where the file is not there.
    """
    if name in SHIPPED:
        return load_network(*read_shipped(name))
    path = Path(name)
    try:
        if path.stat().st_size > BYTES_MAX:
            raise NetworkError(f"network: {name!r} is larger than {BYTES_MAX} bytes")
        data = path.read_bytes()
    except OSError as error:
        known = ", ".join(sorted(SHIPPED))
        raise NetworkError(
            f"network: {name!r} is neither shipped ({known}) nor a readable file: {error}"
        ) from error
    profiles = path.with_name(path.name.split(".")[0] + PROFILES_SUFFIX)
    return load_network(data, profiles.read_bytes() if profiles.is_file() else None)
