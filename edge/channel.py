"""How the agent opens a connection: TLS always, small messages, no hidden buffers.

The only place with gRPC's option names; a misspelt one is silently ignored by the library.
"""

from pathlib import Path

import grpc
import grpc.aio

from protos.limits import MESSAGE_BYTES_MAX

# A probe of the bandwidth would let a peer pin 4 MiB of buffers a stream. Pings of the transport
# only find dead paths; the application's own heartbeats keep address translation alive.
_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # The agent has its own back-off; the library's must not lengthen it.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


def open_channel(
    address: str,
    ca: Path,
    server_name: str = "",
    identity: tuple[bytes, bytes] | None = None,
) -> "grpc.aio.Channel":
    """A channel to host:port whose certificate the authority in `ca` signed.

    `identity` is the private key and the certificate chain, both PEM. Raises OSError.
    """
    key, chain = identity or (None, None)
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key, chain)
    options = list(_OPTIONS)
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    return grpc.aio.secure_channel(address, credentials, options=options)
