"""BIDS: entity names, tables that grow, the schema, the provenance document. Knows no pixels."""
