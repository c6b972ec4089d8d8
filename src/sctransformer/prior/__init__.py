"""Prior networks: reading, merging, coverage of a gene panel, controls, and the attention bias they become."""
