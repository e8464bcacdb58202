"""`calotype webhooks`: the secret a receiver verifies with, what became of each delivery, and sending one again."""

from typing import Annotated, Any

import msgspec
import typer

from calotype.app import App
from calotype.cli.opened import with_app
from calotype.cli.options import DataDir, Json, Org
from calotype.cli.terminal import answer, facts, moment, say, table
from calotype.dialects.openai.videos import job_id_of
from calotype.webhooks import WebhookSigner
from calotype.webhooks.history import Event, list_events
from calotype.webhooks.history import redeliver as make_due

webhooks = typer.Typer(help="Webhooks: secret, deliveries, redeliver.", no_args_is_help=True)


@webhooks.command()
def secret(org: Org = "default", as_json: Json = False, data_dir: DataDir = None) -> None:
    """Show the secret an organisation verifies webhooks with (Standard Webhooks, `whsec_…`)."""

    async def work(app: App) -> dict[str, Any]:
        found = await app.accounts.get_org(org)
        valid = WebhookSigner(app.secrets.get("webhook_signing")).secrets_of(found.id)
        return {"org_id": found.id, "secret": valid[0], "previous": valid[1:]}

    shown = with_app(data_dir, work)
    if as_json:
        answer(shown)
        return
    facts([("secret", shown["secret"]), *(("previous", one) for one in shown["previous"])])


@webhooks.command()
def deliveries(
    org: Annotated[str | None, typer.Option("--org", help="Only this organisation's (id or name).")] = None,
    job: Annotated[str | None, typer.Option("--job", help="Only this job's; video_… works too.")] = None,
    most: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many events.")] = 50,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List events of the last 30 days with every attempt to deliver them, newest first."""

    async def work(app: App) -> list[Event]:
        only = None if org is None else (await app.accounts.get_org(org)).id
        job_id = None if job is None else job_id_of(job)
        return await app.db.read(lambda tx: list_events(tx, org_id=only, job_id=job_id, limit=most))

    events = with_app(data_dir, work)
    if as_json:
        answer(msgspec.to_builtins(events))
        return
    rows = []
    for event in events:
        last = event.deliveries[-1] if event.deliveries else None
        said = None if last is None else last.error or last.status
        made = len(event.deliveries)
        rows.append((event.id, moment(event.created_at_ms), event.type, event.job_id, event.state.value, made, said))
    table(("EVENT", "CREATED (UTC)", "TYPE", "JOB", "STATE", "ATTEMPTS", "LAST ANSWER"), rows)


@webhooks.command()
def redeliver(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="An event's id: evt_…")],
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Send an event once more, under the id it always had and with all its attempts before it."""

    async def work(app: App) -> Event:
        await app.db.write(lambda tx: make_due(tx, event_id, app.clock.now_ms()))
        return (await app.db.read(lambda tx: list_events(tx, event_id=event_id)))[0]

    event = with_app(data_dir, work)
    if as_json:
        answer(msgspec.to_builtins(event))
    else:
        facts([("event", event.id), ("job", event.job_id), ("state", event.state.value), ("to", event.url)])
    say("A running server delivers it within a second, else the next one that starts.")
