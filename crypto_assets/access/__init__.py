"""Access control of the HTTP API and the Dagster UI: user ids, hosts, origins."""
