"""What rejection is worth: cells of a type that training never saw, and cells as another technology counts them."""
