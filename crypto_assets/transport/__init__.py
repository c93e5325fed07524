"""Requests to an exchange's hosts: the client, retries, and the limits and breakers that all processes share."""
