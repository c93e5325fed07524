"""HTTP requests to an exchange's hosts: the client, retries, and the limits and circuit breakers that all processes share."""
