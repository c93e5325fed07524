"""What an exchange's archive holds: listings, downloads, and watching for what is new."""
