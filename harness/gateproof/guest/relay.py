"""A relay between the system's processes and PostgreSQL, for faults on the way between them.

Handed to the system's own interpreter as source text, so that it runs where the system's processes
can reach it; imports nothing of ours. Reads one word a line and answers each with one line of JSON:
its port, what it does, and how much it forwarded, held back and cut since the last word.

- ``pass``: forward everything.
- ``away``: refuse connections, and reset those that there are.
- ``silent``: accept connections, and forward nothing.
- ``slow``: forward everything, each piece half a second late.
- ``cut``: reset a connection as soon as a further piece of it arrives, so in mid-statement.
"""

import asyncio
import json
import sys

LATE_S = 0.5
PIECE = 65536


class Relay:
    """Forwards connections to one address, in the manner that it was last told."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._mode = "pass"
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._counts = {"forwarded": 0, "delayed": 0, "reset": 0}

    async def obey(self, mode: str) -> dict[str, object]:
        """Go over to another manner and return what was done since the last word."""
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
            onward, back = await asyncio.open_connection(*self._target)
        except OSError:
            self._reset(writer)
            return
        self._open.add(back)
        for source, sink in ((reader, back), (onward, writer)):
            task = asyncio.create_task(self._pump(source, sink, (writer, back)))
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, ...],
    ) -> None:
        try:
            while piece := await source.read(PIECE):
                while self._mode == "silent":
                    await asyncio.sleep(0.05)
                if self._mode == "cut":
                    break
                if self._mode == "slow":
                    self._counts["delayed"] += 1
                    await asyncio.sleep(LATE_S)
                sink.write(piece)
                await sink.drain()
                self._counts["forwarded"] += 1
        except OSError:
            pass
        for writer in both:
            self._reset(writer)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        if writer in self._open:
            self._open.discard(writer)
            self._counts["reset"] += 1
            writer.transport.abort()


async def main(host: str, port: int) -> None:
    """Obey words from standard input until it ends."""
    relay = Relay(host, port)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while word := (await lines.readline()).decode().strip():
        sys.stdout.write(json.dumps(await relay.obey(word)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
