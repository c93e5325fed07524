"""`python -m crypto_assets.cli`: the command `crypto-assets`."""

from crypto_assets.cli import main

main()
