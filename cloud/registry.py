"""Machine: which homes, devices and authorities exist, and which device key belongs to which home.

Decides enrolment, revocation and the standing of authorities. It sees token hashes, never tokens,
and public keys, never private ones. A device may be enrolled once; its name is its key.
"""

from dataclasses import dataclass, field

from cloud.commands import (
    Command,
    CreateSite,
    EnrolDevice,
    IssueToken,
    RegisterAuthority,
    RevokeDevice,
)
from cloud.facts import (
    AuthorityRegistered,
    DeviceEnrolled,
    DeviceRevoked,
    EnrolmentRefused,
    Fact,
    RegistryRefused,
    SiteCreated,
    TokenIssued,
)
from protos.ids import AccountId, DeviceId, SiteId, device_id
from protos.limits import ENROLMENT_TOKEN_NS
from protos.messages import Refusal

PUBLIC_KEY_BYTES = 32
SHA256_BYTES = 32


@dataclass(slots=True)
class Site:
    zone: str
    node: int
    account: AccountId


@dataclass(slots=True)
class Token:
    """A one-time token by its hash. Spent as soon as `device` is set."""

    site: SiteId
    expires_ns: int
    device: DeviceId | None = None


@dataclass(slots=True)
class EnrolledDevice:
    public_key: bytes
    site: SiteId
    revoked: bool = False


@dataclass(slots=True)
class Authority:
    rank: int
    area: str
    public_key: bytes = b""


@dataclass(slots=True)
class Registry:
    """Sites, tokens, devices and authorities by name."""

    sites: dict[SiteId, Site] = field(default_factory=dict)
    tokens: dict[bytes, Token] = field(default_factory=dict)
    devices: dict[DeviceId, EnrolledDevice] = field(default_factory=dict)
    authorities: dict[str, Authority] = field(default_factory=dict)

    def apply(self, command: Command, at_ns: int) -> list[Fact]:
        match command:
            case CreateSite():
                return self._create_site(command)
            case IssueToken():
                return self._issue_token(command, at_ns)
            case EnrolDevice():
                return self._enrol(command, at_ns)
            case RevokeDevice():
                return self._revoke(command)
            case RegisterAuthority():
                standing = Authority(command.rank, command.area, command.public_key)
                self.authorities[command.authority] = standing
                return [
                    AuthorityRegistered(
                        command.authority, command.rank, command.area, command.public_key
                    )
                ]
        raise AssertionError(f"the registry was sent {type(command).__name__}")

    def state(self) -> object:
        return {
            "sites": {name: (s.zone, s.node, s.account) for name, s in self.sites.items()},
            "tokens": {
                key.hex(): (t.site, t.expires_ns, t.device) for key, t in self.tokens.items()
            },
            "devices": {
                name: (d.public_key, d.site, d.revoked) for name, d in self.devices.items()
            },
            "authorities": {
                name: (a.rank, a.area, a.public_key) for name, a in self.authorities.items()
            },
        }

    def active_key(self, device: DeviceId) -> bytes | None:
        """The device's public key, or None if it is not enrolled or was revoked."""
        known = self.devices.get(device)
        return None if known is None or known.revoked else known.public_key

    def _create_site(self, command: CreateSite) -> list[Fact]:
        known = self.sites.get(command.site)
        wanted = Site(command.zone, command.node, command.account)
        if known is not None and known != wanted:
            return [RegistryRefused(command.site, Refusal.CHANGED_REPLAY)]
        self.sites[command.site] = wanted
        return [SiteCreated(command.site, command.zone, command.node, command.account)]

    def _issue_token(self, command: IssueToken, at_ns: int) -> list[Fact]:
        if len(command.token_sha256) != SHA256_BYTES or command.site not in self.sites:
            return [RegistryRefused(command.site, Refusal.BAD_TOKEN)]
        if command.token_sha256 in self.tokens:
            return [RegistryRefused(command.site, Refusal.CHANGED_REPLAY)]
        expires_ns = at_ns + ENROLMENT_TOKEN_NS
        self.tokens[command.token_sha256] = Token(command.site, expires_ns)
        return [TokenIssued(command.token_sha256, command.site, expires_ns)]

    def _enrol(self, command: EnrolDevice, at_ns: int) -> list[Fact]:
        token = self.tokens.get(command.token_sha256)
        if token is None or len(command.public_key) != PUBLIC_KEY_BYTES:
            return [EnrolmentRefused(command.token_sha256, Refusal.BAD_TOKEN)]
        device = device_id(command.public_key)
        known = self.devices.get(device)
        if known is not None and known.revoked:
            return [EnrolmentRefused(command.token_sha256, Refusal.REVOKED_DEVICE)]
        if token.device is None:
            if token.expires_ns < at_ns:
                return [EnrolmentRefused(command.token_sha256, Refusal.EXPIRED)]
            if known is not None and known.site != token.site:
                return [EnrolmentRefused(command.token_sha256, Refusal.BAD_TOKEN)]
        elif token.device != device:
            # Spent by another key. The same key may ask again: its first answer may have been lost.
            return [EnrolmentRefused(command.token_sha256, Refusal.BAD_TOKEN)]
        token.device = device
        self.devices[device] = EnrolledDevice(command.public_key, token.site)
        site = self.sites[token.site]
        return [
            DeviceEnrolled(
                device, command.public_key, token.site, site.zone, site.node, site.account
            )
        ]

    def _revoke(self, command: RevokeDevice) -> list[Fact]:
        known = self.devices.get(command.device)
        if known is None:
            return [RegistryRefused(command.device, Refusal.UNKNOWN_DEVICE)]
        known.revoked = True
        return [DeviceRevoked(command.device, self.sites[known.site].zone, command.reason)]
