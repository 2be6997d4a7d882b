"""Sources of (query, passage) pairs and the mixture built from them.

Every source is free text under a licence that allows trained weights to be
shipped: see `training/README.md` for the list.
"""
