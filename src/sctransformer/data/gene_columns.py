"""Columns of var that usually have gene names."""

ID_COLUMNS = (
    "feature_name", "gene_symbols", "gene_symbol", "gene_names", "gene_name", "symbol", "SYMBOL", "features",
    "ensembl_id", "ensembl", "gene_ids", "gene_id", "feature_id", "ENSEMBL",
)  # fmt: skip
"""Columns of var that usually have gene names, among them those of CELLxGENE, scanpy and muon."""
