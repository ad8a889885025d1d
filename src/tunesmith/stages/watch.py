"""`tunesmith watch`: a run's report in the browser while it grows, on this machine alone.

All is read from the run folder, so that a run need not know that it is watched. Scores on the test
rows are not among it: until all systems have answered, nobody is told of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

from tunesmith.data.ledger import LedgerFacts
from tunesmith.errors import DataError, TunesmithError
from tunesmith.evaluate.system_table import SYSTEMS
from tunesmith.lock import lock_file, touched_lately
from tunesmith.recipe import TrainConfig, load_recipe
from tunesmith.report.charts import loss_chart, metric_chart
from tunesmith.report.content import LedgerCounts
from tunesmith.report.format import duration
from tunesmith.report.plots import Plot, draw
from tunesmith.report.tables import ledger_table
from tunesmith.report.watch_page import Growing, render_growing
from tunesmith.run_files import is_made, read_manifest, read_record, run_state
from tunesmith.rundir import RunDir
from tunesmith.train.packing.plan import steps_per_epoch
from tunesmith.train.trackers import WAITED, StepMetrics, steps_so_far

ADDRESS = "127.0.0.1"
"""Whoever is on another machine cannot connect; a tunnel (ssh -L) can."""
PATHS = ("/", "/report.html")
STAGES = ("Preparation", "Training", "Evaluation", "Verification", "Report")
RECENT_STEPS = 20
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'none'",
    "Content-Type": "text/html; charset=utf-8",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The page may do what stands in it, and load nothing."""


class Server(ThreadingHTTPServer):
    """Serves one run's page; several at a time, because browsers open connections ahead."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__((ADDRESS, 0), _Handler)
        self.run = RunDir(folder)
        self.one_at_a_time = threading.Lock()  # plots are drawn by a library that is not for two

    @property
    def hosts(self) -> tuple[str, str]:
        """What a browser that was sent here by its user calls us."""
        return f"{ADDRESS}:{self.server_port}", f"localhost:{self.server_port}"

    @property
    def url(self) -> str:
        """Where it is to be seen."""
        return f"http://{self.hosts[0]}/"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        server = cast(Server, self.server)
        # A page of another site can have its own name point to this machine (DNS rebinding): then
        # the browser sends that name.
        if self.headers.get("Host", "") not in server.hosts:
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path.partition("?")[0] not in PATHS:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._send_page(server, with_body)

    def _send_page(self, server: Server, with_body: bool) -> None:
        with server.one_at_a_time:
            body = page(server.run)
        self.send_response(HTTPStatus.OK)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: requests come every few seconds."""


def server_for(folder: Path) -> Server:
    """A server that is ready to serve; DataError where there is no run and none is prepared."""
    place = folder.resolve()  # a name for the page, and the lock's, also of `.` and of a link
    if not run_state(RunDir(place)).prepared and not lock_file(place).exists():
        raise DataError(
            f"{folder}: not a run folder", hint="`tunesmith run` or `tunesmith prepare` makes one"
        )
    return Server(place)


def page(run: RunDir) -> bytes:
    """The report where it is written, else how far the run is."""
    try:
        if is_made(run, run.report_html):
            return run.report_html.read_bytes()
        return render_growing(growing(run)).encode()
    except (TunesmithError, OSError) as error:  # a stage may be replacing what is read
        broken = [("Not readable now", "", str(error))]
        return render_growing(Growing(run.path.name, touched_lately(run.path), broken)).encode()


def growing(run: RunDir) -> Growing:
    """How far the run is, from its files."""
    at_work, done = touched_lately(run.path), run_state(run)
    finished = (done.prepared, done.trained, done.evaluated, done.verified, False)
    current = finished.index(False)
    history = steps_so_far(run.metrics) if done.prepared else []
    said = {**(_of_training(run, history) if done.prepared else {}), **_of_evaluation(run)}
    states = ["done" if done else "waiting" for done in finished]
    states[current] = "at work" if at_work else "not done"
    named = zip(STAGES, states, strict=True)
    return Growing(
        run.path.name,
        at_work,
        [(name, state, said.get(name, "")) for name, state in named],
        list(_plots(run, history)),
        ledger_table(cast(LedgerCounts, asdict(read_record(run.ledger, LedgerFacts))))
        if done.prepared
        else None,
    )


def _of_training(run: RunDir, history: Sequence[StepMetrics]) -> dict[str, str]:
    if not history:
        return {}
    config = load_recipe(run.recipe)[0].train
    rows = read_record(run.ledger, LedgerFacts).splits["train"].examples
    steps = steps_per_epoch(rows, config.train_batch_size) * config.num_train_epochs
    return {"Training": training_sentence(history, steps, config)}


def training_sentence(history: Sequence[StepMetrics], steps: int, config: TrainConfig) -> str:
    """Step, loss, rows a second and the time left, by the last steps; validation not counted."""
    last, recent = history[-1], history[-RECENT_STEPS:]
    seconds = max(sum(step["seconds"] for step in recent) / len(recent), 1e-9)
    left = steps - int(last["step"])
    text = f"Step {int(last['step']):,} of {steps:,}, loss {last['loss']:.4g}"
    if not left:
        return text
    patience = config.early_stopping_patience
    if patience is not None and last.get(WAITED, 0) >= patience:
        return f"{text}; stopped early: no better for {patience} of {patience} epochs"
    rate, most = config.train_batch_size / seconds, "about" if patience is None else "at most"
    return f"{text}, {rate:,.3g} rows/s, {most} {duration(left * seconds)} of steps left"


def _of_evaluation(run: RunDir) -> Mapping[str, str]:
    answered = [s.title for s in SYSTEMS.values() if run.predictions(s.name, "test").exists()]
    return {"Evaluation": f"Has answered: {'; '.join(answered)}"} if answered else {}


def _plots(run: RunDir, history: Sequence[StepMetrics]) -> Iterator[Plot]:
    if not history:
        return
    primary = read_manifest(run).task.primary
    for chart in (loss_chart(history, None), metric_chart(history, primary, None)):
        if chart is not None:
            yield draw(chart)
