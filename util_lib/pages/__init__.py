"""Pages of HTML and the pictures on them."""
