"""The gate's ports: enrolment (TLS), gateways (mTLS), utilities (mTLS with reflection and health).

With gates in processes of their own (`cloud.gate.links`) the gateways' port is theirs.
"""

from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cloud.gate.authority import CertificateAuthority
from cloud.gate.enrolment import EnrolmentGate
from cloud.gate.gateways import GatewayGate
from cloud.gate.transport import bind, credentials, make_server, server_identity
from cloud.gate.utility import UtilityGate
from cloud.gate.vpp import VppGate
from protos import gateway_pb2_grpc, utility_pb2, utility_pb2_grpc, vpp_pb2, vpp_pb2_grpc


@dataclass(slots=True)
class GateServers:
    """The running servers and where they listen."""

    enrolment: grpc.aio.Server
    gateways: grpc.aio.Server | None
    utility: grpc.aio.Server
    enrolment_port: int
    gateway_port: int
    utility_port: int

    async def stop(self, grace_s: float) -> None:
        for server in (self.enrolment, self.gateways, self.utility):
            if server is not None:
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
    gateway_gate: GatewayGate | None,
    utility_gate: UtilityGate,
    vpp_gate: VppGate,
) -> GateServers:
    """Opens the three ports. Port 0 takes any free one; without a gateway gate its port is taken
    as one that others serve.
    """
    identity = server_identity(authority, ports.host)
    open_credentials = credentials(identity, None)
    mutual_credentials = credentials(identity, authority.certificate_pem)

    gateways, gateway_port = None, ports.gateway
    if gateway_gate is not None:
        gateways = make_server()
        gateway_gate.add_to(gateways)
        gateway_port = bind(gateways, f"{ports.host}:{ports.gateway}", mutual_credentials)
    enrolment_gate.gateway_address = f"{ports.host}:{gateway_port}"

    enrolment = make_server()
    gateway_pb2_grpc.add_EnrolmentServiceServicer_to_server(enrolment_gate, enrolment)
    enrolment_port = bind(enrolment, f"{ports.host}:{ports.enrolment}", open_credentials)

    utility = make_server()
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
    utility_port = bind(utility, f"{ports.host}:{ports.utility}", mutual_credentials)

    for server in (enrolment, gateways, utility):
        if server is not None:
            await server.start()
    return GateServers(enrolment, gateways, utility, enrolment_port, gateway_port, utility_port)
