"""The market simulator's port: the paths of OASIS, Data Miner and the bid gateways on one address.

`gridtokenx venue-sim` runs it. It makes its own prices and takes any credentials, so it must only
ever stand in for a market, never beside one; by default it listens on loopback.
"""

from datetime import date
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Query, Request, Response
from starlette.requests import ClientDisconnect

from cloud.venues.online import (
    CMRI_PATH,
    OASIS_PATH,
    PJM_GATEWAY_PATH,
    PJM_LOGIN_PATH,
    SIBR_PATH,
    TELEMETRY_PATH,
)
from cloud.venues.sim import FEEDS, VenueSim
from cloud.venues.transport import Answer
from protos.clock import Clock

Number = Annotated[int, Query(gt=-(1 << 62), lt=1 << 62)]


def make_sim_http(sim: VenueSim, clock: Clock) -> FastAPI:
    """The application; all answers are the simulator's."""
    app = FastAPI(title="GridTokenX market simulator", docs_url=None, redoc_url=None)

    @app.get(OASIS_PATH)
    async def oasis(request: Request) -> Response:
        return _sent(sim.oasis(_caller(request), dict(request.query_params), clock.now_ns()))

    @app.get("/api/v1/{feed}")
    async def miner(
        request: Request, feed: str, ocp_apim_subscription_key: Annotated[str, Header()] = ""
    ) -> Response:
        return _sent(sim.miner(feed, ocp_apim_subscription_key, dict(request.query_params)))

    @app.post(SIBR_PATH)
    async def caiso_bid(request: Request) -> Response:
        body = await _body(request)
        return _sent(sim.submit("caiso", body, clock.now_ns()))

    @app.get(CMRI_PATH)
    async def caiso_results() -> Response:
        return _sent(sim.results("caiso", clock.now_ns()))

    @app.post(PJM_LOGIN_PATH)
    async def pjm_login(x_openam_username: Annotated[str, Header()] = "") -> Response:
        return _sent(sim.pjm_login(x_openam_username, clock.now_ns()))

    @app.post(PJM_GATEWAY_PATH)
    async def pjm_query(request: Request) -> Response:
        body = await _body(request)
        session = request.cookies.get("pjmauth", "")
        return _sent(sim.pjm_query(session, body, clock.now_ns()))

    @app.post(TELEMETRY_PATH + "/{venue}")
    async def telemetry(request: Request, venue: str) -> Response:
        return _sent(sim.telemetry(venue, await _body(request)))

    _add_settlement(app, sim, clock)

    @app.get("/counters")
    async def counters() -> dict[str, int | None]:
        seen = sim.counters
        return {
            "requests": seen.requests,
            "throttles": seen.throttles,
            "bans": seen.bans,
            "bids": seen.bids,
            "logins": seen.logins,
            "closest_ns": seen.closest_ns,
        }

    return app


def _add_settlement(app: FastAPI, sim: VenueSim, clock: Clock) -> None:
    """Statements, and what changes their next version."""

    @app.get("/settlement/{venue}/{day}")
    async def statement(venue: str, day: date) -> Response:
        return _sent(sim.statement(venue, day, clock.now_ns()))

    @app.put("/simulate/meter")
    async def meter(bid_id: str, starts_ns: Number, energy_wh: Number) -> dict[str, int]:
        sim.meter(bid_id, starts_ns, energy_wh)
        return {"energy_wh": energy_wh}

    @app.put("/simulate/correction")
    async def correction(feed: str, starts_ns: Number, change_cents: Number) -> dict[str, int]:
        """A PJM price (da_hrl_lmps, rt_hrl_lmps) or a venue's imbalance price (caiso, pjm)."""
        if feed in FEEDS:
            sim.correct(feed, starts_ns, change_cents)
        elif feed in sim.exchange.venues:
            sim.rerun(feed, starts_ns, change_cents)
        else:
            known = ", ".join([*FEEDS, *sim.exchange.venues])
            raise HTTPException(404, f"no feed {feed!r}; there are {known}")
        return {"change_cents": change_cents}


def run_sim(host: str, port: int, sim: VenueSim, clock: Clock) -> None:
    """Serves until it is told to stop."""
    uvicorn.run(make_sim_http(sim, clock), host=host, port=port, log_level="warning")


async def _body(request: Request) -> bytes:
    """The whole body; half of one is no submission."""
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise HTTPException(400, "the request ended early") from error


def _caller(request: Request) -> str:
    return request.client.host if request.client else ""


def _sent(answer: Answer) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers))
