"""A process that writes to a session store in SQLite: `python -m … FILE MODE COUNT`.

`count`: increment the number under one key COUNT times, by compare-and-set. `pairs`: write the same number under two
keys, without end, and print it after each write.
"""

import asyncio
import sys
from pathlib import Path

from scopewright.stores.sessions import Put
from scopewright.stores.sessions.sqlite import SqliteSessions

NUMBER, LEFT, RIGHT = b"n" * 32, b"l" * 32, b"r" * 32
TTL = 3600.0


async def count(store: SqliteSessions, times: int) -> None:
    for _ in range(times):
        while True:
            (stored,) = (await store.get(NUMBER)).values
            version, number = (stored.version, int(stored.value)) if stored else (0, 0)
            if await store.write(Put(NUMBER, b"%d" % (number + 1), TTL, version)):
                break


async def pairs(store: SqliteSessions) -> None:
    number = 0
    while True:
        value = b"%d " % number * 2000
        assert await store.write(Put(LEFT, value, TTL, number), Put(RIGHT, value, TTL, number))
        number += 1
        print(number, flush=True)


async def main() -> None:
    store = SqliteSessions(Path(sys.argv[1]))
    try:
        await (pairs(store) if sys.argv[2] == "pairs" else count(store, int(sys.argv[3])))
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main())
