"""Read rows together with the completeness of each day, for `crypto_assets.read` and the IO managers."""
