"""What `make docs` adds to the pages of `docs/`: tables and lists that are made from the code when the site is built.

A page says where with a line `<!-- generated: NAME -->`; `docs_site.generated` has the names. Nothing made is stored.
"""
