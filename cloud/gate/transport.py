"""How a gate's port is opened: gRPC's options, TLS, and the refusal to share it silently.

Traps that shaped the options: gRPC's own limits would let one stalled reader pin megabytes
(bdp_probe, message size) and a silent connection wait two minutes for its handshake, its keepalive
floor kills a client that pings, and a misspelt option is ignored (see tests/gate/test_traps.py).
"""

import grpc

from cloud.gate.authority import CertificateAuthority, ServerIdentity
from protos.limits import MESSAGE_BYTES_MAX, STREAMS_MAX

REUSE_PORT = "grpc.so_reuseport"
CLIENT_PING_FLOOR_MS = 5_000
STREAMS_PER_CONNECTION_MAX = 8
HANDSHAKE_MS_MAX = 10_000
CALLS_MAX = STREAMS_MAX + 1_024
"""Of one port, streams that are still being ended included."""

OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", CLIENT_PING_FLOOR_MS),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION_MAX),
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS_MAX),
    # On by default: a second aggregator would take every other gateway without a word.
    (REUSE_PORT, 0),
)


def make_server(*, shares_port: bool = False) -> grpc.aio.Server:
    """A server of this process's loop. Only gates of one aggregator may share a port."""
    options = [(REUSE_PORT, 1) if name == REUSE_PORT and shares_port else (name, value)
               for name, value in OPTIONS]  # fmt: skip
    return grpc.aio.server(options=options, maximum_concurrent_rpcs=CALLS_MAX)


def server_identity(authority: CertificateAuthority, host: str) -> ServerIdentity:
    """The certificate that every port of this aggregator shows."""
    return authority.server_identity((host, "localhost"))


def credentials(identity: ServerIdentity, client_roots: bytes | None) -> grpc.ServerCredentials:
    """TLS; mutual where client roots are given."""
    return grpc.ssl_server_credentials(
        [(identity.key, identity.chain)],
        root_certificates=client_roots,
        require_client_auth=client_roots is not None,
    )


def bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> int:
    """Listens; returns the port. Raises OSError where the address is taken."""
    try:
        port: int = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(
            f"cannot listen on {address}; is another aggregator running there?"
        ) from error
    return port
