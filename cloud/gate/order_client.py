"""A grid operator's side of a signed order: writes it, signs it, submits it.

Uses only the files that `gridtokenx authority` left, so that it can run on the operator's own
machine.
"""

import secrets
import time
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.gate.orders import DOMAIN
from protos import utility_pb2 as pb
from protos import utility_pb2_grpc
from protos.clock import MINUTE_NS

TIMEOUT_S = 10.0
ACTIONS = ("limit_w", "curtail_to_w", "reserve_w", "reduce_by_w")


class OrderRefusedError(OSError):
    """The aggregator did not take it; the message is its own words."""


def write_order(
    authority: str,
    zone: str,
    element: int,
    action: str,
    power_w: int,
    reason: str,
    minutes: int,
    now_ns: int | None = None,
    order_id: str = "",
) -> pb.AuthorityOrder:
    """An order that begins now. Raises ValueError for an unknown action or reason."""
    if action not in ACTIONS:
        raise ValueError(f"{action!r} is no action; there are: {', '.join(ACTIONS)}")
    known = [name.removeprefix("ORDER_REASON_") for name in pb.OrderReason.keys()[1:]]
    if reason not in known:
        raise ValueError(f"{reason!r} is no reason; there are: {', '.join(known)}")
    now_ns = time.time_ns() if now_ns is None else now_ns
    fields: dict[str, Any] = {action: power_w}
    return pb.AuthorityOrder(
        order_id=order_id or secrets.token_hex(8),
        authority=authority,
        zone=zone,
        element=element,
        reason=f"ORDER_REASON_{reason}",
        issued_ns=now_ns,
        starts_ns=now_ns,
        ends_ns=now_ns + minutes * MINUTE_NS,
        **fields,
    )


def sign_order(order: pb.AuthorityOrder, key_pem: bytes) -> pb.SubmitOrderRequest:
    """The order's bytes and the signature over them."""
    key = serialization.load_pem_private_key(key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is a P-256 key; use the one of its certificate")
    data = order.SerializeToString()
    signature = key.sign(DOMAIN + data, ec.ECDSA(hashes.SHA256()))
    return pb.SubmitOrderRequest(order=data, signature=signature)


def submit_order(address: str, directory: Path, order: pb.AuthorityOrder) -> dict[str, Any]:
    """Signs and submits with the authority's files in `directory`. Raises OrderRefusedError."""
    name = order.authority
    key = (directory / f"{name}.key").read_bytes()
    credentials = grpc.ssl_channel_credentials(
        (directory / "ca.pem").read_bytes(), key, (directory / f"{name}.pem").read_bytes()
    )
    with grpc.secure_channel(address, credentials) as channel:
        stub = utility_pb2_grpc.UtilityServiceStub(channel)
        try:
            status = stub.SubmitOrder(sign_order(order, key), timeout=TIMEOUT_S).status
        except grpc.RpcError as error:
            raise OrderRefusedError(f"{error.code().name}: {error.details()}") from error
    return {
        "order_id": status.order_id,
        "action": status.action,
        "ends_ns": status.ends_ns,
        "gateways": status.gateways,
        "asked_w": status.asked_w,
        "planned_w": status.planned_w,
        "yields_to": status.yields_to,
        "decided_by": status.decided_by,
    }
