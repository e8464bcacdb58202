"""A forward proxy that answers CONNECT for fal's hosts and leads every one of them to the emulator."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def tunnel_to(port: int) -> Iterator[tuple[str, set[str]]]:
    """Yield the proxy's URL and the hosts it was asked for."""
    hosts: set[str] = set()
    loop = asyncio.new_event_loop()
    up = threading.Event()
    here: list[int] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        hosts.add(head.split()[1].decode())
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    async def start() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        here.append(server.sockets[0].getsockname()[1])
        up.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert up.wait(10)
    try:
        yield f"http://127.0.0.1:{here[0]}", hosts
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
