"""How reliable labels are for cells of unknown types and for cells from other technologies."""
