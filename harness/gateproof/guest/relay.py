"""A relay between the system's processes and PostgreSQL, for network faults.

Passed as source text to the system's own interpreter, so that it runs where the system's processes
can reach it; imports nothing from the harness. Reads one mode per line and answers with one line of
JSON: its port, its mode, and how many pieces it forwarded and delayed, and how many connections it
reset and kept since the last line.

- ``pass``: forward everything.
- ``away``: refuse new connections, and reset existing ones.
- ``silent``: accept connections, and forward nothing.
- ``slow``: forward everything, and delay each piece by half a second.
- ``cut``: reset a connection when its next piece arrives, which is in mid-statement.
- ``keep``: forward everything, and keep the server's side of connections that the client closed.
"""

import asyncio
import json
import sys

DELAY_S = 0.5
PIECE_SIZE = 65536


class Relay:
    """Forwards connections to one address in its present mode."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._mode = "pass"
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._counts = {"forwarded": 0, "delayed": 0, "reset": 0, "kept": 0}

    async def set_mode(self, mode: str) -> dict[str, object]:
        """Switch to a mode and return the counts since the last switch."""
        self._mode = mode
        if mode == "away":
            await self._close()
        elif self._server is None:
            self._server = await asyncio.start_server(self._serve, "0.0.0.0", self._port)  # noqa: S104 (the private network's, or loopback's)
            self._port = self._server.sockets[0].getsockname()[1]
        counts, self._counts = self._counts, dict.fromkeys(self._counts, 0)
        return {"port": self._port, "mode": mode, **counts}

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            self._reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            self._reset(writer)
            return
        self._open.add(server_writer)
        for source, sink in ((reader, server_writer), (server_reader, writer)):
            task = asyncio.create_task(self._forward(source, sink, (writer, server_writer)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        try:
            while piece := await source.read(PIECE_SIZE):
                while self._mode == "silent":
                    await asyncio.sleep(0.05)
                if self._mode == "cut":
                    break
                if self._mode == "slow":
                    self._counts["delayed"] += 1
                    await asyncio.sleep(DELAY_S)
                sink.write(piece)
                await sink.drain()
                self._counts["forwarded"] += 1
        except OSError:
            pass
        client, server = both
        if self._mode == "keep" and sink is server and server in self._open:
            self._counts["kept"] += 1
            self._reset(client)
            return
        for writer in both:
            self._reset(writer)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        if writer in self._open:
            self._open.discard(writer)
            self._counts["reset"] += 1
            writer.transport.abort()


async def main(host: str, port: int) -> None:
    """Read modes from standard input until it ends."""
    relay = Relay(host, port)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while mode := (await lines.readline()).decode().strip():
        sys.stdout.write(json.dumps(await relay.set_mode(mode)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
