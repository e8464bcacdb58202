"""Start the gateway under test: a fresh data directory, one funded key `sk` written to a file, one process."""

import asyncio
import sys
from pathlib import Path

import uvicorn

from calotype.app import App
from calotype.process import set_up
from calotype.settings import Settings
from calotype.telemetry import configure_logs

FUNDS_MICRO = 10**14


async def fund(settings: Settings, key_file: Path) -> None:
    app = App(settings)
    await app.open()
    record, key = await app.accounts.create_key(name="bench")
    await app.ledger.credit(record.org_id, FUNDS_MICRO)
    key_file.write_text(key)
    await app.shut()


def main() -> None:
    port, key_file = int(sys.argv[1]), Path(sys.argv[2])
    set_up()
    configure_logs("warning", "json")
    settings = Settings()
    asyncio.run(fund(settings, key_file))
    app = App(settings)
    uvicorn.run(
        app.asgi, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False,
        log_level="warning", server_header=False, date_header=False, proxy_headers=False, backlog=4096,
    )  # fmt: skip


if __name__ == "__main__":
    main()
