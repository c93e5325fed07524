"""What `crypto_assets.read` and the IO managers share: rows together with what is known of each day."""
