"""The networks that come with the package, as bytes. The only part of this room that opens a file.

`rural` is a derived database of SimBench under the ODbL (see README.md and LICENSE-ODbL.txt next to
this file); `tiny` is six nodes drawn by hand. What the bytes mean is decided in `network.py`.
"""

from importlib.resources import files

SHIPPED: dict[str, tuple[str, str | None]] = {
    "rural": ("rural.pgm.json.gz", "rural_profiles.npz"),
    "tiny": ("tiny.pgm.json", None),
}


def read_shipped(name: str) -> tuple[bytes, bytes | None]:
    """The data and the profiles of a shipped network. Raises KeyError for an unknown name."""
    data, profiles = SHIPPED[name]
    folder = files(__package__)
    return (
        folder.joinpath(data).read_bytes(),
        None if profiles is None else folder.joinpath(profiles).read_bytes(),
    )
