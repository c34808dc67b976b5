"""The HTTP face: the console page and its stream, receipts, metrics, and the operator's commands.

Reading is open on the address that is served (loopback by default). Commands need the operator's
token, which lies in the state directory; the page's one action, acknowledging an alarm, needs a
header that no foreign page can send without the browser asking first.
"""

import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse

from cloud.commands import (
    CreateSite,
    Deposit,
    IssueToken,
    OptOut,
    RegisterAuthority,
    RevokeDevice,
)
from cloud.config import CloudConfig
from cloud.facts import RegistryRefused
from cloud.gate.authority import BadRequestError, CertificateAuthority, public_key_of, write_secret
from cloud.gate.bank_http import bank_router
from cloud.gate.console.fleet import FILTER_LENGTH_MAX, WINDOW_ROWS_MAX, Order, Wanted
from cloud.gate.log_http import PublishedLog, finality_metrics, load_policy, log_router
from cloud.gate.market_news import MarketNews
from cloud.gate.markets_http import MarketServices, markets_router
from cloud.gate.receipts_http import receipts_router
from cloud.gate.screen import Screen
from cloud.gate.summary import metrics, summary
from cloud.ledger.checkpoint import CheckpointSigner
from cloud.naming import SUBJECTS
from cloud.remote import TOKEN_FILE
from cloud.store.journal import JOURNAL_FILE, Journal
from cloud.store.keyring import FileKeys
from cloud.store.views import Views
from cloud.writer import Writer
from protos.clock import Clock
from protos.ids import AccountId, DeviceId, SiteId, effect_id
from protos.messages import ADVICE, Refusal
from protos.version import __version__

CONSOLE_HEADER = "X-GridTokenX"

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class HttpServices:
    """What the routes stand on."""

    writer: Writer
    views: Views
    screen: Screen
    clock: Clock
    config: CloudConfig
    authority: CertificateAuthority
    signer: CheckpointSigner
    journal: Journal
    markets: MarketServices
    market_news: MarketNews


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewSite(_Body):
    """A home. Its first enrolment token comes with the answer."""

    site: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    zone: str
    node: int = Field(ge=1)
    account: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")


class NewAuthority(_Body):
    """A grid operator and the request for its certificate."""

    authority: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,30}$")
    rank: int = Field(ge=0, le=9)
    area: str
    csr_pem: str


class Revocation(_Body):
    device: str
    reason: str = Field(min_length=1, max_length=200)


class Participation(_Body):
    """Whether a home takes part in reserves and demand response."""

    device: str
    opted_out: bool


class Acknowledgement(_Body):
    key: str


def _refusal(error: RequestValidationError) -> Response:
    """Where a request is wrong and how, without what was sent: not every value can be written back
    (a NaN, half a surrogate pair).
    """
    told = [
        {"type": one["type"], "loc": list(one["loc"]), "msg": one["msg"]} for one in error.errors()
    ]
    return Response(json.dumps({"detail": told}), 422, media_type="application/json")


def make_http(services: HttpServices) -> FastAPI:
    """The application with all routes."""
    app = FastAPI(title="GridTokenX aggregator", docs_url=None, redoc_url=None)
    app.add_middleware(GZipMiddleware, minimum_size=1_000)

    @app.middleware("http")
    async def secure(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers.update(SECURITY_HEADERS)
        return response

    @app.exception_handler(RequestValidationError)
    async def refused(_request: Request, error: RequestValidationError) -> Response:
        return _refusal(error)

    log = PublishedLog(
        services.writer,
        services.journal,
        services.signer.key,
        load_policy(services.config.state_dir),
    )
    _add_reading(app, services, log)
    app.include_router(log_router(log))
    _add_log(app, services, log)
    _add_commands(app, services)
    _add_console(app, services)
    return app


def operator_token(state_dir: Path) -> str:
    """The token for operator commands; made at the first start, readable by its owner alone."""
    path = state_dir / TOKEN_FILE
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(32).encode())
    return path.read_text(encoding="ascii")


def _add_reading(app: FastAPI, services: HttpServices, log: PublishedLog) -> None:
    views = services.views

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        if services.writer.problem is not None:
            raise HTTPException(503, "the writer has stopped")
        return {"status": "ok", "version": __version__}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def read_metrics() -> str:
        return metrics(services.writer, views, services.clock) + finality_metrics(log)

    @app.get("/api/summary")
    async def read_summary() -> dict[str, Any]:
        return summary(services.writer, views)

    @app.get("/api/screen")
    async def read_screen() -> Response:
        return Response(services.screen.everything(), media_type="application/json")

    @app.get("/api/stream")
    async def stream() -> EventSourceResponse:
        async def events() -> AsyncIterator[dict[str, str]]:
            async for message in services.screen.stream():
                yield {"data": message}

        return EventSourceResponse(events(), ping=15)

    @app.get("/api/gateways")
    async def read_gateways(
        text: Annotated[str, Query(max_length=FILTER_LENGTH_MAX)] = "",
        order: Order = "account",
        first: Annotated[int, Query(ge=0)] = 0,
        count: Annotated[int, Query(ge=1, le=WINDOW_ROWS_MAX)] = 50,
        *,
        silent: bool = False,
        descending: bool = False,
    ) -> JSONResponse:
        wanted = Wanted(text, silent, order, descending)
        return JSONResponse(services.screen.fleet.window(wanted, first, count))


def _add_log(app: FastAPI, services: HttpServices, log: PublishedLog) -> None:
    @app.get("/api/log/key", response_class=PlainTextResponse)
    async def read_key() -> str:
        return services.signer.verifier_key + "\n"

    @app.get("/api/log/checkpoint", response_class=PlainTextResponse)
    async def read_checkpoint() -> str:
        if not log.note:
            raise HTTPException(404, "no block yet; the first comes within three seconds")
        return log.note

    app.include_router(
        receipts_router(log, services.views, services.config.state_dir / JOURNAL_FILE)
    )


def _add_commands(app: FastAPI, services: HttpServices) -> None:
    token = operator_token(services.config.state_dir)

    async def operator(authorization: Annotated[str, Header()] = "") -> None:
        if not secrets.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
            raise HTTPException(
                401, f"send the operator token of {services.config.state_dir / TOKEN_FILE}"
            )

    guarded = [Depends(operator)]
    app.include_router(markets_router(services.markets, guarded, services.market_news))
    subjects = FileKeys(services.config.state_dir / SUBJECTS)
    app.include_router(bank_router(services.writer, services.clock, subjects, guarded))
    submit = services.writer.submit

    @app.post("/api/sites", dependencies=guarded)
    async def create_site(new: NewSite) -> dict[str, str]:
        zone = services.writer.core.zones.get(new.zone)
        if zone is None:
            raise HTTPException(404, f"no zone {new.zone!r}")
        if new.node >= len(zone.network.parent):
            raise HTTPException(
                422, f"zone {new.zone} has nodes 1 to {len(zone.network.parent) - 1}"
            )
        site, account = SiteId(new.site), AccountId(new.account)
        _raise_refused(await submit(CreateSite(site, new.zone, new.node, account)))
        opening = services.config.opening_deposit_micro
        if opening:
            # The account was opened by what followed from the site: follow-ups are applied first.
            await submit(Deposit(effect_id("opening", account), account, opening))
        enrolment = secrets.token_urlsafe(16)
        _raise_refused(await submit(IssueToken(sha256(enrolment.encode()).digest(), site)))
        return {"site": new.site, "token": enrolment}

    @app.post("/api/authorities", dependencies=guarded)
    async def register_authority(new: NewAuthority) -> dict[str, str]:
        try:
            chain = services.authority.authority_chain(new.csr_pem.encode(), new.authority)
        except BadRequestError as error:
            raise HTTPException(422, str(error)) from error
        public_key = public_key_of(new.csr_pem.encode())
        await submit(RegisterAuthority(new.authority, new.rank, new.area, public_key))
        return {"authority": new.authority, "certificate_chain_pem": chain.decode()}

    @app.post("/api/participation", dependencies=guarded)
    async def participate(new: Participation) -> dict[str, bool]:
        device = DeviceId(new.device)
        known = services.writer.core.registry.devices.get(device)
        if known is None:
            raise HTTPException(404, f"no device {new.device!r} was ever enrolled")
        zone = services.writer.core.registry.sites[known.site].zone
        await submit(OptOut(zone, device, new.opted_out))
        return {"opted_out": new.opted_out}

    @app.post("/api/revocations", dependencies=guarded)
    async def revoke(new: Revocation) -> dict[str, str]:
        _raise_refused(await submit(RevokeDevice(DeviceId(new.device), new.reason)))
        return {"device": new.device}


def _add_console(app: FastAPI, services: HttpServices) -> None:
    static = Path(str(resources.files("cloud.gate"))) / "console" / "static"

    @app.post("/api/alarms/acknowledge")
    async def acknowledge(
        seen: Acknowledgement, x_gridtokenx: Annotated[str, Header()] = ""
    ) -> dict[str, bool]:
        if x_gridtokenx != "console":
            raise HTTPException(403, f"send the header {CONSOLE_HEADER}: console")
        return {"acknowledged": services.views.acknowledge(seen.key)}

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(static / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", StaticFiles(directory=static, check_dir=False))


def _raise_refused(facts: list[Any]) -> None:
    for fact in facts:
        if isinstance(fact, RegistryRefused):
            reason = Refusal(fact.reason)
            raise HTTPException(409, f"{reason.name}: {ADVICE[reason]}")
