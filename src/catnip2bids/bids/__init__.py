"""BIDS: entity names, tables, sidecars, descriptions, provenance. Knows no pixels."""
