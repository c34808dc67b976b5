"""An EVM chain over JSON-RPC: a transaction to oneself that carries an anchor as its data.

The only place of the house that knows secp256k1 and `web3`. Decides nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud.anchor.payload import AnchorError

CALL_TIMEOUT_S = 20
FEE_ROOM = 3
"""The fee cap in base fees: more than ten full blocks in a row may follow before it is too low."""


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction in a block."""

    block: int
    data: bytes
    is_own: bool
    """Whether it went from the account to itself."""


class EvmChain:
    """One account on one chain."""

    def __init__(self, web3: Any, key: bytes) -> None:
        self._web3 = web3
        self._account = web3.eth.account.from_key(key)

    @property
    def address(self) -> str:
        return str(self._account.address)

    def chain_id(self) -> int:
        return int(self._web3.eth.chain_id)

    def nonce(self) -> int:
        """How many transactions of the account are in blocks."""
        return int(self._web3.eth.get_transaction_count(self.address, "latest"))

    def sign(self, nonce: int, data: bytes) -> tuple[bytes, bytes]:
        """(hash, raw bytes) of the transaction; it is not sent. Raises AnchorError."""
        from web3.exceptions import Web3Exception

        try:
            return self._sign(nonce, data)
        except (Web3Exception, ValueError) as error:
            raise AnchorError(f"no transaction could be made: {error}") from error

    def _sign(self, nonce: int, data: bytes) -> tuple[bytes, bytes]:
        base_fee = int(self._web3.eth.get_block("latest").get("baseFeePerGas", 0))
        tip = int(self._web3.eth.max_priority_fee)
        request: dict[str, Any] = {"from": self.address, "to": self.address, "data": data}
        signed = self._account.sign_transaction(
            {
                "to": self.address,
                "value": 0,
                "data": data,
                "nonce": nonce,
                "chainId": self.chain_id(),
                "gas": int(self._web3.eth.estimate_gas(request)),
                "maxPriorityFeePerGas": tip,
                "maxFeePerGas": FEE_ROOM * base_fee + tip,
            }
        )
        return bytes(signed.hash), bytes(signed.raw_transaction)

    def send(self, raw: bytes) -> None:
        """Hands the transaction over. Raises AnchorError where the node will not have it."""
        from web3.exceptions import Web3Exception

        try:
            self._web3.eth.send_raw_transaction(raw)
        except (Web3Exception, ValueError) as error:
            raise AnchorError(f"the node refused the transaction: {error}") from error

    def mined(self, transaction: bytes) -> Mined | None:
        """The transaction where it is in a block and was carried out."""
        from web3.exceptions import TransactionNotFound

        try:
            receipt = self._web3.eth.get_transaction_receipt(transaction)
            found = self._web3.eth.get_transaction(transaction)
        except TransactionNotFound:
            return None
        if receipt["status"] != 1:
            return None
        is_own = found["from"] == found["to"] == self.address
        return Mined(int(receipt["blockNumber"]), bytes(found["input"]), is_own)


def open_chain(rpc: str, key_file: Path) -> EvmChain:
    """The chain behind this address, and the key in that file. Raises AnchorError."""
    try:
        from web3 import HTTPProvider, Web3
    except ImportError:
        raise AnchorError("anchors need web3: pip install 'gridtokenx[anchor]'") from None
    if not rpc.startswith(("http://", "https://")):
        raise AnchorError(f"{rpc!r} is no http address; write http://host:port")
    if not key_file.exists():
        raise AnchorError(f"no key at {key_file}; put 64 hex digits of a secp256k1 key there")
    text = key_file.read_text(encoding="ascii").strip().removeprefix("0x")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise AnchorError(f"{key_file} is no key; it holds 64 hex digits of a secp256k1 key")
    web3 = Web3(HTTPProvider(rpc, request_kwargs={"timeout": CALL_TIMEOUT_S}))
    if not web3.is_connected():
        raise AnchorError(f"no EVM node answers at {rpc}; start one or name its --rpc")
    return EvmChain(web3, key)
