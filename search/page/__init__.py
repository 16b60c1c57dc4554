"""The search page at `/`: static HTML, CSS and JavaScript, and the routes that serve them."""
