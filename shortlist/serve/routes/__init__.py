"""The routes of the HTTP interface, a file per group. Each has `add(routes, app)`: which paths there are, and what answers them."""
