"""Networks in: edges regulator -> target, their coverage of a gene panel, and the attention bias they become."""
