"""The web application of the helpdesk: `flask --app helpdesk.web run`."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request
from sqlalchemy import text

from helpdesk.jobs import answer
from helpdesk.store import answers, workspace

app = Flask(__name__)


@app.post("/<name>/tickets")
def post_ticket(name: str) -> tuple[Response, int]:
    """Store a ticket of a workspace, and publish the job that answers it."""
    subject = str(request.get_json()["subject"])
    with workspace(name) as connection:
        ticket = connection.execute(
            text("INSERT INTO tickets (workspace, subject) VALUES (:w, :s) RETURNING id"),
            {"w": name, "s": subject},
        ).scalar_one()
    job = answer.delay(name, ticket)
    return jsonify(ticket=ticket, job=job.id), 202


@app.get("/health")
def get_health() -> tuple[Response, int]:
    """Report whether the database answers: 200, or 503."""
    well = answers()
    return jsonify(database=well), 200 if well else 503


@app.get("/<name>/tickets/<int:ticket>")
def get_ticket(name: str, ticket: int) -> tuple[Response, int]:
    """Return the state of a ticket of a workspace."""
    with workspace(name) as connection:
        state = connection.execute(
            text("SELECT state FROM tickets WHERE id = :id"), {"id": ticket}
        ).scalar_one_or_none()
    return (jsonify(state=state), 200) if state else (jsonify(error="no such ticket"), 404)
