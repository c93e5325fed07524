"""Who may ask what listens on this machine: user ids, hosts, origins. Shared by the HTTP API and the Dagster UI."""
