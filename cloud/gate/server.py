"""The gate's ports: enrolment (TLS), gateways (mTLS), utilities (mTLS with reflection and health).

Traps that shaped the options: gRPC's own limits would let one stalled reader pin megabytes
(bdp_probe, message size) and a silent connection wait two minutes for its handshake, its keepalive
floor kills a client that pings, and a misspelt option is ignored (see tests/gate/test_traps.py).
"""

from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cloud.gate.authority import CertificateAuthority, ServerIdentity
from cloud.gate.gateways import EnrolmentGate, GatewayGate
from cloud.gate.utility import UtilityGate
from cloud.gate.vpp import VppGate
from protos import gateway_pb2_grpc, utility_pb2, utility_pb2_grpc, vpp_pb2, vpp_pb2_grpc
from protos.limits import MESSAGE_BYTES_MAX, STREAMS_MAX

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
    ("grpc.so_reuseport", 0),
)


@dataclass(slots=True)
class GateServers:
    """The running servers and where they listen."""

    enrolment: grpc.aio.Server
    gateways: grpc.aio.Server
    utility: grpc.aio.Server
    enrolment_port: int
    gateway_port: int
    utility_port: int

    async def stop(self, grace_s: float) -> None:
        for server in (self.enrolment, self.gateways, self.utility):
            await server.stop(grace_s)


@dataclass(frozen=True, slots=True)
class Ports:
    host: str
    enrolment: int
    gateway: int
    utility: int


async def serve(
    ports: Ports,
    authority: CertificateAuthority,
    enrolment_gate: EnrolmentGate,
    gateway_gate: GatewayGate,
    utility_gate: UtilityGate,
    vpp_gate: VppGate,
) -> GateServers:
    """Opens the three ports. Port 0 takes any free one."""
    identity = authority.server_identity((ports.host, "localhost"))
    open_credentials = _credentials(identity, None)
    mutual_credentials = _credentials(identity, authority.certificate_pem)

    gateways = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=CALLS_MAX)
    gateway_gate.add_to(gateways)
    gateway_port = _bind(gateways, f"{ports.host}:{ports.gateway}", mutual_credentials)
    enrolment_gate.gateway_address = f"{ports.host}:{gateway_port}"

    enrolment = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=CALLS_MAX)
    gateway_pb2_grpc.add_EnrolmentServiceServicer_to_server(enrolment_gate, enrolment)
    enrolment_port = _bind(enrolment, f"{ports.host}:{ports.enrolment}", open_credentials)

    utility = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=CALLS_MAX)
    utility_pb2_grpc.add_UtilityServiceServicer_to_server(utility_gate, utility)
    vpp_pb2_grpc.add_VppServiceServicer_to_server(vpp_gate, utility)
    name = utility_pb2.DESCRIPTOR.services_by_name["UtilityService"].full_name
    wholesale = vpp_pb2.DESCRIPTOR.services_by_name["VppService"].full_name
    reflection.enable_server_reflection(
        (name, wholesale, reflection.SERVICE_NAME, health.SERVICE_NAME), utility
    )
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, utility)
    for service in (name, wholesale):
        await checks.set(service, health_pb2.HealthCheckResponse.SERVING)
    utility_port = _bind(utility, f"{ports.host}:{ports.utility}", mutual_credentials)

    for server in (enrolment, gateways, utility):
        await server.start()
    return GateServers(enrolment, gateways, utility, enrolment_port, gateway_port, utility_port)


def _credentials(identity: ServerIdentity, client_roots: bytes | None) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(identity.key, identity.chain)],
        root_certificates=client_roots,
        require_client_auth=client_roots is not None,
    )


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> int:
    try:
        port: int = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(
            f"cannot listen on {address}; is another aggregator running there?"
        ) from error
    return port
