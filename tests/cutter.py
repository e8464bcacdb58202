"""A TCP proxy between a client and the server that cuts chosen connections before the answer comes back."""

import asyncio
import contextlib
import threading


class Cutter:
    """Forwards to a port; the first `cuts` connections are reset once the request went through."""

    def __init__(self, port: int, cuts: int) -> None:
        self._target = port
        self._left = cuts
        self.connections = 0
        self.ended = threading.Event()
        self.release = threading.Event()
        self._loop = asyncio.new_event_loop()
        self.port = 0

    def __enter__(self) -> "Cutter":
        up = threading.Event()

        async def serve() -> None:
            self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
            up.set()

        def run() -> None:
            self._loop.run_until_complete(serve())
            self._loop.run_forever()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.release.set()
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        cut = self._left > 0
        self._left -= 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        there = asyncio.create_task(self._pump(reader, far_writer))
        if cut:
            while not self.release.is_set():  # the request is through and waits at the upstream
                await asyncio.sleep(0.005)
            self.release.clear()
            there.cancel()
            writer.transport.abort()
            far_writer.transport.abort()
        else:
            await self._pump(far_reader, writer)
            there.cancel()
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
