"""The HTTP routes over loaded models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from tunebench import __version__
from tunebench.data.inputs import Inputs
from tunebench.errors import DataError
from tunebench.inference.texts import checked_texts
from tunebench.web.hosts import host_names
from tunebench.web.serving.admission import CLIENT_LEFT, AdmissionControl, Tally, refuse
from tunebench.web.serving.answers import answers_of
from tunebench.web.serving.batching import ClosedError, MicroBatcher, QueueFullError
from tunebench.web.serving.limits import Limits
from tunebench.web.serving.metrics import Metrics
from tunebench.web.serving.schema import (
    ModelInfo,
    ModelList,
    PredictAnswer,
    Problem,
    Refusal,
    Status,
    problems_of,
    request_schema,
    request_type,
    strange_keys,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np

    from tunebench.web.serving.batching import Answerer, Observer
    from tunebench.web.serving.models import LoadedModel

#: Seconds that the model has, when all connections are closed, to end what it computes.
_LAST_SECONDS = 5.0
#: The playground: path, file of this package, media type.
_PAGES = (
    ("/", "playground.html", "text/html"),
    ("/playground.js", "playground.js", "text/javascript"),
    ("/playground.css", "playground.css", "text/css"),
)
#: The page loads nothing from elsewhere and runs nothing but its own file, whatever a model is called.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def create_app(
    models: Sequence[LoadedModel],
    *,
    host: str = "127.0.0.1",
    limits: Limits | None = None,
    token: str | None = None,
    allowed_hosts: Sequence[str] = (),
    answerer: Callable[..., Answerer] = MicroBatcher,
) -> FastAPI:
    """Return the application; its lifespan ends when everything that was taken is answered.

    ``app.state.tally`` is its :class:`~tunebench.web.serving.admission.Tally`.

    Args:
        models: What :func:`~tunebench.web.serving.models.load_models` gave; the first is the default.
        host: What the server listens at; on loopback, requests under names that are not this machine's own
            are refused (:func:`~tunebench.web.hosts.host_names`).
        limits: Bounds on requests.
        token: What requests must have, health checks apart; None for nothing.
        allowed_hosts: Further names that requests may have.
        answerer: Makes what answers texts, from the keywords of :class:`MicroBatcher`.
    """
    return _Server(models, host_names(host, allowed_hosts), limits or Limits(), token, answerer).app


class _Server:
    def __init__(
        self,
        models: Sequence[LoadedModel],
        names: Sequence[str] | None,
        limits: Limits,
        token: str | None,
        answerer: Callable[..., Answerer],
    ) -> None:
        self.models = {model.name: model for model in models}
        self.default, self.limits = models[0].name, limits
        self.metrics = Metrics(lambda: float(self.batcher.waiting))
        observer: Observer = self.metrics
        self.batcher = answerer(waiting=limits.waiting, observer=observer)
        self.request = request_type(limits)
        self.app = FastAPI(
            title="tunebench",
            version=__version__,
            summary="Text classifiers over HTTP.",
            lifespan=self.lifespan,
            # The interactive pages load scripts from elsewhere.
            docs_url=None,
            redoc_url=None,
        )
        self._add_routes()
        self.app.add_exception_handler(HTTPException, _http_error)
        paths = frozenset(route.path for route in self.app.routes if hasattr(route, "path"))
        self.app.state.tally = Tally()
        self.app.add_middleware(
            AdmissionControl,
            names=names,
            token=token,
            limits=limits,
            metrics=self.metrics,
            tally=self.app.state.tally,
            routes=paths,
        )

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(self.batcher.close, _LAST_SECONDS)

    def _add_routes(self) -> None:
        inputs = [model.predictor.inputs for model in self.models.values()]
        body = request_schema(
            self.request,
            list(self.models),
            single=any(kind is None or not kind.pair for kind in inputs),
            pairs=any(kind is None or kind.pair for kind in inputs),
        )
        self.app.add_api_route(
            "/v1/predict",
            self.predict,
            methods=["POST"],
            response_model=PredictAnswer,
            summary="Classify one or many texts",
            responses=_refusals(
                {
                    400: "The body is no JSON, or no valid Unicode; or the request is under another host's name.",
                    401: "The server has a token, and the request has not.",
                    404: "There is no such model.",
                    408: "The body did not arrive in time.",
                    413: "The body is too large.",
                    415: "The body is not declared as JSON.",
                    422: "The body is JSON, but not a request.",
                    500: "The model failed on these texts.",
                    503: "Too many requests wait; `Retry-After` says when to try again.",
                }
            ),
            openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}},
        )
        self.app.add_api_route(
            "/v1/models", self.list_models, response_model=ModelList, summary="List the loaded models"
        )
        self.app.add_api_route("/healthz", self.healthz, response_model=Status, summary="The process is alive")
        self.app.add_api_route(
            "/readyz",
            self.readyz,
            response_model=Status,
            summary="Requests are accepted",
            responses={503: {"model": Status, "description": "Requests are no longer accepted."}},
        )
        self.app.add_api_route(
            "/metrics",
            self.show_metrics,
            response_class=Response,
            summary="For Prometheus",
            responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        )
        for path, file, kind in _PAGES:
            self.app.add_api_route(path, _page(file, kind), response_class=Response, include_in_schema=False)

    async def predict(self, request: Request) -> Response:
        """Classify texts with one of the loaded models; concurrent requests are computed together."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return refuse(415, "the body must be declared as application/json")
        body = await request.body()
        try:
            strange = strange_keys(self.request, body)
        except ValueError as error:
            problem = Problem(where="", what=f"Invalid JSON: {error}")
            return refuse(400, "the body is no JSON", problems=[problem.model_dump()])
        if strange:
            return refuse(422, "the body is no request", problems=[problem.model_dump() for problem in strange])
        try:
            wanted: Any = self.request.model_validate_json(body)
        except ValidationError as error:
            problems = [problem.model_dump() for problem in problems_of(error)]
            return refuse(422, "the body is no request", problems=problems)
        name = self.default if wanted.model is None else wanted.model
        model = self.models.get(name)
        if model is None:
            return refuse(404, f"there is no such model; loaded are: {', '.join(self.models)}")
        texts = [wanted.texts] if isinstance(wanted.texts, str) else wanted.texts
        try:
            texts = checked_texts(texts, model.predictor.inputs)
        except DataError as error:
            problem = Problem(where="texts", what=error.what)
            return refuse(422, "the model reads other texts", problems=[problem.model_dump()])
        try:
            logits = await _unless_left(request, self.batcher.submit(model, texts))
        except QueueFullError as error:
            return refuse(503, "too many texts wait", retry_after=error.retry_after)
        except (ClosedError, asyncio.CancelledError):
            return refuse(503, "the server is shutting down", retry_after=1)
        except Exception:
            # The batcher has logged it.
            return refuse(500, "the model failed on these texts")
        if logits is None:
            return Response(status_code=CLIENT_LEFT)
        self.metrics.texts.labels(name).inc(len(texts))
        answer = PredictAnswer(model=name, predictions=answers_of(model.predictor, logits))
        return Response(answer.model_dump_json(), media_type="application/json")

    async def list_models(self) -> ModelList:
        """Say what is loaded, the default first."""
        return ModelList(
            models=[
                ModelInfo(
                    name=name,
                    default=name == self.default,
                    format=model.predictor.format,
                    labels=list(model.predictor.label_names),
                    task=model.predictor.artifact.task.name,
                    pair=_pair_names(model.predictor.inputs),
                    max_length=model.predictor.max_length,
                    truncation=None if model.predictor.max_length is None else model.predictor.artifact.truncation,
                    shares_base_with=[
                        other.name
                        for other in self.models.values()
                        if other.group is model.group and other is not model
                    ],
                )
                for name, model in self.models.items()
            ]
        )

    async def healthz(self) -> Status:
        """Answer as long as the process does."""
        return Status(status="alive")

    async def readyz(self) -> Response:
        """Say whether requests are taken: 503 when shutting down, or when the worker has died."""
        ready = self.batcher.alive
        return JSONResponse({"status": "ready" if ready else "closing"}, status_code=200 if ready else 503)

    async def show_metrics(self) -> Response:
        """Return the counters in Prometheus' text format."""
        return Response(self.metrics.render(), media_type=CONTENT_TYPE_LATEST)


async def _unless_left(request: Request, found: Future[np.ndarray]) -> np.ndarray | None:
    """Wait for logits; where the client leaves first, cancel them and return None.

    Args:
        request: Whose body was read.
        found: What the batcher promised.
    """
    logits, left = asyncio.wrap_future(found), asyncio.ensure_future(_left(request))
    try:
        ends: list[asyncio.Future[Any]] = [logits, left]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return logits.result() if logits.done() else None
    finally:
        logits.cancel()
        left.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _pair_names(inputs: Inputs | None) -> list[str] | None:
    return list(inputs.columns) if inputs is not None and inputs.pair else None


def _refusals(reasons: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Refusal, "description": reason} for status, reason in reasons.items()}


def _page(file: str, kind: str) -> Any:
    content = (resources.files("tunebench.web.serving") / file).read_bytes()

    async def page() -> Response:
        headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type=kind, headers=headers)

    return page


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer what the router refuses (unknown path, wrong method) like everything else."""
    assert isinstance(error, HTTPException)
    answer = refuse(error.status_code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer
