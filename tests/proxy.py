"""A TCP proxy that does to connections what networks do: cut, reset, delay, drip, truncate, corrupt, freeze.

    with Proxy(target) as proxy:
        client ◀──▶ 127.0.0.1:proxy.port ◀──▶ 127.0.0.1:target

Faults are set from any thread, and concern the connections that are open and those still to come. What truncates
or corrupts does so once, after as many further bytes of answers as it was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading

HOST = '127.0.0.1'
CHUNK = 65536
AT_ONCE = struct.pack('ii', 1, 0)  # SO_LINGER with which a close is a reset


class _Pair:
    """A client's connection, and the one to the server behind it."""

    def __init__(self, client, server):
        self.client = client
        self.server = server
        self.forgotten = False
        self.mute = False

    def half_close(self):
        self.mute = True
        self.client.write_eof()

    def close(self, reset=False):
        for end in (self.client, self.server):
            if reset:
                with contextlib.suppress(OSError):
                    end.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                end.transport.abort()
            end.close()


class Proxy:
    """Forwards to a port of this machine.

    Attributes:
        port: where it listens.
        delay: seconds that each piece of an answer is late.
        drip: bytes of an answer that go out at once, with a pause in between; None for all.
        accepted: connections so far.
    """

    def __init__(self, target):
        self.port = 0
        self.delay = 0.0
        self.drip = None
        self.accepted = 0
        self._target = target
        self._pairs = set()
        self._once = None  # what happens once, and after how many bytes
        self._server = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._run(self._prepare())
        self.listen()
        return self

    def __exit__(self, *_):
        self.refuse()
        self._run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(self, scheme):
        """Of the server behind it."""
        return f'{scheme}://{HOST}:{self.port}'

    def listen(self):
        """Take new connections, again."""
        self._run(self._listen())

    def refuse(self):
        """Refuse new connections; those that are open stay."""
        self._call(self._server.close)

    def cut(self):
        """Close all connections."""
        self._call(lambda: [pair.close() for pair in list(self._pairs)])

    def reset(self):
        """Reset all connections (RST)."""
        self._call(lambda: [pair.close(reset=True) for pair in list(self._pairs)])

    def half_close(self):
        """Tell all clients that nothing more comes, and go on listening to them."""
        self._call(lambda: [pair.half_close() for pair in self._pairs])

    def truncate(self, after):
        """Close a connection in the middle of an answer."""
        self._once = ['truncate', after]

    def corrupt(self, after):
        """Replace a piece of an answer by garbage."""
        self._once = ['corrupt', after]

    def freeze(self):
        """Move nothing any more; connections stay open, and new ones are taken."""
        self._call(self._moving.clear)

    def thaw(self):
        """Go on."""
        self._call(self._moving.set)

    def forget(self):
        """Drop what comes on the connections that are open, as a router does that forgot them; new ones work."""
        self._call(lambda: [setattr(pair, 'forgotten', True) for pair in self._pairs])

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _call(self, function):
        async def run():
            function()

        self._run(run())

    async def _prepare(self):
        self._moving = asyncio.Event()
        self._moving.set()

    async def _listen(self):
        self._server = await asyncio.start_server(self._join, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _finish(self):
        for pair in list(self._pairs):
            pair.close(reset=True)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _join(self, reader, client):
        self.accepted += 1
        try:
            answers, server = await asyncio.open_connection(HOST, self._target)
        except OSError:
            client.close()
            return
        pair = _Pair(client, server)
        self._pairs.add(pair)
        moves = {asyncio.ensure_future(one) for one in (self._ask(reader, server, pair), self._answer(answers, pair))}
        with contextlib.suppress(asyncio.CancelledError):  # which Python 3.11 would log
            await asyncio.wait(moves, return_when=asyncio.FIRST_COMPLETED)
        for move in moves:
            move.cancel()
        await asyncio.gather(*moves, return_exceptions=True)
        self._pairs.discard(pair)
        pair.close()

    async def _ask(self, reader, server, pair):
        with contextlib.suppress(OSError):
            while True:
                data = await self._read(reader)
                if not data:
                    return
                if not pair.forgotten:
                    server.write(data)
                    await server.drain()

    async def _answer(self, answers, pair):
        with contextlib.suppress(OSError):
            while True:
                data = await self._read(answers)
                if not data:
                    return
                await asyncio.sleep(self.delay)
                data, ends = self._spoilt(data)
                step = self.drip or len(data)
                for start in range(0, len(data), step):
                    if not (pair.forgotten or pair.client.transport.is_closing() or pair.mute):
                        pair.client.write(data[start : start + step])
                        await pair.client.drain()
                    await asyncio.sleep(0.001 if self.drip else 0)
                if ends:
                    return

    async def _read(self, reader):
        data = await reader.read(CHUNK)
        await self._moving.wait()
        return data

    def _spoilt(self, data):
        """The data, as the fault that happens once leaves it, and whether the connection ends with it."""
        if self._once is None:
            return data, False
        what, left = self._once
        if left >= len(data):
            self._once = [what, left - len(data)]
            return data, False
        self._once = None
        rest = b'' if what == 'truncate' else bytes(255 - one for one in data[left:])
        return data[:left] + rest, what == 'truncate'
