"""The sandbox's control paths: recorded requests, faults and limits."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crypto_assets.sandbox.dialects import Dialects
from crypto_assets.sandbox.faults import CATALOGUE, Active, FaultError, Faults, make_fault
from crypto_assets.sandbox.request_limits import Limits, parse_rate


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One received request. `kind` is listing, checksum, object or rest; `path` is the whole one."""

    kind: str
    method: str
    path: str
    query: str
    exchange: str


@dataclass(slots=True)
class InFlight:
    """The number of requests being answered now, and its maximum so far."""

    now: int = 0
    most: int = 0

    def begin(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)

    def end(self) -> None:
        self.now -= 1


def control_routes(
    recorded: list[RecordedRequest], in_flight: InFlight, faults: Faults, limits: Limits, dialects: Dialects
) -> list[Route]:
    """Return the routes below /_sandbox/."""

    async def requests(request: Request) -> Response:
        if request.method == "DELETE":
            recorded.clear()
            in_flight.most = in_flight.now
        wanted = request.query_params.get("exchange")
        requests = [asdict(item) for item in recorded if wanted in (None, item.exchange)]
        counts = Counter(item["kind"] for item in requests)
        return JSONResponse({"counts": counts, "most_at_once": in_flight.most, "requests": requests})

    async def all_faults(request: Request) -> Response:
        if request.method == "POST":
            return await _switch_on(request, faults)
        if request.method == "DELETE":
            return JSONResponse({"lifted": faults.off(request.query_params.get("fault"))})
        known = {name: {"kinds": about.kinds, "text": about.text} for name, about in CATALOGUE.items()}
        return JSONResponse({"active": [_told(active) for active in faults.active()], "known": known})

    async def one_fault(request: Request) -> Response:
        lifted = faults.off(request.path_params["number"])
        return JSONResponse({"lifted": lifted}, 200 if lifted else 404)

    async def limit(request: Request) -> Response:
        if request.method == "DELETE":
            limits.forget()
        elif request.method == "POST":
            try:
                _change(limits, await request.json())
            except (ValueError, TypeError) as error:
                return JSONResponse({"error": str(error)}, 400)
        return _report(request, limits)

    async def exchanges(request: Request) -> Response:
        base = str(request.base_url).rstrip("/")
        return JSONResponse({name: dialect.urls(base) for name, dialect in dialects.items()})

    return [
        Route("/_sandbox/exchanges", exchanges),
        Route("/_sandbox/requests", requests, methods=["GET", "DELETE"]),
        Route("/_sandbox/faults", all_faults, methods=["GET", "POST", "DELETE"]),
        Route("/_sandbox/faults/{number:int}", one_fault, methods=["DELETE"]),
        Route("/_sandbox/limits", limit, methods=["GET", "POST", "DELETE"]),
    ]


async def _switch_on(request: Request, faults: Faults) -> Response:
    """Switch on one fault, or several at once: all or none."""
    try:
        asked = json.loads(await request.body())
        made = [make_fault(**values) for values in (asked if isinstance(asked, list) else [asked])]
        numbers: list[int] = []
        try:
            numbers += (faults.on(fault) for fault in made)
        except FaultError:
            for number in numbers:
                faults.off(number)
            raise
    except (FaultError, json.JSONDecodeError, TypeError) as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse({"on": numbers}, 201)


def _told(active: Active) -> dict[str, Any]:
    return {
        "id": active.id,
        **active.fault.model_dump(mode="json", exclude_defaults=True),
        "kinds": active.fault.concerns,
        "since": active.since.isoformat(),
        "hits": active.hits,
    }


def _change(limits: Limits, asked: dict[str, Any]) -> None:
    """Change limits: `rates` as texts (replaces all), `weights` a minute by budget, `first_ban_s`.

    Raises:
        ValueError: an unknown key or an invalid value; then nothing is changed.
    """
    unknown = set(asked) - {"rates", "weights", "first_ban_s"}
    weights = {str(budget): int(weight) for budget, weight in asked.get("weights", {}).items()}
    unknown |= set(weights) - set(limits.weights)
    if unknown:
        raise ValueError(
            f"{', '.join(sorted(unknown))}: unknown; expected rates, first_ban_s, or weights of {', '.join(limits.weights)}"
        )
    rates = [parse_rate(text) for text in asked.get("rates", [])]
    if "rates" in asked:
        limits.set_rates(rates)
    limits.weights.update(weights)
    if "first_ban_s" in asked:
        limits.first_ban_s = float(asked["first_ban_s"])


def _report(request: Request, limits: Limits) -> Response:
    """Answer ?budget=…&window=seconds&amount=limit; ?arrivals=true adds every request."""
    query = request.query_params
    budgets = query.getlist("budget")
    try:
        window = float(query["window"]) if "window" in query else None
        amount = int(query["amount"]) if "amount" in query else None
    except ValueError as error:
        return JSONResponse({"error": f"window and amount: expected numbers ({error})"}, 400)
    report = limits.report(window, amount, budgets)
    if query.get("arrivals") == "true":
        report["arrivals"] = [asdict(arrival) for arrival in limits.arrivals(budgets)]
    return JSONResponse(report)
